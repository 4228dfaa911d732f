package wal

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// logs returns some sound logs' first segments.
func logs(t testing.TB) [][]byte {
	var all [][]byte
	for _, mode := range []Mode{Fsync, Memory} {
		fs := newMemFS()
		l, _ := reopen(t, "d", Options{Mode: mode, FS: fs, Random: func() (uint32, error) { return 1, nil }})
		for i, data := range []string{"", "one", strings.Repeat("long", 40)} {
			p, err := l.Append(Record{Kind: byte(i), Data: []byte(data), Always: i != 1})
			if err != nil {
				t.Fatal(err)
			}
			wait(t, l, p)
		}
		shut(t, l)
		all = append(all, slices.Clone(fs.read(fs.segments()[0])))
	}
	return all
}

// FuzzLog opens a log of any bytes. It is opened or refused with a place and a reason; opened again, it is the same without a torn
// end; and records can be appended to it.
func FuzzLog(f *testing.F) {
	for _, b := range logs(f) {
		f.Add(b)
		f.Add(b[:len(b)-3])
		f.Add(append(slices.Clone(b[:len(b)/2]), make([]byte, 100)...))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := newMemFS()
		fs.now["d/"+segmentName(1)] = &node{data: slices.Clone(b)}
		l, first, err := tryOpen("d", Options{FS: fs})
		if err != nil {
			return
		}
		if _, err := l.Append(Record{Kind: 9, Data: []byte("appended")}); err != nil {
			t.Fatal(err)
		}
		shut(t, l)
		l, second, err := tryOpen("d", Options{FS: fs})
		if err != nil || l.Recovery().Torn || len(second) != len(first)+1 || !slices.Equal(second[:len(first)], first) {
			t.Fatalf("%d records, then %d, %v", len(first), len(second), err)
		}
		shut(t, l)
	})
}

// FuzzFrame changes sealed payloads' bytes: with a right checksum any payload reaches the records' parser.
func FuzzFrame(f *testing.F) {
	f.Add(uint32(2), appendRecord(appendRecord(nil, Record{Kind: 1, Data: []byte("a")}, 0), Record{Kind: 2}, 5))
	f.Add(uint32(1), []byte{gapMark, 1, 0, 0})
	f.Fuzz(func(t *testing.T, count uint32, payload []byte) {
		h := header{first: 1, count: count, length: uint32(len(payload))}
		var again []byte
		var last Position
		err := readRecords(h, payload, func(p Position, r Record) error {
			if p <= last {
				return errors.New("positions go backwards")
			}
			again = appendRecord(again, r, uint64(p-last-1))
			last = p
			return nil
		})
		if err == nil && len(again) > len(payload) {
			t.Fatalf("%x is read as what is written %x", payload, again)
		}
	})
}

// TestOneBitOff holds the quick way against flipping every bit.
func TestOneBitOff(t *testing.T) {
	for _, text := range []string{"", "a", "some payload", strings.Repeat("q", 1000)} {
		b := []byte(text)
		right := checksum(7, b)
		for bit := range 8 * len(b) {
			b[bit/8] ^= 1 << (bit % 8)
			if !oneBitOff(7, right, b) {
				t.Fatalf("%d bytes: bit %d", len(b), bit)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		for bit := range 32 {
			if !oneBitOff(7, right^1<<bit, b) {
				t.Fatalf("%d bytes: bit %d of the checksum", len(b), bit)
			}
		}
		if len(b) > 3 {
			b[0] ^= 1
			b[2] ^= 0x20
			b[3] ^= 4
			if oneBitOff(7, right, b) {
				t.Fatalf("%d bytes: three bits look like one", len(b))
			}
		}
	}
}
