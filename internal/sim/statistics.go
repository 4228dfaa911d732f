package sim

import (
	"math"
	"slices"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Statistics measures one clock at the regular samples. Its memory is bounded by the number of samples that a scenario allows.
type Statistics struct {
	// From is when the figures begin: what is before it is settling.
	From Instant
	// Samples counts the looks at the clock from then on, Sound those at which its interval was sound.
	Samples, Sound uint64
	// Timeline are the changes of the status with their reasons, at most maxTimeline of them.
	Timeline []Change
	// Reasons counts all reports by topic and reason.
	Reasons map[ReportKey]uint64

	start      Instant
	errors     []float64 // |virtual − true|
	halfWidths []float64
	frequency  sumOfSquares
	last       struct {
		at    Instant
		error float64
		epoch virtualclock.Epoch
		ok    bool
	}
	settled [len(settleLimits)]settling
}

// ReportKey is what reports are counted by.
type ReportKey struct {
	Topic  string
	Reason reason.Code
}

// Change is a change of a clock's status.
type Change struct {
	At     float64             `json:"at_s"`
	Status virtualclock.Status `json:"status"`
	Reason reason.Code         `json:"reason"`
	Bound  float64             `json:"bound_s"`
}

const maxTimeline = 1000

// settleLimits are the errors, in seconds, that a clock is to stay under.
var settleLimits = [...]float64{1e-3, 100e-6}

// settling follows when a clock's error, and its bound, came below a limit for good.
type settling struct {
	error, bound         Instant
	errorUnder, bndUnder bool
}

type sumOfSquares struct {
	sum float64
	n   uint64
}

func (s *sumOfSquares) add(x float64) { s.sum, s.n = s.sum+x*x, s.n+1 }

// rms is not a number if there is nothing to average.
func (s *sumOfSquares) rms() float64 { return math.Sqrt(s.sum / float64(s.n)) }

func (s *Statistics) began(now Instant) {
	s.start = now
	if s.Reasons == nil {
		s.Reasons = map[ReportKey]uint64{}
	}
}

func (s *Statistics) report(now Instant, r *node.Report) {
	s.Reasons[ReportKey{r.Topic, r.Reason}]++
	if r.Topic == "clock" && len(s.Timeline) < maxTimeline {
		s.Timeline = append(s.Timeline, Change{now.Seconds(), r.Status, r.Reason, r.Value})
	}
}

// sample looks at the host's clock at the present instant.
func (h *Host) sample() {
	if !h.Published || h.paused || h.member != nil {
		return
	}
	w := h.world
	k := &h.Publication.Clock
	i := h.Checker.check(h, k, "sample")
	s := &h.Statistics
	counted := w.now >= s.From
	if counted {
		s.Samples++
	}
	half := math.Inf(1)
	if i.Status.Sound() {
		half = i.Latest.Seconds(i.Earliest) / 2
		if counted {
			s.Sound++
			s.halfWidths = append(s.halfWidths, half)
		}
	}
	if k.Steady.Period == 0 {
		s.last.ok = false
		return
	}
	e := k.Time(h.Reading(w.now)).Seconds(w.Truth(w.now))
	s.settle(w.now, math.Abs(e), half)
	if counted {
		s.errors = append(s.errors, math.Abs(e))
		if s.last.ok && s.last.epoch == k.Epoch {
			s.frequency.add((e - s.last.error) / (w.now - s.last.at).Seconds())
		}
		if !w.BoundsOnly {
			h.compare()
		}
	}
	s.last.at, s.last.error, s.last.epoch, s.last.ok = w.now, e, k.Epoch, true
}

func (s *Statistics) settle(now Instant, e, bound float64) {
	for i, limit := range settleLimits {
		t := &s.settled[i]
		if under := e < limit; under != t.errorUnder {
			t.errorUnder, t.error = under, now
		}
		if under := bound < limit; under != t.bndUnder {
			t.bndUnder, t.bound = under, now
		}
	}
}

// settledAfter returns how long after the start the error (or the bound) came below limit number i for good; not ok if it did not.
func (s *Statistics) settledAfter(i int) (e, bound float64, errorOK, boundOK bool) {
	t := &s.settled[i]
	return (t.error - s.start).Seconds(), (t.bound - s.start).Seconds(), t.errorUnder, t.bndUnder
}

// quantile sorts x and returns its q-quantile, the nearest rank; NaN if x is empty.
func quantile(x []float64, q float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	slices.Sort(x)
	i := int(math.Ceil(q*float64(len(x)))) - 1
	return x[min(max(i, 0), len(x)-1)]
}

func rms(x []float64) float64 {
	var s sumOfSquares
	for _, v := range x {
		s.add(v)
	}
	return s.rms()
}
