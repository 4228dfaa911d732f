package observe

import (
	"math"
	"time"

	"github.com/clockd/clockd/reason"
)

// ReportFormat is the version of the report's JSON: it grows when a key goes or changes its meaning.
const ReportFormat = 1

// Report is the result of an observation. Its JSON keys are stable (docs/observe.md). All times are in seconds; what is not known
// is null.
type Report struct {
	Format  int    `json:"format"`
	Version string `json:"version"`
	Began   string `json:"began"`
	Config  Config `json:"config"`
	// Counter is the local reference: the raw counter of the last segment, its nominal frequency and what the drift may be in all.
	Counter *Counter `json:"counter"`
	// Measured is how long was measured, without the gaps; Ended is why it ended, null if it was killed, or goes on.
	Measured  float64 `json:"measured_s"`
	Ended     *string `json:"ended"`
	Rounds    int64   `json:"rounds"`
	Segments  int     `json:"segments"`
	Gaps      []Gap   `json:"gaps"`
	GapsTotal int64   `json:"gaps_total"`
	// Now is the comparison at the end of the last round, null without one.
	Now     *NowReport     `json:"now"`
	Servers []ServerReport `json:"servers"`
	Pairs   []PairReport   `json:"pairs"`
	// SystemSteps counts the steps of the system clock that were noticed, SystemStepped is their sum.
	SystemSteps   int64   `json:"system_clock_steps"`
	SystemStepped float64 `json:"system_clock_stepped_s"`
	Events        []Event `json:"events"`
	EventsDropped int64   `json:"events_dropped"`
	// Log says what was found wrong with the log; null where none was read.
	Log *LogReport `json:"log"`
}

// Counter is this host's raw counter.
type Counter struct {
	Spec  string  `json:"spec"`
	Hertz float64 `json:"hertz"`
	// DriftBound is ρ, its measured frequency's own error included.
	DriftBound float64 `json:"drift_bound"`
}

// NowReport is the comparison at the end of the last round: true time − system clock.
type NowReport struct {
	At       float64 `json:"at_s"`
	Realtime string  `json:"system_clock"`
	// Taking is how many servers were compared; at most MaxFalse of them are false: on that condition true time is between Low and
	// High. Reason says why nothing can be said, if so.
	Taking   int         `json:"servers_compared"`
	MaxFalse int         `json:"max_false"`
	Reason   reason.Code `json:"reason"`
	Low      *float64    `json:"low_s"`
	High     *float64    `json:"high_s"`
	// Estimate is the statistical one, Std its standard deviation: not a bound, and blind to asymmetric paths.
	Estimate *float64 `json:"estimate_s"`
	Std      *float64 `json:"estimate_std_s"`
}

// ServerReport is what was found of one server.
type ServerReport struct {
	Host    string  `json:"host"`
	Address *string `json:"address"`
	// What its last answer says of itself.
	Stratum        *int     `json:"stratum"`
	Leap           *int     `json:"leap"`
	Version        *int     `json:"version"`
	ReferenceID    *string  `json:"reference_id"`
	RootDelay      *float64 `json:"root_delay_s"`
	RootDispersion *float64 `json:"root_dispersion_s"`
	RootDistance   *float64 `json:"root_distance_s"`

	SamplesSent uint64 `json:"samples_sent"`
	SamplesOK   uint64 `json:"samples_ok"`
	SamplesLost uint64 `json:"samples_lost"`
	// Every is how far apart its requests are; Stopped: it asked not to be asked.
	Every   float64 `json:"every_s"`
	Stopped bool    `json:"stopped"`
	// Reason is ok, source_falseticker, or why it takes no part now; Message tells more.
	Reason  reason.Code `json:"reason"`
	Message *string     `json:"message"`

	// The server's clock − the system clock at the last comparison: certainly between Low and High if it keeps its own promise;
	// Estimate and Std are statistical. The same against the raw timeline of the last segment.
	Low      *float64 `json:"offset_low_s"`
	High     *float64 `json:"offset_high_s"`
	Estimate *float64 `json:"offset_estimate_s"`
	Std      *float64 `json:"offset_estimate_std_s"`
	RawLow   *float64 `json:"raw_offset_low_s"`
	RawHigh  *float64 `json:"raw_offset_high_s"`
	// Rate is the server's clock rate against the raw counter − 1, an estimate, and RateStd its standard deviation.
	Rate    *float64 `json:"raw_rate"`
	RateStd *float64 `json:"raw_rate_std"`
	Jitter  *float64 `json:"jitter_s"`

	// Off is how far it is from true time now, Worst when it was farthest for certain; null while nothing proves it false.
	Off            *Distance `json:"off"`
	Worst          *Distance `json:"off_worst"`
	RoundsJudged   int64     `json:"rounds_judged"`
	RoundsFalse    int64     `json:"rounds_false"`
	Contradictions uint64    `json:"self_contradictions"`

	// Delay is the round trip without the server's part, Error the half-width of single exchanges, SystemOffset the offset of single
	// exchanges against the system clock.
	Delay        Spread `json:"delay"`
	Error        Spread `json:"error"`
	SystemOffset Spread `json:"system_offset"`
	// Stability is of the server, the network and this host's oscillator together.
	Stability  *Stability        `json:"stability"`
	Rejections map[string]uint64 `json:"rejections"`
}

// Spread is the distribution of a figure in seconds; all null without samples.
type Spread struct {
	Count  uint64   `json:"count"`
	Min    *float64 `json:"min_s"`
	Median *float64 `json:"median_s"`
	P99    *float64 `json:"p99_s"`
	Max    *float64 `json:"max_s"`
}

