package observe

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// Analysis turns records into what they mean. It is pure: a running measurement and a log that is read again feed it alike, and
// the same records give the same result. Its memory does not grow with their number.
type Analysis struct {
	header  Header
	servers []*server
	pairs   []*pair
	fusion  roundtrip.Fusion

	// The present segment; nil before the first.
	segment  *Segment
	segments int
	raw      roundtrip.Raw
	drift    float64
	// base is the time since the beginning, in seconds, at the segment's anchor.
	base    float64
	first   Instant
	round   int64
	last    Instant
	hasLast bool
	// passed is the time since the beginning that the latest record belongs to: it never goes back.
	passed float64

	measured float64
	gaps     []Gap
	gapCount int64
	rounds   int64
	events   []Event
	dropped  int64
	ended    string

	system systemClock
	latest *Comparison

	// Observer, if it is set, is told of every sample and every comparison.
	Observer Observer
}

// Observer follows an analysis, for series and pictures.
type Observer interface {
	// Sampled is a sample that was used, at seconds since the beginning.
	Sampled(server int, at float64, m Measured)
	// Compared is the comparison at the end of a round.
	Compared(c *Comparison)
}

// Gap is time in which nothing was measured.
type Gap struct {
	// At is when it began, in seconds since the beginning; Length is nil where it is not known (this host's clocks began anew).
	At     float64     `json:"at_s"`
	Length *float64    `json:"length_s"`
	Reason reason.Code `json:"reason"`
	Text   string      `json:"text"`
}

// Event is something that was noticed.
type Event struct {
	At     float64     `json:"at_s"`
	Server *string     `json:"server"`
	Reason reason.Code `json:"reason"`
	Text   string      `json:"text"`
}

const (
	maxGaps   = 1000
	maxEvents = 1000
	// deadPolls is after how many of its polls without a sample a server takes no part any more.
	deadPolls = 8
	// farAhead is how far, in seconds, this host's clocks may go on between two records: 31 years, which the arithmetic carries.
	farAhead = 1e9
)

// NewAnalysis begins with the header.
func NewAnalysis(h *Header) *Analysis {
	a := &Analysis{header: *h, round: -1}
	n := len(h.Config.Hosts)
	for i := range n {
		a.servers = append(a.servers, newServer(h.Config.Hosts[i], h.Config.Poll))
		for j := i + 1; j < n; j++ {
			a.pairs = append(a.pairs, newPair(i, j, h.Config.Poll))
		}
	}
	return a
}

// Step takes the next record after the header. An error says why it cannot be one of this observation: it was not used.
func (a *Analysis) Step(r *Record) error {
	switch {
	case r.Header != nil:
		return errors.New("a second header")
	case r.Segment != nil:
		return a.onSegment(r.Segment)
	case r.Start != nil:
		return a.onStart(r.Start)
	case r.Address != nil:
		return a.onAddress(r.Address)
	case r.Sample != nil:
		return a.onSample(r.Sample)
	case r.Failure != nil:
		return a.onFailure(r.Failure)
	case r.Round != nil:
		return a.onRound(r.Round)
	case r.End != nil:
		return a.onEnd(r.End)
	}
	return errors.New("an empty record")
}

// in checks that a record belongs to the present segment.
func (a *Analysis) in(segment int) error {
	if a.segment == nil || segment != a.segment.Number {
		return fmt.Errorf("segment %d is not known: its beginning is missing or damaged", segment)
	}
	return nil
}

func (a *Analysis) server(n int) (*server, error) {
	if n < 0 || n >= len(a.servers) {
		return nil, fmt.Errorf("there is no server %d", n)
	}
	return a.servers[n], nil
}

// forward checks that an instant of this host is not before the last one, and within what the counter's arithmetic carries.
func (a *Analysis) forward(i *Instant) error {
	d := i.Ticks.Sub(a.last.Ticks)
	if a.hasLast && (d < 0 || float64(d) > farAhead*a.segment.Hertz) {
		return errors.New("the counter went backwards, or far ahead")
	}
	return nil
}

