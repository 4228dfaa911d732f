package demo

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// The kinds of lines in JSON.
const (
	KindSecond  = "second"
	KindSummary = "summary"
)

// Second is the line of JSON that is printed each second. Figures in seconds of time end in _s; what is not known is null.
type Second struct {
	Kind string `json:"kind"`
	// ElapsedS is the time since the start, on the true counter.
	ElapsedS float64      `json:"elapsed_s"`
	Hosts    []HostSecond `json:"hosts"`
	// PrecisionS is the largest distance between two hosts' clocks in this second, AccuracyS the largest between a host's clock
	// and true time. The bounds beside them are what was claimed at that very moment.
	PrecisionS      *float64 `json:"precision_s"`
	PrecisionBoundS *float64 `json:"precision_bound_s"`
	AccuracyS       *float64 `json:"accuracy_s"`
	AccuracyBoundS  *float64 `json:"accuracy_bound_s"`
	// Samples and BoundViolations count since the start.
	Samples         uint64 `json:"samples"`
	BoundViolations uint64 `json:"bound_violations"`
	// Group is there if the hosts are a group.
	Group *GroupSecond `json:"group,omitempty"`
}

// HostSecond is one host at the end of a second.
type HostSecond struct {
	Name   string              `json:"name"`
	Status virtualclock.Status `json:"status"`
	// Reason says why the status is not synchronised.
	Reason reason.Code        `json:"reason"`
	Epoch  virtualclock.Epoch `json:"epoch"`
	// OscillatorPPM is by how much the host's oscillator is too fast; LeftAloneS how far it would have got since the start.
	// Only the observer knows these.
	OscillatorPPM float64 `json:"oscillator_ppm"`
	LeftAloneS    float64 `json:"left_alone_s"`
	// RatePPM is what the host has learnt about its oscillator: d(true)/d(raw) − 1, so about −OscillatorPPM.
	RatePPM *float64 `json:"rate_ppm"`
	// ClockRatePPM is by how much its virtual clock is too fast at this moment.
	ClockRatePPM *float64 `json:"clock_rate_ppm"`
	// ErrorS is virtual clock − true time now, BoundS what the host claims it to be at most; MaxErrorS the largest size of the
	// error in this second.
	ErrorS          *float64 `json:"error_s"`
	BoundS          *float64 `json:"bound_s"`
	MaxErrorS       *float64 `json:"max_error_s"`
	BoundViolations uint64   `json:"bound_violations"`
	// Group is there if the hosts are a group.
	Group *HostGroup `json:"group,omitempty"`
}

// Summary is the last line of JSON.
type Summary struct {
	Kind      string  `json:"kind"`
	Mode      string  `json:"mode"`
	Seed      uint64  `json:"seed"`
	PollS     float64 `json:"poll_s"`
	DurationS float64 `json:"duration_s"`
	// PrecisionS and AccuracyS are the largest since all hosts were synchronised first; the bounds beside them are what was
	// claimed at that very moment.
	PrecisionS      *float64 `json:"precision_s"`
	PrecisionBoundS *float64 `json:"precision_bound_s"`
	AccuracyS       *float64 `json:"accuracy_s"`
	AccuracyBoundS  *float64 `json:"accuracy_bound_s"`
	// BoundViolations counts how often true time was outside of a claimed interval: at the samples, and where one claim ended
	// and the next began.
	BoundViolations uint64 `json:"bound_violations"`
	// Samples is the number of instants at which all hosts were looked at.
	Samples uint64 `json:"samples"`
	// SynchronisedAfterS is when all hosts' clocks could be trusted first, TimeTo100usS when all were also within 100 µs of
	// true time.
	SynchronisedAfterS *float64      `json:"synchronised_after_s"`
	TimeTo100usS       *float64      `json:"time_to_100us_s"`
	Hosts              []HostSummary `json:"hosts"`
	// Group is there if the hosts are a group.
	Group *GroupSummary `json:"group,omitempty"`
	// Logs is where the daemons' logs are, if the run failed.
	Logs string `json:"logs,omitempty"`
}

// HostSummary is one host over the whole run; the figures are of the samples since all hosts were synchronised first.
type HostSummary struct {
	Name            string   `json:"name"`
	OscillatorPPM   float64  `json:"oscillator_ppm"`
	LeftAloneS      float64  `json:"left_alone_s"`
	ErrorRMSS       *float64 `json:"error_rms_s"`
	ErrorMedianS    *float64 `json:"error_median_s"`
	ErrorP99S       *float64 `json:"error_p99_s"`
	ErrorMaxS       *float64 `json:"error_max_s"`
	BoundMedianS    *float64 `json:"bound_median_s"`
	BoundMaxS       *float64 `json:"bound_max_s"`
	Samples         uint64   `json:"samples"`
	UnsoundSamples  uint64   `json:"unsound_samples"`
	BoundViolations uint64   `json:"bound_violations"`
	// WorstViolationS is by how much true time was outside of a claimed interval at most.
	WorstViolationS *float64 `json:"worst_violation_s"`
}

