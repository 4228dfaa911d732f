package order

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/clockd/clockd/reason"
)

// Vector is a vector clock (Fidge 1988, Mattern 1989): how many events of each member, by its number, are known. Members beyond its
// length are at 0.
type Vector []uint64

// Causality is what two vector clocks say of their events.
type Causality int8

// The causalities.
const (
	Concurrent Causality = iota
	HappenedBefore
	HappenedAfter
	Same
)

// String returns concurrent, before, after or same.
func (c Causality) String() string {
	switch c {
	case HappenedBefore:
		return "before"
	case HappenedAfter:
		return "after"
	case Same:
		return "same"
	}
	return "concurrent"
}

// At returns the count of a member.
func (v Vector) At(member int) uint64 {
	if member < 0 || member >= len(v) {
		return 0
	}
	return v[member]
}

// Compare tells whether the event of v may have caused that of o. Unlike clocks it never is in doubt, but it knows only of what
// messages have told.
func (v Vector) Compare(o Vector) Causality {
	less, more := false, false
	for k := range max(len(v), len(o)) {
		a, b := v.At(k), o.At(k)
		less, more = less || a < b, more || a > b
	}
	switch {
	case less && more:
		return Concurrent
	case less:
		return HappenedBefore
	case more:
		return HappenedAfter
	}
	return Same
}

// Merge raises each count of v to that of o. v must be as long as o at least; what is beyond is ignored.
func (v Vector) Merge(o Vector) {
	for k := range min(len(v), len(o)) {
		v[k] = max(v[k], o[k])
	}
}

// VectorClock is a member's own vector clock. Any number of goroutines may use it.
type VectorClock struct {
	mu   sync.Mutex
	self int
	v    Vector
}

// NewVectorClock makes the clock of member self of so many members.
func NewVectorClock(self, members int) (*VectorClock, error) {
	if self < 0 || self >= members {
		return nil, fmt.Errorf("order: there is no member %d of %d", self, members)
	}
	return &VectorClock{self: self, v: make(Vector, members)}, nil
}

// Tick counts a local event, or the sending of a message, and appends its vector to dst.
func (c *VectorClock) Tick(dst Vector) (Vector, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tick(dst)
}

func (c *VectorClock) tick(dst Vector) (Vector, error) {
	if c.v[c.self] == math.MaxUint64 {
		return dst, fmt.Errorf("order: member %d can count no further: %w", c.self, reason.CounterExhausted)
	}
	c.v[c.self]++
	return append(dst, c.v...), nil
}

// Receive counts the receipt of a message with vector m, and appends the receipt's vector to dst. VectorImpossible: m is of another
// number of members, or knows events of this member that have not happened; then nothing has changed.
func (c *VectorClock) Receive(dst, m Vector) (Vector, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(m) != len(c.v) || m[c.self] > c.v[c.self] {
		return dst, fmt.Errorf("order: a vector of %d members that knows %d events of member %d, who has made %d: %w", len(m), m.At(c.self),
			c.self, c.v[c.self], reason.VectorImpossible)
	}
	if c.v[c.self] == math.MaxUint64 {
		return dst, fmt.Errorf("order: member %d can count no further: %w", c.self, reason.CounterExhausted)
	}
	c.v.Merge(m)
	return c.tick(dst)
}

// Now appends the present vector to dst, without counting an event.
func (c *VectorClock) Now(dst Vector) Vector {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(dst, c.v...)
}

// AppendBinary appends a compact encoding: the number of members, then each count, as base-128 numbers (encoding/binary's Uvarint); a
// run of n zeros is a 0 and n−1. A vector has one encoding only, so equal bytes mean equal vectors.
func (v Vector) AppendBinary(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	for k := 0; k < len(v); {
		b = binary.AppendUvarint(b, v[k])
		zeros := 0
		for ; k+zeros < len(v) && v[k+zeros] == 0; zeros++ {
		}
		if zeros > 0 {
			b = binary.AppendUvarint(b, uint64(zeros-1))
			k += zeros
		} else {
			k++
		}
	}
	return b
}

// DecodeVector reads what Vector.AppendBinary wrote from the beginning of b, appends the vector to dst, and returns it and what is left of b. Vectors of more than
// limit members are refused (EncodingTooLong) before anything is made room for.
func DecodeVector(dst Vector, b []byte, limit int) (v Vector, rest []byte, err error) {
	members, b, ok := uvarint(b)
	if !ok {
		return dst, nil, malformed("vector")
	}
	if members > uint64(max(limit, 0)) {
		return dst, nil, fmt.Errorf("order: a vector of %d members, of at most %d: %w", members, limit, reason.EncodingTooLong)
	}
	v = slices.Grow(dst, int(members))
	afterZeros := false
	for left := members; left > 0; {
		var count, more uint64
		if count, b, ok = uvarint(b); !ok {
			return dst, nil, malformed("vector")
		}
		if count != 0 {
			v, left, afterZeros = append(v, count), left-1, false
			continue
		}
		if more, b, ok = uvarint(b); !ok || more >= left || afterZeros {
			return dst, nil, malformed("vector")
		}
		for range more + 1 {
			v = append(v, 0)
		}
		left, afterZeros = left-(more+1), true
	}
	return v, b, nil
}

// AppendDelta appends an encoding of what v has more than base: the number of counts that have grown, then for each how many members
// further on it is than the one before, and by how much it has grown (Singhal and Kshemkalyani 1992). Between two messages on one FIFO channel few counts
// grow, however many members there are. v must not be less than base anywhere, and of the same length.
func (v Vector) AppendDelta(b []byte, base Vector) ([]byte, error) {
	grown := uint64(0)
	for k := range v {
		if len(base) != len(v) || v[k] < base[k] {
			return b, fmt.Errorf("order: a delta needs a base of as many members that knows no more: %w", reason.VectorImpossible)
		}
		if v[k] > base[k] {
			grown++
		}
	}
	b = binary.AppendUvarint(b, grown)
	from := 0
	for k := range v {
		if v[k] > base[k] {
			b = binary.AppendUvarint(b, uint64(k-from))
			b = binary.AppendUvarint(b, v[k]-base[k])
			from = k + 1
		}
	}
	return b, nil
}

// ApplyDelta adds what Vector.AppendDelta wrote to v, its base, and returns what is left of b. If it fails v has not changed.
func (v Vector) ApplyDelta(b []byte) (rest []byte, err error) {
	grown, start, ok := uvarint(b)
	if !ok || grown > uint64(len(v)) {
		return nil, malformed("vector delta")
	}
	// Once to look, once to do it.
	for _, apply := range []bool{false, true} {
		at := uint64(0)
		b = start
		for range grown {
			var gap, more uint64
			if gap, b, ok = uvarint(b); !ok || gap >= uint64(len(v))-at {
				return nil, malformed("vector delta")
			}
			at += gap
			if more, b, ok = uvarint(b); !ok || more == 0 || v[at]+more < v[at] && !apply {
				return nil, malformed("vector delta")
			}
			if apply {
				v[at] += more
			}
			at++
		}
	}
	return b, nil
}

// uvarint reads a base-128 number that is not longer than need be.
func uvarint(b []byte) (x uint64, rest []byte, ok bool) {
	x, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, b, false
	}
	return x, b[n:], true
}

func malformed(what string) error {
	return fmt.Errorf("order: that is no %s: %w", what, reason.EncodingMalformed)
}