// advance moves the present to an instant of the segment, and counts the time until it as measured unless it is a gap.
func (a *Analysis) advance(i *Instant, measuredTime bool) {
	t := a.base + a.raw.Elapsed(a.segment.Anchor.Ticks, i.Ticks)
	if measuredTime {
		a.measured += max(t-a.passed, 0)
	}
	a.passed = max(a.passed, t)
	a.last, a.hasLast = *i, true
}

func (a *Analysis) onSegment(s *Segment) error {
	if s.Number < a.segments {
		return fmt.Errorf("segment %d was there already", s.Number)
	}
	if a.segment == nil {
		a.first = s.Anchor
	} else {
		a.breakOff(s)
	}
	a.segment, a.segments = s, s.Number+1
	a.drift = a.header.Config.DriftBound + s.ErrorPPB*1e-9
	a.raw = roundtrip.Raw{Line: virtualclock.Line{C0: s.Anchor.Ticks, T0: virtualclock.Unix(s.Anchor.Realtime, 0), Period: virtualclock.PeriodOf(s.Hertz)}}
	a.base, a.round, a.ended = a.passed, -1, ""
	a.last, a.hasLast = s.Anchor, true
	for _, v := range a.servers {
		v.cut()
		v.filter = nil
	}
	for _, p := range a.pairs {
		p.cut()
	}
	a.system.cut()
	return nil
}

// breakOff ends a segment at the beginning of the next. How long the gap is only the system clock can tell, and no one can tell
// whether that is right: the time since the beginning goes on by what it says, if that is forward.
func (a *Analysis) breakOff(next *Segment) {
	g := Gap{At: a.passed, Reason: next.Reason, Text: "this host was started anew: its counter has nothing to do with the one before"}
	if next.Reason != reason.OK {
		g.Text = next.Reason.Explain()
	}
	if d := float64(next.Anchor.Realtime-a.last.Realtime) * 1e-9; d > 0 {
		g.Length = &d
		a.passed += d
	}
	a.gap(g)
}

func (a *Analysis) gap(g Gap) {
	a.gapCount++
	if len(a.gaps) < maxGaps {
		a.gaps = append(a.gaps, g)
	}
}

func (a *Analysis) onStart(s *Start) error {
	if err := errors.Join(a.in(s.Segment)); err != nil {
		return err
	}
	if err := a.forward(&s.At); err != nil {
		return err
	}
	length := a.raw.Elapsed(a.last.Ticks, s.At.Ticks)
	a.gap(Gap{At: a.passed, Length: &length, Reason: reason.OK, Text: "nothing was measured between two runs; the counter ran on"})
	a.advance(&s.At, false)
	a.ended = ""
	return nil
}

func (a *Analysis) onAddress(r *Address) error {
	v, err := a.server(r.Server)
	if err != nil {
		return err
	}
	a.moved(v, r.Address)
	v.every = r.Every
	return nil
}

// moved notes where a server is asked. Another address is another clock.
func (a *Analysis) moved(v *server, to netip.AddrPort) {
	if v.address == to {
		return
	}
	if v.address.IsValid() {
		a.event(v, reason.OK, fmt.Sprintf("asked at %v from now on, and no longer at %v: another clock", to, v.address))
		v.cut()
		v.filter = nil
		for _, p := range a.pairs {
			if a.servers[p.i] == v || a.servers[p.j] == v {
				p.cut()
			}
		}
	}
	v.address = to
}

func (a *Analysis) event(v *server, code reason.Code, text string) {
	if len(a.events) >= maxEvents {
		a.dropped++
		return
	}
	e := Event{At: a.passed, Reason: code, Text: text}
	if v != nil {
		e.Server = &v.host
	}
	a.events = append(a.events, e)
}

