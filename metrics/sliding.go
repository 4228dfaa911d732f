package metrics

import "math"

// extent is the least and the greatest of some numbers; the one of none is nothing.
type extent struct{ low, high float64 }

func nothing() extent { return extent{math.Inf(1), math.Inf(-1)} }

func (e extent) with(other extent) extent {
	return extent{min(e.low, other.low), max(e.high, other.high)}
}

// length is high − low, −∞ of nothing.
func (e extent) length() float64 { return e.high - e.low }

// sliding holds the extents of the last 1, 2, 4 … 2^top entries of a series: two windows of 2^j make one of 2^(j+1) (the binary
// decomposition of S. Bregni, 2001, run forwards). Memory is 2^(top+1) extents, time O(top) for each entry.
type sliding struct {
	// rings[j] holds the last 2^j extents of 2^j entries.
	rings [][]extent
	// last[j] and before[j] are the extents of the last 2^j entries, and of those one entry earlier.
	last, before []extent
	count        uint64
}

func newSliding(top int) *sliding {
	s := &sliding{rings: make([][]extent, top+1), last: make([]extent, top+1), before: make([]extent, top+1)}
	for j := range s.rings {
		s.rings[j] = make([]extent, 1<<j)
		for i := range s.rings[j] {
			s.rings[j][i] = nothing()
		}
		s.last[j], s.before[j] = nothing(), nothing()
	}
	return s
}

func (s *sliding) add(e extent) {
	for j, ring := range s.rings {
		s.before[j], s.last[j] = s.last[j], e
		slot := &ring[s.count&uint64(len(ring)-1)]
		older := *slot
		*slot = e
		e = e.with(older)
	}
	s.count++
}

// window is the extent of the last 2^j entries, wider of the last 2^j + 1.
func (s *sliding) window(j int) extent { return s.last[j] }

func (s *sliding) wider(j int) extent { return s.last[j].with(s.before[j]) }
