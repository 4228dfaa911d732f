package web

import (
	"math"
	"strconv"
	"sync"

	"github.com/clockd/clockd/internal/daemon/control"
)

const (
	// finePoints are a second apart: a quarter of an hour.
	finePoints = 900
	// coarsePoints are a minute apart: a day.
	coarsePoints = 1440
	perCoarse    = 60
)

// point is what the pictures show of one instant, in seconds; NaN where it is not known.
type point struct {
	// at is the time since the daemon's start.
	at float64
	// bound is the clock's. Its error (clock − true time) is between low and high for certain, and estimate as the sources have it, with
	// the standard deviation std.
	bound, low, high, estimate, std float64
	// spread is the largest distance to the time that all correct clocks of the group share, epsilon the error with which they are read.
	spread, epsilon float64
}

func pointOf(at float64, s *control.Snapshot) point {
	p := point{at: at, bound: orNaN(s.Status.BoundS), low: -orNaN(s.HighS), high: -orNaN(s.LowS), estimate: -orNaN(s.EstimateS),
		std: orNaN(s.EstimateStdS), spread: math.NaN(), epsilon: math.NaN()}
	if g := s.Status.Group; g != nil {
		p.spread, p.epsilon = orNaN(g.SpreadS), orNaN(g.EpsilonS)
	}
	return p
}

func orNaN(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

// worst is the worse of two: what is not known in one of them is not known.
func (p point) worst(q point) point {
	q.bound, q.low, q.high = max(p.bound, q.bound), min(p.low, q.low), max(p.high, q.high)
	q.std, q.spread, q.epsilon = max(p.std, q.std), max(p.spread, q.spread), max(p.epsilon, q.epsilon)
	if math.Abs(p.estimate) > math.Abs(q.estimate) || math.IsNaN(p.estimate) {
		q.estimate = p.estimate
	}
	return q
}

// appendJSON writes an array of the figures, in the order of the struct; null where one is not known.
func (p point) appendJSON(b []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendFloat(b, p.at, 'f', 2, 64)
	for _, x := range [...]float64{p.bound, p.low, p.high, p.estimate, p.std, p.spread, p.epsilon} {
		b = append(b, ',')
		if math.IsNaN(x) || math.IsInf(x, 0) {
			b = append(b, "null"...)
			continue
		}
		b = strconv.AppendFloat(b, x, 'g', 5, 64)
	}
	return append(b, ']')
}

// History is the last quarter of an hour in seconds and the last day in minutes, each the worst of its seconds. It outlives the server
// that a reload replaces.
type History struct {
	mu     sync.Mutex
	fine   ring
	coarse ring
	// minute is the worst of the last seconds, n how many they are.
	minute point
	n      int
}

// NewHistory makes an empty one. Its memory is taken as it is needed.
func NewHistory() *History {
	return &History{fine: ring{limit: finePoints}, coarse: ring{limit: coarsePoints}}
}

func (h *History) add(p point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fine.add(p)
	if h.n == 0 {
		h.minute = p
	} else {
		h.minute = h.minute.worst(p)
	}
	if h.n++; h.n == perCoarse {
		h.coarse.add(h.minute)
		h.n = 0
	}
}

// place is how far somebody has been told of a history.
type place struct{ fine, coarse uint64 }

// since returns what came after a place, as JSON, and the place after it.
func (h *History) since(at place) (fine, coarse []byte, next place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fine, next.fine = h.fine.since(at.fine)
	coarse, next.coarse = h.coarse.since(at.coarse)
	return fine, coarse, next
}

// ring keeps the newest points.
type ring struct {
	limit  int
	points []point
	// total is how many there ever were; the newest is at (total − 1) mod limit.
	total uint64
}

func (r *ring) add(p point) {
	if len(r.points) < r.limit {
		r.points = append(r.points, p)
	} else {
		r.points[r.total%uint64(r.limit)] = p
	}
	r.total++
}

func (r *ring) since(seen uint64) ([]byte, uint64) {
	seen = max(seen, r.total-uint64(len(r.points)))
	b := []byte{'['}
	for i := seen; i < r.total; i++ {
		if i > seen {
			b = append(b, ',')
		}
		b = r.points[i%uint64(r.limit)].appendJSON(b)
	}
	return append(b, ']'), r.total
}