// Measured is what one exchange says, in seconds.
type Measured struct {
	// Offset is the server's clock − the raw timeline, if both ways took the same time; Low and High are what is certain.
	Offset, Low, High float64
	// Delay is the round trip without the server's part. System is the server's clock − the system clock.
	Delay, System float64
}

// halfWidth is how wrong Offset can be.
func (m *Measured) halfWidth() float64 { return max(m.High-m.Offset, m.Offset-m.Low) }

// sample converts a record.
func (s *Sample) sample() roundtrip.Sample {
	return roundtrip.Sample{
		Depart: s.Departed, Arrive: s.Arrived, Receive: s.Receive, Transmit: s.Transmit, ServerError: s.serverError(),
		RootDelay: s.RootDelay, RootDispersion: s.RootDispersion, Stratum: s.Stratum, Leap: s.Leap, ReferenceID: s.ReferenceID,
	}
}

// measure computes what an exchange says by itself, at its arrival (theory 2.1).
func measure(raw *roundtrip.Raw, drift, granularity float64, s *Sample) Measured {
	elapsed := raw.Elapsed(s.Departed.At, s.Arrived.At)
	forward, backward := raw.Offset(s.Receive, s.Departed.At), raw.Offset(s.Transmit, s.Arrived.At)
	m := Measured{Offset: (forward + backward) / 2, Delay: elapsed - s.Transmit.Seconds(s.Receive)}
	m.Low = raw.Offset(s.Transmit, s.Arrived.NotAfter()) - s.serverError() - granularity
	_, m.High = roundtrip.Spread(drift, 0, raw.Offset(s.Receive, s.Departed.NotBefore())+s.serverError(), raw.Elapsed(s.Departed.NotBefore(), s.Arrived.NotAfter()))
	m.System = m.Offset + raw.At(s.Cross.At).Seconds(virtualclock.Unix(s.Cross.Realtime, 0))
	return m
}

// Complete fills in the fields of a sample that are derived from the others.
func (a *Analysis) Complete(s *Sample) {
	m := measure(&a.raw, a.drift, 1/a.segment.Hertz, s)
	s.Offset, s.Error, s.Delay, s.SystemOffset = m.Offset, m.halfWidth(), m.Delay, m.System
}

func (a *Analysis) onSample(s *Sample) error {
	v, err := a.server(s.Server)
	if err = errors.Join(err, a.in(s.Segment)); err != nil {
		return err
	}
	// Stamps that are years away from the segment's beginning would leave the arithmetic's range.
	for _, c := range []hw.Ticks{s.Departed.NotBefore(), s.Arrived.NotAfter(), s.Cross.At} {
		if d := float64(c.Sub(a.segment.Anchor.Ticks)); d < -a.segment.Hertz || d > farAhead*a.segment.Hertz {
			return errors.New("a stamp is far outside of its segment")
		}
	}
	a.moved(v, s.Address)
	v.asked++
	v.failures = 0
	v.strays(s.Stray)
	v.describe(s)
	if e := s.serverError(); e > a.header.Config.MaxError {
		a.refuse(v, reason.ServerRootDistance, "it says that it may be wrong by "+Seconds(e))
		return nil
	}
	if v.filter == nil {
		v.filter = roundtrip.NewFilter(&a.raw, roundtrip.FilterConfig{Drift: a.drift, Granularity: 1 / a.segment.Hertz})
	}
	rs := s.sample()
	code := v.filter.Update(&rs, true)
	switch code {
	case reason.OK:
	case reason.SampleEmptyInterval:
		// The filter has begun anew with this sample, which is good by itself.
		v.contradictions++
		a.event(v, code, "it contradicts what it said before: "+code.Explain())
	default:
		a.refuse(v, code, "")
		return nil
	}
	m := measure(&a.raw, a.drift, 1/a.segment.Hertz, s)
	at := a.base + a.raw.Elapsed(a.segment.Anchor.Ticks, s.Arrived.At)
	v.take(s.Round, &m, code)
	for _, p := range a.pairs {
		if p.i == s.Server || p.j == s.Server {
			p.sampled(s.Round, a.servers[p.i], a.servers[p.j])
		}
	}
	a.system.note(a, s)
	if a.Observer != nil {
		a.Observer.Sampled(s.Server, at, m)
	}
	return nil
}

