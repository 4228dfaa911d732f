package observe

import (
	"fmt"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// Distance is what is certain of the difference of two clocks: it is between Least and Most, in seconds. Both have one sign where
// the clocks cannot be the same.
type Distance struct {
	Least float64 `json:"least_s"`
	Most  float64 `json:"most_s"`
}

// size is how far apart the two are at least; 0 if they may be the same.
func (d Distance) size() float64 { return max(d.Least, -d.Most, 0) }

// Standing is a server in a comparison.
type Standing struct {
	// Code is OK, SourceFalseticker, or why the server takes no part.
	Code reason.Code
	// Reading is what is known of its clock against the raw timeline; only if it takes part.
	Reading roundtrip.Reading
	// Off is how far a falseticker is from true time.
	Off *Distance
}

// takesPart reports whether the server was compared.
func (s *Standing) takesPart() bool {
	return s.Code == reason.OK || s.Code == reason.SourceFalseticker
}

// Comparison is what all servers say at one instant, each reading widened by what this host's counter may have drifted since.
type Comparison struct {
	Round int64
	// At is in seconds since the beginning, Realtime the system clock in nanoseconds since 1970.
	At       float64
	Realtime int64
	// Taking is how many servers take part, MaxFalse how many of them are allowed to be false.
	Taking, MaxFalse int
	// Fused says where true time − raw timeline is if no more are false: Reason is OK, TooFewSources or NoMajority.
	Fused roundtrip.Estimate
	// System is the raw timeline − the system clock at that instant, SystemError its half-width.
	System, SystemError float64
	Servers             []Standing
	// Apart are the pairs whose intervals have no common point: one of the two is false, whatever the others say.
	Apart []Apart
}

// Apart is a pair of servers that contradict each other: server I − server J is in Distance.
type Apart struct {
	I, J     int
	Distance Distance
}

// compare compares all servers at the end of a round.
func (a *Analysis) compare(r *Round) {
	at := r.At.Ticks
	n := len(a.servers)
	c := &Comparison{Round: r.Number, At: a.passed, Realtime: r.At.Realtime, Servers: make([]Standing, n)}
	c.System = a.raw.At(at).Seconds(virtualclock.Unix(r.At.Realtime, 0))
	c.SystemError = (float64(r.At.Error) + 1) / a.segment.Hertz
	readings, codes, verdicts := make([]roundtrip.Reading, n), make([]reason.Code, n), make([]roundtrip.Verdict, n)
	for i, v := range a.servers {
		readings[i], codes[i] = a.reading(v, r)
		if codes[i] == reason.OK {
			c.Taking++
		}
	}
	c.MaxFalse = roundtrip.MaxFalse(c.Taking)
	if f := a.header.Config.MaxFalse; f != nil {
		c.MaxFalse = *f
	}
	c.Fused = a.fusion.Fuse(at, readings, codes, c.MaxFalse, verdicts)
	for i := range a.servers {
		s := &c.Servers[i]
		s.Code, s.Reading = verdicts[i].Reason, readings[i]
		if s.Code == reason.SourceFalseticker {
			s.Off = &Distance{Least: readings[i].Low - c.Fused.High, Most: readings[i].High - c.Fused.Low}
		}
	}
	for _, p := range a.pairs {
		p.compare(c)
	}
	a.judge(c)
	a.latest = c
	if a.Observer != nil {
		a.Observer.Compared(c)
	}
}

// reading returns what is known of a server at the end of a round, and why that does not count if it does not.
func (a *Analysis) reading(v *server, r *Round) (roundtrip.Reading, reason.Code) {
	none := roundtrip.Reading{At: r.At.Ticks}
	waiting := v.code
	if waiting == reason.OK || waiting == reason.SampleEmptyInterval {
		waiting = reason.SourceWaiting
	}
	if v.filter == nil {
		return none, waiting
	}
	reading := v.filter.Reading(r.At.Ticks)
	age := a.raw.Elapsed(reading.LastSample, r.At.Ticks)
	switch {
	case reading.Samples == 0:
		return none, waiting
	case v.stopped:
		return reading, v.code
	case age > deadPolls*float64(max(v.every, 1))*a.header.Config.Poll:
		// What it said still holds, but is of no use: its interval has grown, and it would vote.
		if v.code == reason.OK {
			return reading, reason.SourceUnreachable
		}
		return reading, v.code
	case disqualifies(v.code):
		return reading, v.code
	}
	return reading, reason.OK
}

// disqualifies reports whether a server that gave such an answer last has no vote: it says itself that it does not know the time,
// or it contradicts itself. A lost or a foreign datagram tells nothing of the server.
func disqualifies(code reason.Code) bool {
	switch code {
	case reason.ServerUnsynchronised, reason.ServerStratum, reason.ServerRootDistance, reason.ServerOrder, reason.ServerLoop,
		reason.PacketZeroTimestamp, reason.SampleNegativeDelay, reason.SampleEmptyInterval, reason.SampleStamp, reason.SourceDuplicate:
		return true
	}
	return false
}

// judge counts the verdicts and tells when they change.
func (a *Analysis) judge(c *Comparison) {
	for i, v := range a.servers {
		s := &c.Servers[i]
		if s.takesPart() && c.Fused.Reason == reason.OK {
			v.roundsJudged++
		}
		isFalse := s.Code == reason.SourceFalseticker
		if isFalse {
			v.falseRounds++
			if v.worst == nil || s.Off.size() > v.worst.size() {
				v.worst = s.Off
			}
		}
		if isFalse && !v.wasFalse {
			a.event(v, s.Code, fmt.Sprintf("false: off by between %s and %s, if %s", Signed(s.Off.Least), Signed(s.Off.Most), condition(c.MaxFalse, c.Taking)))
		}
		if !isFalse && v.wasFalse && s.Code == reason.OK && c.Fused.Reason == reason.OK {
			a.event(v, reason.OK, "no longer proved to be false")
		}
		if isFalse || s.Code == reason.OK && c.Fused.Reason == reason.OK {
			v.wasFalse = isFalse
		}
	}
	before := reason.OK
	if a.latest != nil {
		before = a.latest.Fused.Reason
	}
	if c.Fused.Reason == reason.NoMajority && before != reason.NoMajority {
		a.event(nil, reason.NoMajority, fmt.Sprintf("more than %d of %d servers are false, and nobody can tell which", c.MaxFalse, c.Taking))
	}
}

// pair compares two servers over time.
type pair struct {
	i, j int
	// rounds counts the comparisons in which both took part, apart those in which they contradicted each other.
	rounds, apart int64
	worst, latest *Distance
	firstApart    *float64
	stats         pairStats
}

func newPair(i, j int, poll float64) *pair { return &pair{i: i, j: j, stats: newPairStats(poll)} }

func (p *pair) cut() {
	p.latest = nil
	p.stats.cut()
}

func (p *pair) compare(c *Comparison) {
	x, y := &c.Servers[p.i], &c.Servers[p.j]
	p.latest = nil
	if !x.takesPart() || !y.takesPart() {
		return
	}
	p.rounds++
	d := Distance{Least: x.Reading.Low - y.Reading.High, Most: x.Reading.High - y.Reading.Low}
	p.latest = &d
	if d.size() == 0 {
		return
	}
	p.apart++
	if p.worst == nil || d.size() > p.worst.size() {
		p.worst = &d
	}
	if p.firstApart == nil {
		at := c.At
		p.firstApart = &at
	}
	c.Apart = append(c.Apart, Apart{I: p.i, J: p.j, Distance: d})
}

// sampled gives the series of differences the value of a round in which both were measured.
func (p *pair) sampled(round int64, x, y *server) {
	if x.last != nil && y.last != nil && x.lastRound == round && y.lastRound == round {
		p.stats.add(round, x.last.Offset-y.last.Offset)
	}
}
