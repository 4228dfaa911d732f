package influx

import (
	"math"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// The measurements of a daemon.
const (
	MeasurementExchange   = "clockd_exchange"
	MeasurementClock      = "clockd_clock"
	MeasurementProperties = "clockd_properties"
	MeasurementSource     = "clockd_source"
	MeasurementPeer       = "clockd_peer"
	MeasurementGroup      = "clockd_group"
	MeasurementServer     = "clockd_server"
	MeasurementEvent      = "clockd_event"
)

// Instant is when something was measured, by the clock of the host that measured it, and what that clock was worth.
type Instant struct {
	UnixNano int64
	// ClockSet: the time is that of the virtual clock. If it was never set, the time is the hardware counter's, which began at what
	// the host's wall clock read when the daemon started.
	ClockSet bool
	Status   virtualclock.Status
	// Bound is the largest error that the time can have, in seconds: against true time, or against the group's time where Internal. It
	// means something only where the status is sound.
	Bound    float64
	Internal bool
}

// The values of the field time_from.
const (
	FromClock   = "virtual_clock"         // within the bound
	FromUnsound = "virtual_clock_unsound" // it was set once, and nothing bounds its error now
	FromHost    = "host_clock"            // never set: the host's wall clock at the start, carried on by the counter
)

func (i *Instant) fields(l *Lines) {
	from := FromHost
	switch {
	case i.ClockSet && i.Status.Sound():
		from = FromClock
		if i.Internal {
			l.Float("group_bound_s", i.Bound)
		} else {
			l.Float("bound_s", i.Bound)
		}
	case i.ClockSet:
		from = FromUnsound
	}
	l.Text("time_from", from)
}

// Exchange is one exchange with a source or a peer. Figures are in seconds; not a number: not known.
type Exchange struct {
	At Instant
	// Party is the source's or the peer's name, Kind one of nothing, basic, interleaved and half.
	Party string
	Peer  bool
	Kind  string
	// Reason says why the exchange was not used.
	Reason                                         reason.Code
	Offset, RawOffset, HalfWidth, Delay, ServerErr float64
	// The four stamps as nanoseconds since 1970, 0 where there is none: T1 and T4 on the timeline of the own counter, T2 and T3 on the
	// other's. T1 and T4 may be off by their errors.
	T1, T2, T3, T4              int64
	DepartError, ArriveError    float64
	TransmitStamp, ReceiveStamp string
	Stratum                     uint8
}

// Event is a change that matters to whoever looks at the series.
type Event struct {
	At Instant
	// Topic is clock, source, peer, disruption or config; Party the source's or peer's name, "" without one.
	Topic, Party string
	Reason       reason.Code
	Status       virtualclock.Status
	// Value belongs to the reason, in seconds.
	Value float64
}

// series is what a point is known by, beside its time.
type series struct {
	measurement, party, kind string
	peer                     bool
	code                     reason.Code
}

// encoder turns what a daemon measures into points.
type encoder struct {
	lines Lines
	host  string
	// last are the times of the newest points: two points of one series at one nanosecond would be one.
	last map[series]newest
}

// newest is the time that the newest point of a series was measured at, and the one that it was given.
type newest struct{ measured, given int64 }

// maxSeries bounds what is remembered.
const maxSeries = 4096

// unique returns a time that no other point of the series has.
func (e *encoder) unique(s series, unixNano int64) int64 {
	last, ok := e.last[s]
	if !ok && len(e.last) >= maxSeries {
		clear(e.last)
	}
	given := unixNano
	if ok && last.measured <= unixNano && unixNano <= last.given {
		given = last.given + 1
	}
	e.last[s] = newest{unixNano, given}
	return given
}

func (e *encoder) exchange(x *Exchange) {
	l := &e.lines
	l.Start(MeasurementExchange)
	l.Tag("host", e.host)
	l.Tag("kind", x.Kind)
	if x.Peer {
		l.Tag("peer", x.Party)
	}
	l.Tag("reason", x.Reason.String())
	if !x.Peer {
		l.Tag("source", x.Party)
	}
	x.At.fields(l)
	l.Text("status", x.At.Status.String())
	l.Float("offset_s", x.Offset)
	l.Float("raw_offset_s", x.RawOffset)
	l.Float("half_width_s", x.HalfWidth)
	l.Float("delay_s", x.Delay)
	l.Float("server_error_s", x.ServerErr)
	for _, t := range [...]struct {
		name string
		at   int64
	}{{"t1_ns", x.T1}, {"t2_ns", x.T2}, {"t3_ns", x.T3}, {"t4_ns", x.T4}} {
		if t.at != 0 {
			l.Int(t.name, t.at)
		}
	}
	l.Float("t1_error_s", x.DepartError)
	l.Float("t4_error_s", x.ArriveError)
	l.Text("transmit_stamp", x.TransmitStamp)
	l.Text("receive_stamp", x.ReceiveStamp)
	if x.Stratum > 0 {
		l.Int("stratum", int64(x.Stratum))
	}
	l.End(e.unique(series{MeasurementExchange, x.Party, x.Kind, x.Peer, x.Reason}, x.At.UnixNano))
}

func (e *encoder) event(x *Event) {
	l := &e.lines
	l.Start(MeasurementEvent)
	l.Tag("host", e.host)
	if x.Topic == "peer" {
		l.Tag("peer", x.Party)
	}
	l.Tag("reason", x.Reason.String())
	if x.Topic != "peer" {
		l.Tag("source", x.Party)
	}
	l.Tag("topic", x.Topic)
	x.At.fields(l)
	l.Text("status", x.Status.String())
	text := x.Reason.Explain()
	if x.Topic == "clock" {
		text = x.Status.String()
		if x.Reason != reason.OK {
			text += ": " + x.Reason.Explain()
		}
	}
	if x.Party != "" {
		text = x.Party + ": " + text
	}
	l.Text("text", text)
	if x.Value != 0 {
		l.Float("value_s", x.Value)
	}
	l.End(e.unique(series{MeasurementEvent, x.Party, x.Topic, false, x.Reason}, x.At.UnixNano))
}

// begin starts a point of a snapshot.
func (e *encoder) begin(measurement string, at *Instant, tag, value string) *Lines {
	l := &e.lines
	l.Start(measurement)
	l.Tag("host", e.host)
	l.Tag(tag, value)
	at.fields(l)
	return l
}

// snapshot writes the state at one instant: fields have the names that `clockd status --json` gives them.
func (e *encoder) snapshot(s *control.Snapshot, at Instant) {
	at.UnixNano = e.unique(series{measurement: MeasurementClock}, at.UnixNano)
	e.clock(s, &at)
	e.properties(s, &at)
	for i := range s.Sources.Sources {
		e.source(&s.Sources.Sources[i], &at)
	}
	if g := s.Status.Group; g != nil {
		e.group(g, &at)
		for i := range g.Peers {
			e.peer(&g.Peers[i], &at)
		}
	}
	if x := s.Status.Server; x != nil {
		l := e.begin(MeasurementServer, &at, "", "")
		l.Uint("requests", x.Requests)
		l.Uint("answers", x.Answers)
		l.Uint("interleaved_answers", x.InterleavedAnswers)
		l.Uint("authenticated_answers", x.AuthenticatedAnswers)
		l.Uint("rejected", total(x.Rejected))
		l.End(at.UnixNano)
	}
}

func total(counts map[string]uint64) uint64 {
	sum := uint64(0)
	for _, n := range counts {
		sum += n
	}
	return sum
}

func (e *encoder) clock(s *control.Snapshot, at *Instant) {
	t := s.Status
	l := e.begin(MeasurementClock, at, "", "")
	l.Text("status", t.Status.String())
	l.Bool("sound", t.Status.Sound())
	l.Text("reason", t.Reason.String())
	l.Text("kind", t.Kind)
	l.Text("mode", t.Mode)
	l.Float("max_bound_s", t.MaxBoundS)
	l.Known("correction_s", s.CorrectionS)
	l.Known("rate_ppm", t.RatePPM)
	l.Known("rate_std_ppm", t.RateStdPPM)
	l.Bool("slewing", t.Slewing)
	if s.CorrectionS != nil {
		l.Float("slew_left_s", t.SlewLeftS)
	}
	l.Uint("epoch", uint64(t.Epoch))
	l.Uint("steps", t.Steps)
	l.Known("last_sample_age_s", t.LastSampleAgeS)
	if t.Stratum != nil {
		l.Int("stratum", int64(*t.Stratum))
	}
	l.Int("sources_configured", int64(t.Sources.Configured))
	l.Int("sources_answering", int64(t.Sources.Answering))
	l.Int("sources_used", int64(t.Sources.Used))
	l.Int("sources_false", int64(t.Sources.False))
	l.Int("max_false", int64(t.Sources.MaxFalse))
	l.Float("uptime_s", t.UptimeS)
	l.Int("troubles", int64(len(t.Trouble)))
	l.End(at.UnixNano)
}

func (e *encoder) properties(s *control.Snapshot, at *Instant) {
	t := s.Status
	l := e.begin(MeasurementProperties, at, "", "")
	if t.Counter.Hertz > 0 {
		l.Float("granularity_s", 1/t.Counter.Hertz)
	}
	if t.Kind == control.KindExternal {
		l.Known("accuracy_s", t.BoundS)
	}
	if g := t.Group; g != nil {
		l.Known("precision_s", g.SpreadS)
		l.Known("precision_bound_s", g.PrecisionBoundS)
		l.Known("distance_to_utc_s", g.ToUTCS)
		if g.EpsilonS != nil && *g.EpsilonS > 0 {
			l.Float("reading_error_s", *g.EpsilonS)
		}
	} else {
		narrowest := math.Inf(1)
		for i := range s.Sources.Sources {
			if x := &s.Sources.Sources[i]; x.Reason == reason.OK && x.LowS != nil && x.HighS != nil {
				narrowest = min(narrowest, (*x.HighS-*x.LowS)/2)
			}
		}
		l.Float("reading_error_s", narrowest)
	}
	if p := s.Promised; p != nil && p.Contraction < 1 {
		l.Float("convergence_bound_s", p.Convergence)
		l.Float("accuracy_bound_s", p.Accuracy)
		l.Float("envelope_rate_bound_ratio", p.EnvelopeRate)
	}
	l.End(at.UnixNano)
}

func (e *encoder) source(x *control.Source, at *Instant) {
	l := e.begin(MeasurementSource, at, "source", x.Name)
	l.Text("reason", x.Reason.String())
	l.Bool("used", x.Reason == reason.OK && x.Weight > 0)
	l.Bool("selected", x.Selected)
	l.Float("weight", x.Weight)
	l.Known("offset_s", x.OffsetS)
	l.Known("offset_std_s", x.OffsetStdS)
	l.Known("low_s", x.LowS)
	l.Known("high_s", x.HighS)
	if x.LowS != nil && x.HighS != nil {
		l.Float("half_width_s", (*x.HighS-*x.LowS)/2)
	}
	l.Known("distance_s", x.DistanceS)
	l.Known("rate_ppm", x.RatePPM)
	l.Known("delay_s", x.DelayS)
	l.Known("min_delay_s", x.MinDelayS)
	l.Known("jitter_s", x.JitterS)
	l.Known("server_error_s", x.ServerErrorS)
	l.Known("last_sample_age_s", x.LastSampleAgeS)
	if x.Stratum != nil {
		l.Int("stratum", int64(*x.Stratum))
	}
	l.Int("reach", int64(x.Reach))
	l.Float("poll_s", x.PollS)
	l.Uint("sent", x.Sent)
	l.Uint("received", x.Received)
	l.Uint("rejected", total(x.Rejections))
	l.Bool("authenticated", x.Key != "")
	if x.Received > 0 {
		l.Bool("interleaved", x.Interleaved)
		l.Text("transmit_stamp", x.TransmitStamp)
		l.Text("receive_stamp", x.ReceiveStamp)
	}
	l.End(at.UnixNano)
}

func (e *encoder) group(g *control.Group, at *Instant) {
	l := e.begin(MeasurementGroup, at, "", "")
	l.Text("status", g.Status.String())
	l.Text("reason", g.Reason.String())
	l.Int("round", g.Round)
	l.Int("members", int64(g.Members))
	l.Int("faults", int64(g.Faults))
	l.Uint("rounds", g.Rounds)
	l.Uint("skipped", g.Skipped)
	if g.Rounds > 0 {
		used := 1
		for i := range g.Peers {
			if g.Peers[i].Used {
				used++
			}
		}
		l.Int("used", int64(used))
		l.Int("margin", int64(g.Margin))
		l.Known("epsilon_s", g.EpsilonS)
		l.Float("adjustment_s", g.AdjustmentS)
		l.Float("pull_s", g.PullS)
	}
	l.Known("spread_s", g.SpreadS)
	l.Known("precision_bound_s", g.PrecisionBoundS)
	l.Known("to_utc_s", g.ToUTCS)
	l.End(at.UnixNano)
}

func (e *encoder) peer(x *control.Peer, at *Instant) {
	l := e.begin(MeasurementPeer, at, "peer", x.Name)
	l.Text("reason", x.Reason.String())
	if x.Status != nil {
		l.Text("status", x.Status.String())
	}
	l.Bool("used", x.Used)
	l.Known("offset_s", x.OffsetS)
	l.Known("error_s", x.ErrorS)
	l.Known("delay_s", x.DelayS)
	l.Known("jitter_s", x.JitterS)
	l.Int("reach", int64(x.Reach))
	l.Float("poll_s", x.PollS)
	l.Uint("sent", x.Sent)
	l.Uint("received", x.Received)
	l.Uint("rejected", total(x.Rejections))
	if x.Received > 0 {
		l.Text("transmit_stamp", x.TransmitStamp)
		l.Text("receive_stamp", x.ReceiveStamp)
	}
	l.End(at.UnixNano)
}