// refuse rejects an answer that came, and tells if that is new.
func (a *Analysis) refuse(v *server, code reason.Code, message string) {
	if v.code != code {
		a.event(v, code, code.Explain())
	}
	v.reject(code, message)
}

func (a *Analysis) onFailure(f *Failure) error {
	v, err := a.server(f.Server)
	if err = errors.Join(err, a.in(f.Segment)); err != nil {
		return err
	}
	if f.Sent {
		v.asked++
	}
	v.failures++
	v.strays(f.Stray)
	if f.Reason != v.code || f.Stopped {
		a.event(v, f.Reason, failureText(f, a.header.Config.Poll))
	}
	v.reject(f.Reason, f.Message)
	v.every = f.Every
	v.stopped = v.stopped || f.Stopped
	return nil
}

// failureText is a sentence for people.
func failureText(f *Failure, poll float64) string {
	text := f.Reason.Explain()
	switch {
	case f.Stopped:
		text += "; it is not asked any more"
	case f.Reason == reason.KissRate:
		text += fmt.Sprintf("; it is asked every %v from now on", duration(float64(f.Every)*poll))
	}
	return text
}

func (a *Analysis) onRound(r *Round) error {
	if err := a.in(r.Segment); err != nil {
		return err
	}
	if r.Number <= a.round {
		return fmt.Errorf("round %d was there already", r.Number)
	}
	if err := a.forward(&r.At); err != nil {
		return err
	}
	a.advance(&r.At, true)
	a.rounds++
	a.compare(r)
	a.round = r.Number
	return nil
}

func (a *Analysis) onEnd(e *End) error {
	if err := a.in(e.Segment); err != nil {
		return err
	}
	if err := a.forward(&e.At); err != nil {
		return err
	}
	a.advance(&e.At, true)
	a.ended = e.Why
	if len(a.ended) > 200 {
		a.ended = a.ended[:200]
	}
	return nil
}

// Rounds counts the rounds so far.
func (a *Analysis) Rounds() int64 { return a.rounds }

// Last returns the last known instant of this host in the present segment, and the number of the last round, −1 for none.
func (a *Analysis) Last() (segment *Segment, last Instant, round int64) {
	return a.segment, a.last, a.round
}

// MeasuredSeconds is how long was measured, without the gaps.
func (a *Analysis) MeasuredSeconds() float64 { return a.measured }

// Manners returns how a server is to be asked: where, how many polls apart, and whether at all.
func (a *Analysis) Manners(n int) (address netip.AddrPort, every int64, stopped bool) {
	v := a.servers[n]
	return v.address, max(v.every, 1), v.stopped
}

// systemClock follows what the system clock does against the raw timeline.
type systemClock struct {
	known  bool
	offset float64
	at     float64
	steps  int64
	moved  float64
}

func (c *systemClock) cut() { c.known = false }

// note compares a cross-stamp with the one before. The kernel slews by 10 % at the most and by 500 ppm usually: a change beyond
// a thousandth of the time that passed, and a millisecond, is called a step.
func (c *systemClock) note(a *Analysis, s *Sample) {
	at := a.raw.Elapsed(a.segment.Anchor.Ticks, s.Cross.At)
	offset := virtualclock.Unix(s.Cross.Realtime, 0).Seconds(a.raw.At(s.Cross.At))
	if c.known {
		if d := offset - c.offset; math.Abs(d) > 1e-3+1e-3*math.Abs(at-c.at) {
			c.steps++
			c.moved += d
			a.event(nil, reason.ClockStepped, fmt.Sprintf("the system clock was stepped by %s; the series against the raw counter goes on", Signed(d)))
		}
	}
	c.known, c.offset, c.at = true, offset, at
}