// known returns x, or nil if it is not a number or not finite, or ok is false.
func known(x float64, ok bool) *float64 {
	if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// elapsed is the time from the start to the observer's last sample, or to any reading of the true counter.
func (o *observer) elapsed(start, at hw.Ticks) float64 {
	return float64(at.Sub(start)) / o.base.Frequency().Hertz
}

// second reports the second that has just ended; the demonstration began at start.
func (o *observer) second(start hw.Ticks) *Second {
	t := o.tally
	s := &Second{
		Kind: KindSecond, ElapsedS: o.elapsed(start, o.base.Read()), Samples: t.samples, BoundViolations: t.violations(),
	}
	precision, accuracy := t.second.precision, t.second.accuracy
	s.PrecisionS, s.PrecisionBoundS = known(precision.value, precision.known), known(precision.claim, precision.known)
	s.AccuracyS, s.AccuracyBoundS = known(accuracy.value, accuracy.known), known(accuracy.claim, accuracy.known)
	for i := range o.subjects {
		s.Hosts = append(s.Hosts, o.hostSecond(i, start))
	}
	return s
}

func (o *observer) hostSecond(i int, start hw.Ticks) HostSecond {
	l, h, p := &o.looks[i], &o.tally.hosts[i], &o.published[i]
	out := HostSecond{
		Name: h.name, Status: l.status, Epoch: p.Epoch, BoundViolations: h.violations,
		ClockRatePPM: known(l.clockRate*1e6, l.sound), ErrorS: known(l.error, l.sound && !l.internal), BoundS: known(l.bound, l.sound),
		MaxErrorS: known(h.second, h.second >= 0), OscillatorPPM: o.oscillatorPPM(i), LeftAloneS: o.leftAlone(i, start),
	}
	if l.status != virtualclock.Synchronised {
		out.Reason = o.why(i)
	}
	nominal := virtualclock.PeriodOf(o.subjects[i].counter.Frequency().Hertz)
	out.RatePPM = known((p.Difference.Nanoseconds()/nominal.Nanoseconds()-1)*1e6, p.Difference != 0)
	return out
}

// why asks the page why host i's clock is not synchronised, if it is one that can tell.
func (o *observer) why(i int) reason.Code {
	if r, ok := o.subjects[i].clock.(virtualclock.Reasoner); ok {
		_, why := r.NowReason()
		return why
	}
	return o.published[i].why
}

// summary reports the whole run.
func (o *observer) summary(start hw.Ticks, options *Options) *Summary {
	t := o.tally
	precision, accuracy := t.total.precision, t.total.accuracy
	s := &Summary{
		Kind: KindSummary, Mode: options.Mode, Seed: options.Seed, PollS: options.Poll.Seconds(), DurationS: o.elapsed(start, o.base.Read()),
		PrecisionS: known(precision.value, precision.known), PrecisionBoundS: known(precision.claim, precision.known),
		AccuracyS: known(accuracy.value, accuracy.known), AccuracyBoundS: known(accuracy.claim, accuracy.known),
		BoundViolations: t.violations(), Samples: t.samples,
		SynchronisedAfterS: known(o.elapsed(start, t.synchronised), t.hasSynchronised),
		TimeTo100usS:       known(o.elapsed(start, t.close), t.hasComeClose),
	}
	for i := range t.hosts {
		s.Hosts = append(s.Hosts, o.hostSummary(i, start))
	}
	return s
}

func (o *observer) hostSummary(i int, start hw.Ticks) HostSummary {
	h := &o.tally.hosts[i]
	n := h.errors.count
	out := HostSummary{
		Name: h.name, Samples: h.sampled, UnsoundSamples: h.unsound, BoundViolations: h.violations,
		ErrorRMSS: known(math.Sqrt(h.squares/float64(n)), n > 0), ErrorMaxS: known(h.errors.largest, n > 0),
		BoundMaxS: known(h.bounds.largest, h.sampled > 0), WorstViolationS: known(h.worst, h.violations > h.apart),
		OscillatorPPM: o.oscillatorPPM(i), LeftAloneS: o.leftAlone(i, start),
	}
	out.ErrorMedianS, out.ErrorP99S, out.BoundMedianS = known(h.errors.quantile(0.5)), known(h.errors.quantile(0.99)), known(h.bounds.quantile(0.5))
	return out
}
