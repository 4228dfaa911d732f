package order

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/clockd/clockd/reason"
)

// TestVectorAndLamportClocksFollowCausality. The slow twin is the definition: the transitive closure of "on one node" and "sent and
// received".
func TestVectorAndLamportClocksFollowCausality(t *testing.T) {
	r := seeded(t)
	for range 200 {
		nodes, n := 2+r.IntN(4), 40
		clocks := make([]*VectorClock, nodes)
		lamports := make([]Lamport, nodes)
		for k := range clocks {
			clocks[k], _ = NewVectorClock(k, nodes)
		}
		last := make([]int, nodes)
		for k := range last {
			last[k] = -1
		}
		causes := make([][]bool, n)
		vectors := make([]Vector, n)
		stamps := make([]uint64, n)
		for e := range n {
			causes[e] = make([]bool, n)
			k := r.IntN(nodes)
			from := []int{last[k]}
			var err error
			if e > 0 && r.IntN(2) == 0 {
				m := r.IntN(e)
				from = append(from, m)
				vectors[e], err = clocks[k].Receive(nil, vectors[m])
				stamps[e], _ = lamports[k].Witness(stamps[m])
			} else {
				vectors[e], err = clocks[k].Tick(nil)
				stamps[e], _ = lamports[k].Tick()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range from {
				if c >= 0 {
					causes[e][c] = true
					for k, x := range causes[c] {
						causes[e][k] = causes[e][k] || x
					}
				}
			}
			last[k] = e
		}
		for x := range n {
			for y := range n {
				want := Concurrent
				switch {
				case x == y:
					want = Same
				case causes[y][x]:
					want = HappenedBefore
				case causes[x][y]:
					want = HappenedAfter
				}
				if got := vectors[x].Compare(vectors[y]); got != want {
					t.Fatalf("%v and %v: %v, want %v", vectors[x], vectors[y], got, want)
				}
				if causes[y][x] && stamps[x] >= stamps[y] {
					t.Fatalf("Lamport: %d caused %d", stamps[x], stamps[y])
				}
			}
		}
	}
}

func TestVectorClockRefusesTheImpossible(t *testing.T) {
	if _, err := NewVectorClock(3, 3); err == nil {
		t.Error("member 3 of 3")
	}
	c, err := NewVectorClock(1, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []Vector{{1, 0}, {0, 1, 0}, {0, 0, 0, 0}, nil} {
		if _, err := c.Receive(nil, m); !isReason(err, reason.VectorImpossible) {
			t.Errorf("%v: %v", m, err)
		}
	}
	if now := c.Now(nil); !slices.Equal(now, Vector{0, 0, 0}) {
		t.Errorf("what was refused left a trace: %v", now)
	}
	c.v[1] = math.MaxUint64
	if _, err := c.Tick(nil); !isReason(err, reason.CounterExhausted) {
		t.Error(err)
	}
	if _, err := c.Receive(nil, Vector{5, 0, 0}); !isReason(err, reason.CounterExhausted) || c.v[0] != 0 {
		t.Error(err)
	}
	for c, want := range map[Causality]string{Concurrent: "concurrent", HappenedBefore: "before", HappenedAfter: "after", Same: "same"} {
		if c.String() != want {
			t.Errorf("%d is called %s", int(c), c)
		}
	}
}

func TestClocksOfManyGoroutines(t *testing.T) {
	var l Lamport
	v, _ := NewVectorClock(0, 2)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 1000 {
				_, _ = l.Tick()
				_, _ = v.Tick(nil)
			}
		})
	}
	if wait.Wait(); l.Last() != 4000 || v.Now(nil)[0] != 4000 {
		t.Errorf("%d, %v", l.Last(), v.Now(nil))
	}
}

// randomVector has many zeros and a few large counts.
func randomVector(r *rand.Rand, n int) Vector {
	v := make(Vector, n)
	for k := range v {
		if r.IntN(3) == 0 {
			v[k] = r.Uint64() >> r.IntN(64)
		}
	}
	return v
}

func TestVectorEncodings(t *testing.T) {
	r := seeded(t)
	for range 20_000 {
		v := randomVector(r, r.IntN(12))
		b := v.AppendBinary([]byte("x"))
		back, rest, err := DecodeVector(nil, append(b[1:], "rest"...), 12)
		if err != nil || !slices.Equal(back, v) || string(rest) != "rest" {
			t.Fatalf("%v became %v, %q, %v", v, back, rest, err)
		}
		if len(v) > 0 {
			if _, _, err := DecodeVector(nil, b[1:], len(v)-1); !isReason(err, reason.EncodingTooLong) {
				t.Fatalf("beyond the limit: %v", err)
			}
		}
		base := slices.Clone(v)
		for k := range base {
			if r.IntN(2) == 0 {
				base[k] -= min(base[k], uint64(r.IntN(3)))
			}
		}
		d, err := v.AppendDelta(nil, base)
		if err != nil {
			t.Fatal(err)
		}
		if rest, err := base.ApplyDelta(append(d, 1, 2)); err != nil || !slices.Equal(base, v) || len(rest) != 2 {
			t.Fatalf("%v became %v, %v", v, base, err)
		}
	}
	if _, err := (Vector{1}).AppendDelta(nil, Vector{2}); !isReason(err, reason.VectorImpossible) {
		t.Error(err)
	}
	if _, err := (Vector{1}).AppendDelta(nil, Vector{0, 0}); !isReason(err, reason.VectorImpossible) {
		t.Error(err)
	}
	// 100 members, of whom one sends: the delta is 3 bytes where the vector is hundreds.
	v := make(Vector, 100)
	for k := range v {
		v[k] = 1_000_000
	}
	base := slices.Clone(v)
	v[70]++
	if d, _ := v.AppendDelta(nil, base); len(d) != 3 || len(v.AppendBinary(nil)) != 301 {
		t.Errorf("%d bytes, and %d", len(d), len(v.AppendBinary(nil)))
	}
}

func FuzzVector(f *testing.F) {
	for _, v := range []Vector{nil, {0}, {1, 2, 3}, {0, 0, 0, 5, 0, 0}, {math.MaxUint64}} {
		f.Add(v.AppendBinary(nil))
	}
	f.Add([]byte{3, 0, 0, 0, 1})
	f.Add(binary.AppendUvarint(nil, math.MaxUint64))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 64
		v, rest, err := DecodeVector(nil, b, limit)
		if err != nil {
			if len(v) != 0 || !isReason(err, reason.EncodingMalformed) && !isReason(err, reason.EncodingTooLong) {
				t.Fatalf("%v, %v", v, err)
			}
			return
		}
		if len(v) > limit || cap(v) > 2*limit {
			t.Fatalf("%d members, room for %d", len(v), cap(v))
		}
		// One encoding only.
		if again := v.AppendBinary(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%v is %x and %x", v, again, b)
		}
	})
}

func FuzzVectorDelta(f *testing.F) {
	d, _ := Vector{1, 5, 9}.AppendDelta(nil, Vector{1, 4, 2})
	f.Add(d)
	f.Add([]byte{1, 2, 0})
	f.Add(append([]byte{1, 0}, binary.AppendUvarint(nil, math.MaxUint64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		base := Vector{0, 7, math.MaxUint64 - 3, 1 << 40}
		v := slices.Clone(base)
		rest, err := v.ApplyDelta(b)
		if err != nil {
			if !slices.Equal(v, base) || !isReason(err, reason.EncodingMalformed) {
				t.Fatalf("%v, %v", v, err)
			}
			return
		}
		again, err := v.AppendDelta(nil, base)
		if err != nil || !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x and %x, %v", again, b, err)
		}
	})
}
