package live

import (
	"math"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// View is what is known at present, for the screen. Seconds everywhere; not a number for what is not known.
type View struct {
	Plan      *Plan
	Network   string
	Measuring bool
	Elapsed   float64
	Hosts     []HostView
	// Precision and Accuracy are the largest of the last second, PrecisionWorst and AccuracyWorst since the beginning; PrecisionBound
	// is what is promised or claimed of it, AccuracyClaim what is claimed.
	Precision, PrecisionWorst, PrecisionBound float64
	Accuracy, AccuracyWorst, AccuracyClaim    float64
	Convergence                               float64
	Rounds                                    uint64
	Checked, Wrong                            uint64
	// Events are all until now.
	Events []result.Event
}

// HostView is a host of a View.
type HostView struct {
	Name   string
	Liar   bool
	State  string // what the script has made of it, "" if nothing
	Known  bool
	Status virtualclock.Status
	Why    reason.Code
	// Error is its distance from true time, or from the middle of the correct clocks; Claim what it claims.
	Error, Claim, Worst float64
	OscillatorPPM       float64
	Wrong               uint64
}

// view looks at what the last sample left.
func (x *experiment) view(elapsed float64) *View {
	w := x.watch
	v := &View{
		Plan: x.plan, Network: x.fleet.network(), Measuring: w.measuring, Elapsed: elapsed, Precision: w.second.precision, Accuracy: w.second.accuracy,
		AccuracyClaim: w.accuracyClaim, PrecisionWorst: math.NaN(), AccuracyWorst: math.NaN(), PrecisionBound: math.NaN(), Convergence: w.lastConvergence,
		Rounds: w.roundCount, Checked: w.checked, Wrong: w.wrong, Events: w.events,
	}
	if !w.hasTruth {
		v.Accuracy = math.NaN()
	}
	v.PrecisionBound = 2 * w.accuracyClaim
	if x.plan.Mode == ModeInternal {
		v.PrecisionBound = w.promised.Precision
	}
	if w.measuring {
		v.PrecisionWorst, v.AccuracyWorst = w.worstPrecision, w.worstAccuracy
	}
	zero := 0.0
	if !w.hasTruth {
		zero = w.lastMiddle()
	}
	for _, c := range w.clocks {
		l := &c.last
		h := HostView{
			Name: c.name, Liar: c.lies && (c.member == nil || !c.member.Waits || x.lying[c.name]), Known: l.Known, Status: l.Status, Why: l.Why,
			Error: math.NaN(), Claim: math.NaN(), Worst: math.NaN(), OscillatorPPM: l.Oscillator * 1e6, Wrong: c.wrong,
		}
		switch x.states[c.name] {
		case ended:
			h.State = "ended"
		case paused:
			h.State = "paused"
		}
		if l.Sound() {
			h.Error, h.Claim = l.Time.Seconds(w.truth.At(c.lastAt))-zero, l.FarEdge()
		}
		if c.sound > 0 {
			h.Worst = c.worst
		}
		v.Hosts = append(v.Hosts, h)
	}
	return v
}

// lastMiddle is the middle of the correct clocks at the last sample, relative to the observer's timeline.
func (w *watch) lastMiddle() float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range w.correct {
		if c.last.Sound() {
			e := c.last.Time.Seconds(w.truth.At(c.lastAt))
			low, high = min(low, e), max(high, e)
		}
	}
	return (low + high) / 2
}