// PairReport compares two servers: A − B.
type PairReport struct {
	A string `json:"a"`
	B string `json:"b"`
	// Rounds counts the comparisons of the two, Apart those in which their intervals had no common point: one of them was false.
	Rounds     int64    `json:"rounds"`
	Apart      int64    `json:"rounds_apart"`
	FirstApart *float64 `json:"first_apart_s"`
	// Latest is what is certain of their difference now, Worst when they were farthest apart for certain.
	Latest *Distance `json:"latest"`
	Worst  *Distance `json:"worst"`
	// Difference is that of the single exchanges of one round: statistical.
	Difference Spread `json:"difference"`
	// Stability is of the two servers and the network: this host's oscillator cancels out.
	Stability *Stability `json:"stability"`
}

// LogReport is what reading the log found.
type LogReport struct {
	File     string   `json:"file"`
	Records  int64    `json:"records"`
	Damaged  int64    `json:"damaged_lines"`
	Damages  []Damage `json:"damages"`
	CutBytes int64    `json:"cut_bytes"`
}

// Report sums up what is known now. With stability it is what a measurement ends with; without, it is cheap enough for every round.
func (a *Analysis) Report(stability bool) *Report {
	h := &a.header
	r := &Report{
		Format: ReportFormat, Version: h.Version, Began: h.Began, Config: h.Config, Measured: a.measured, Rounds: a.rounds, Segments: a.segments,
		Gaps: append([]Gap{}, a.gaps...), GapsTotal: a.gapCount, SystemSteps: a.system.steps, SystemStepped: a.system.moved,
		Events: append([]Event{}, a.events...), EventsDropped: a.dropped,
	}
	if a.segment != nil {
		r.Counter = &Counter{Spec: a.segment.Counter, Hertz: a.segment.Hertz, DriftBound: a.drift}
	}
	if a.ended != "" {
		ended := a.ended
		r.Ended = &ended
	}
	if a.latest != nil {
		r.Now = a.latest.report()
	}
	for i := range a.servers {
		r.Servers = append(r.Servers, a.serverReport(i, stability))
	}
	r.Pairs = make([]PairReport, 0, len(a.pairs))
	for _, p := range a.pairs {
		r.Pairs = append(r.Pairs, a.pairReport(p, stability))
	}
	return r
}

// report converts F and the estimate from the raw timeline to the system clock.
func (c *Comparison) report() *NowReport {
	n := &NowReport{
		At: c.At, Realtime: time.Unix(0, c.Realtime).UTC().Format(time.RFC3339Nano), Taking: c.Taking, MaxFalse: c.MaxFalse, Reason: c.Fused.Reason,
	}
	if c.Fused.Reason == reason.OK {
		n.Low, n.High = known(c.Fused.Low+c.System-c.SystemError), known(c.Fused.High+c.System+c.SystemError)
		n.Estimate, n.Std = known(c.Fused.Offset+c.System), known(c.Fused.OffsetStd)
	}
	return n
}

// known is nil for what is no number.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func (a *Analysis) serverReport(i int, stability bool) ServerReport {
	v := a.servers[i]
	r := ServerReport{
		Host: v.host, SamplesSent: v.asked, SamplesOK: v.answered, SamplesLost: v.asked - min(v.answered, v.asked),
		Every: float64(max(v.every, 1)) * a.header.Config.Poll, Stopped: v.stopped, Reason: v.code, Worst: v.worst,
		RoundsJudged: v.roundsJudged, RoundsFalse: v.falseRounds, Contradictions: v.contradictions, Rejections: v.rejections.Map(),
	}
	if v.address.IsValid() {
		address := v.address.String()
		r.Address = &address
	}
	if v.message != "" {
		message := v.message
		r.Message = &message
	}
	if s := v.said; s != nil {
		said := *s
		r.Stratum, r.Leap, r.Version, r.ReferenceID = &said.stratum, &said.leap, &said.version, &said.reference
		r.RootDelay, r.RootDispersion, r.RootDistance = &said.rootDelay, &said.dispersion, &said.distance
	}
	v.stats.report(&r, stability)
	if c := a.latest; c != nil {
		c.place(i, &r)
	}
	return r
}

// place fills in where a server stands in the comparison.
func (c *Comparison) place(i int, r *ServerReport) {
	s := &c.Servers[i]
	if s.Code != reason.OK || r.Reason == reason.SampleEmptyInterval {
		r.Reason = s.Code
	}
	if !s.takesPart() {
		return
	}
	g := &s.Reading
	r.Low, r.High = known(g.Low+c.System-c.SystemError), known(g.High+c.System+c.SystemError)
	r.Estimate, r.Std = known(g.Offset+c.System), known(g.OffsetStd)
	r.RawLow, r.RawHigh = known(g.Low), known(g.High)
	if g.Samples > 1 {
		r.Rate, r.RateStd, r.Jitter = known(g.Rate), known(g.RateStd), known(g.Jitter)
	}
	r.Off = s.Off
}

func (a *Analysis) pairReport(p *pair, stability bool) PairReport {
	r := PairReport{
		A: a.servers[p.i].host, B: a.servers[p.j].host, Rounds: p.rounds, Apart: p.apart, FirstApart: p.firstApart, Latest: p.latest, Worst: p.worst,
	}
	p.stats.report(&r, stability)
	return r
}

// Measured reports whether every server gave at least one sample.
func (r *Report) Complete() bool {
	for i := range r.Servers {
		if r.Servers[i].SamplesOK == 0 {
			return false
		}
	}
	return true
}

// Contradicted reports whether it was proved, at some time, that a server broke its promise.
func (r *Report) Contradicted() bool {
	for i := range r.Pairs {
		if r.Pairs[i].Apart > 0 {
			return true
		}
	}
	for i := range r.Servers {
		if r.Servers[i].Contradictions > 0 {
			return true
		}
	}
	return false
}
