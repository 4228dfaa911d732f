// Package once keeps engines that may propose a message several times from delivering it twice: a Filter lets pass what is next of its origin, and knows the last keys. It is part of the
// protocol: all processes filter the same sequence and come to the same result.
package once

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/clockd/clockd/order/abcast/core"
)

// Filter is what was delivered. Make one with New.
type Filter struct {
	numbers map[core.ID]last
	ring    []core.Key
	at      int
	set     map[core.Key]struct{}
}

type last struct{ life, number uint64 }

// New is a filter that has seen nothing.
func New() *Filter { return &Filter{numbers: map[core.ID]last{}, set: map[core.Key]struct{}{}} }

// Delivered is the number of the last message of a life that was let pass; over: a later life was seen.
func (f *Filter) Delivered(m core.Member) (number uint64, over bool) {
	x := f.numbers[m.ID]
	if x.life == m.Incarnation {
		return x.number, false
	}
	return 0, m.Incarnation < x.life
}

// Pass lets a message pass if it is the next one of its origin.
func (f *Filter) Pass(m core.Member, number uint64) bool {
	n, over := f.Delivered(m)
	if over || number != n+1 {
		return false
	}
	f.numbers[m.ID] = last{m.Incarnation, number}
	return true
}

// Fresh reports whether a key is new, and remembers it.
func (f *Filter) Fresh(k core.Key) bool {
	if k == (core.Key{}) {
		return true
	}
	if _, known := f.set[k]; known {
		return false
	}
	f.set[k] = struct{}{}
	if len(f.ring) < core.DedupeWindow {
		f.ring = append(f.ring, k)
		return true
	}
	delete(f.set, f.ring[f.at])
	f.ring[f.at] = k
	f.at = (f.at + 1) % core.DedupeWindow
	return true
}

// Append encodes the filter.
func (f *Filter) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(f.numbers)))
	for _, id := range slices.Sorted(maps.Keys(f.numbers)) {
		x := f.numbers[id]
		b = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, uint64(id)), x.life), x.number)
	}
	b = binary.AppendUvarint(b, uint64(len(f.ring)))
	for k := range f.ring {
		key := f.ring[(f.at+k)%len(f.ring)]
		b = append(b, key[:]...)
	}
	return b
}

// Decode reads what Append wrote, to the end.
func Decode(b []byte) (*Filter, bool) {
	f := New()
	take := func() (v uint64, ok bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	count, ok := take()
	for ; ok && count > 0; count-- {
		var id, life, number uint64
		if id, ok = take(); !ok {
			break
		}
		if life, ok = take(); !ok {
			break
		}
		number, ok = take()
		f.numbers[core.ID(id)] = last{life, number}
	}
	if !ok {
		return nil, false
	}
	keys, ok := take()
	if !ok || keys > core.DedupeWindow || uint64(len(b)) != keys*uint64(len(core.Key{})) {
		return nil, false
	}
	for len(b) > 0 {
		f.Fresh(core.Key(b[:16]))
		b = b[16:]
	}
	return f, true
}
