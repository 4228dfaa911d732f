package node

import (
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
)

const (
	// interleaveProbes is how many follow-up requests a server may answer in basic mode before it is not asked again for
	// interleaveRest polls.
	interleaveProbes = 3
	interleaveRest   = 64
	// followUpDelay is the time in seconds after an answer at which the request follows that fetches the answer's precise
	// departure: enough for the server to have got its own transmit stamp.
	followUpDelay = 0.002
	// denyRest is how long in seconds a server that refused us is left alone; rateFactor what RATE multiplies the poll by, up to
	// maxPoll seconds.
	denyRest   = 3600
	rateFactor = 2
	maxPoll    = 4096
	// quietPolls is for how many polls a falseticker must be good before people are told.
	quietPolls = 16
	// quickRetries is how many lost requests in a row are made good at once.
	quickRetries = 2
	// hastenRest is how many polls must pass before a self-contradiction may again make all sources be asked at once.
	hastenRest = 4
	// readySamples is how many samples a source must give before the clock is set by it; proofSamples how many consistent
	// ones after it has contradicted itself.
	readySamples = 3
	proofSamples = 4
	// calmSamples is how many samples must allow a longer poll, longerCost what it is expected to cost in error.
	calmSamples = 4
	longerCost  = 1.4
)

// source is the state of one master.
type source struct {
	link
	config SourceConfig
	filter *roundtrip.Filter

	poll      float64
	leastPoll float64 // the configured one, or more if the server asked for it
	calm      int     // samples since the poll could last have been longer
	burstLeft int

	followUp    bool // the outstanding request is a follow-up
	followUpDue bool
	followUpAt  hw.Ticks
	probesLeft  int
	probeRest   int
	interleaved bool // the server has answered a follow-up in interleaved mode
	denied      bool
	suspectLeft int // samples until a source that contradicted itself counts again
	restarted   hw.Ticks
	badAt       hw.Ticks // when a verdict was last bad
	retrying    bool     // the next request is a quick retry

	stratum, leap uint8
	referenceID   uint32
	rootDelay     float64
	serverError   float64
}

func (n *Node) newSource(c SourceConfig) *source {
	s := &source{config: c, link: link{id: c.ID, exchanger: new(roundtrip.Exchanger), buffer: make([]byte, 0, 128)}}
	s.filter = roundtrip.NewFilter(&n.raw, n.config.filterConfig(&c))
	s.poll, s.leastPoll = c.Poll, c.Poll
	s.probesLeft = interleaveProbes
	if c.Key != (SourceKey{}) {
		s.vouched = c.Key.vouched()
		s.exchanger.SetAuthenticator(s.vouched)
	}
	return s
}

// start begins a burst at reading at.
func (s *source) start(at hw.Ticks) {
	s.nextPoll = at
	s.burstLeft = max(s.config.Burst-1, 0)
}

// wake is the next reading at which the source wants a timer.
func (s *source) wake() hw.Ticks {
	if s.followUpDue {
		return hw.Earlier(s.link.wake(), s.followUpAt)
	}
	return s.link.wake()
}

// onTimer does what is due for one source.
func (n *Node) onTimer(s *source) {
	if s.waiting && !n.now.Before(s.deadline) {
		n.giveUp(s)
	}
	if n.now.Before(s.nextPoll) {
		// Where both are due, as after a pause of the host, the poll does for the follow-up: two requests of one step would share
		// one buffer, and the first would leave with the second's number, long before the second's departure stamp.
		if s.followUpDue && !n.now.Before(s.followUpAt) {
			s.followUpDue = false
			if !s.waiting {
				n.request(s, true)
			}
		}
		return
	}
	if s.waiting {
		n.giveUp(s)
	}
	if !s.retrying {
		s.retries = 0
	}
	s.denied, s.followUpDue, s.retrying = false, false, false
	interval := s.poll
	if s.burstLeft > 0 {
		s.burstLeft--
		interval = s.config.BurstSpacing
	}
	s.nextPoll = n.now.Add(n.config.ticks(interval))
	s.reach <<= 1
	n.request(s, false)
}

// giveUp ends the wait for an answer.
func (n *Node) giveUp(s *source) {
	s.waiting = false
	s.exchanger.Expire()
	if s.followUp {
		return
	}
	if s.down == reason.OK || s.down == reason.SourceUnreachable {
		// What came instead of an answer tells more than that none came.
		if s.down = s.heard; s.heard == reason.OK {
			s.down = reason.SourceUnreachable
		}
	}
	if s.heard != reason.OK {
		n.reject(&s.link, reason.SourceUnreachable) // what was heard is counted already
	} else {
		n.reject(&s.link, s.down)
	}
	n.tell(s, s.down, 0)
	if s.retries < quickRetries && s.reach != 0 {
		s.retries++
		s.retrying = true
		s.nextPoll = hw.Earlier(s.nextPoll, n.now.Add(n.config.ticks(s.config.BurstSpacing)))
	}
}

// tell reports a verdict on a source when it changes. A source that comes good again must stay so for a while first: one at the
// edge of the proved interval would fill the log.
func (n *Node) tell(s *source, code reason.Code, distance float64) {
	if code != reason.OK {
		s.badAt = n.now
	} else if s.told == reason.SourceFalseticker && n.raw.Elapsed(s.badAt, n.now) < quietPolls*s.poll {
		return
	}
	if code != s.told {
		s.told = code
		n.report(Report{Topic: "source", Source: s.config.ID, Reason: code, Value: distance})
	}
}

func (n *Node) request(s *source, followUp bool) {
	if n.set {
		s.exchanger.SetPivot(n.clock.Time(n.now).UnixNano())
	}
	// A server remembers only the exchanges of clients that show, in every request, that they use interleaved mode.
	interleaved := followUp || s.config.Interleaved && s.probesLeft > 0
	s.followUp = followUp
	n.ask(&s.link, interleaved, s.config.Timeout)
}

// onPacket takes a datagram from s.
func (n *Node) onPacket(s *source, e *Event) {
	if s.vouched != nil {
		s.vouched.Good = e.Authentic
	}
	samples, code := s.exchanger.Receive(e.Packet, e.Stamp)
	s.waiting = s.outstanding()
	if code == reason.PacketAuthentication && e.Reason != reason.OK {
		code = e.Reason
	}
	if code != reason.OK {
		n.reject(&s.link, code)
		switch code {
		case reason.PacketDuplicate, reason.PacketUnsolicited:
		case reason.PacketLate, reason.SampleStamp:
			s.down = code
			n.tell(s, code, 0)
		default:
			s.heard = code
		}
		n.onKiss(s, code)
		return
	}
	s.received++
	s.reach |= 1
	s.down = reason.OK
	wasFollowUp := s.followUp
	accepted, interleaved := false, false
	answered := n.instant(e.Stamp.At)
	for i := range samples {
		interleaved = interleaved || samples[i].Interleaved
		if n.onSample(s, &samples[i], &answered) {
			accepted = true
		}
	}
	s.answered = answered
	n.afterAnswer(s, wasFollowUp, interleaved)
	if accepted {
		n.update()
		n.adaptPoll(s)
	}
}

// adaptPoll lengthens the poll interval while the error stays good enough even so, and shortens it at once when it does not. An
// interval twice as long costs about a third more error where the oscillator wanders (2^(3/8)).
func (n *Node) adaptPoll(s *source) {
	if n.config.TargetError <= 0 || s.config.MaxPoll <= s.leastPoll || !n.set || s.burstLeft > 0 {
		return
	}
	later := s.filter.Reading(n.now.Add(n.config.ticks(s.poll)))
	width := func(poll float64) float64 { return n.width(n.now.Add(n.config.ticks(poll))) }
	switch {
	case later.OffsetStd > 3*n.config.TargetError: // something has changed
		s.poll, s.calm = s.leastPoll, 0
		s.nextPoll = hw.Earlier(s.nextPoll, n.now.Add(n.config.ticks(s.poll)))
	case later.OffsetStd > n.config.TargetError || width(s.poll) > n.config.MaxBound/2:
		s.poll, s.calm = max(s.poll/2, s.leastPoll), 0
	case later.OffsetStd > n.config.TargetError/longerCost || width(2*s.poll) > n.config.MaxBound/2 || 2*s.poll > s.config.MaxPoll:
		s.calm = 0
	default:
		if s.calm++; s.calm >= calmSamples {
			s.poll, s.calm = 2*s.poll, 0
		}
	}
}

func (s *source) outstanding() bool {
	_, waiting := s.exchanger.Outstanding()
	return waiting
}

// onSample gives one sample to the filter. answered is the clock at the arrival of the packet that brought it.
func (n *Node) onSample(s *source, sample *roundtrip.Sample, answered *instant) (accepted bool) {
	m := n.measure(&s.link, s.filter, &n.raw, sample, answered)
	code, accepted := n.useSample(s, sample)
	n.measured(m, code)
	return accepted
}

// useSample gives one sample to the filter, unless what the server says of itself forbids it.
func (n *Node) useSample(s *source, sample *roundtrip.Sample) (code reason.Code, accepted bool) {
	s.stratum, s.leap, s.referenceID = sample.Stratum, sample.Leap, sample.ReferenceID
	s.rootDelay, s.serverError = sample.RootDelay, sample.ServerError
	s.transmitKind = sample.Depart.Kind
	if !sample.HalfOnly {
		s.receiveKind = sample.Arrive.Kind
	}
	if sample.Stratum > 1 && slices.Contains(n.config.OwnReferenceIDs, sample.ReferenceID) {
		n.rejected(&s.link, reason.ServerLoop)
		s.down = reason.ServerLoop
		n.tell(s, s.down, 0)
		return s.down, false
	}
	if sample.ServerError > s.config.MaxServerError {
		n.rejected(&s.link, reason.ServerRootDistance)
		s.down = reason.ServerRootDistance
		n.tell(s, s.down, sample.ServerError)
		return s.down, false
	}
	// Where a more precise sample of the same exchange is on its way, this one only narrows the interval.
	point := sample.Interleaved || !s.interleaved
	switch code = s.filter.Update(sample, point); code {
	case reason.OK:
		if s.suspectLeft > 0 && !sample.HalfOnly {
			s.suspectLeft--
		}
	case reason.SampleEmptyInterval:
		n.rejected(&s.link, code)
		n.onSelfContradiction(s)
	default:
		n.rejected(&s.link, code)
		return code, false
	}
	if !sample.HalfOnly {
		s.sampled, s.sampledAt = true, hw.Later(s.sampledAt, sample.Arrive.At)
	}
	return code, true
}

// afterAnswer decides whether a follow-up request is worth while.
func (n *Node) afterAnswer(s *source, wasFollowUp, interleaved bool) {
	if !s.config.Interleaved {
		return
	}
	if wasFollowUp {
		switch {
		case interleaved:
			s.interleaved, s.probesLeft = true, interleaveProbes
		case s.probesLeft > 0:
			if s.probesLeft--; s.probesLeft == 0 {
				s.interleaved, s.probeRest = false, interleaveRest
			}
		}
		return
	}
	if s.probesLeft == 0 {
		if s.probeRest--; s.probeRest > 0 {
			return
		}
		s.probesLeft = 1
	}
	s.followUpDue, s.followUpAt = true, n.now.Add(n.config.ticks(followUpDelay))
}

// onKiss obeys a kiss-o'-death.
func (n *Node) onKiss(s *source, code reason.Code) {
	switch code {
	case reason.KissRate:
		s.poll = min(s.poll*rateFactor, max(maxPoll, s.config.Poll))
		s.leastPoll = s.poll
		s.burstLeft, s.probesLeft, s.probeRest = 0, 0, interleaveRest
		s.nextPoll = hw.Later(s.nextPoll, n.now.Add(n.config.ticks(s.poll)))
		n.tell(s, code, 0)
	case reason.KissDeny:
		s.denied, s.burstLeft, s.followUpDue = true, 0, false
		s.down = code
		s.nextPoll = n.now.Add(n.config.ticks(denyRest))
		n.tell(s, code, 0)
	case reason.ServerUnsynchronised, reason.ServerStratum, reason.KissOther:
		s.down = code
		n.tell(s, code, 0)
	}
}

// onSelfContradiction: a sample contradicts what the same source proved before. Either the source or the counter is at fault. Up to
// f sources may be false, so that many explain themselves; all others are asked at once, and if the counter was at fault they
// will contradict themselves too. Then, until enough of them have spoken anew, the clock's bound cannot be vouched for.
func (n *Node) onSelfContradiction(s *source) {
	known := s.suspectLeft > 0
	s.suspectLeft = proofSamples
	s.restarted = n.now
	if known || !n.set || n.disrupted != reason.OK || n.recheck {
		return
	}
	suspects := 0
	for _, o := range n.sources {
		if o.suspectLeft > 0 {
			suspects++
		}
	}
	if suspects > n.config.maxFalse() {
		n.recheck, n.recheckSince = true, n.now
	} else if n.hastened && n.raw.Elapsed(n.hastenedAt, n.now) < hastenRest*s.poll {
		return // a source that jumps about may not make us jump
	}
	n.hastened, n.hastenedAt = true, n.now
	for _, o := range n.sources {
		if o.denied || o.waiting && o != s && !n.recheck {
			continue // it will not be asked, or is being asked
		}
		wait := min(o.config.BurstSpacing, o.poll)
		if n.recheck {
			o.burstLeft = max(o.burstLeft, o.config.Burst, proofSamples+1)
		} else {
			wait = 0
		}
		o.nextPoll = hw.Earlier(o.nextPoll, n.now.Add(n.config.ticks(wait)))
	}
}

// code says why the source takes no part in the fusion, or OK.
func (n *Node) code(s *source, r *roundtrip.Reading) reason.Code {
	switch {
	case r.Samples == 0 && s.down != reason.OK:
		return s.down
	case r.Samples == 0:
		return reason.SourceWaiting
	case s.suspectLeft > 0:
		return reason.SampleEmptyInterval
	case n.recheck && s.sampledAt.Before(n.recheckSince):
		return reason.SourceWaiting
	}
	return reason.OK
}

// ready reports whether the source has said enough for the clock to be set by it.
func (s *source) ready(samples uint64) bool {
	return samples >= readySamples || s.burstLeft == 0 && !s.waiting && samples > 0 && s.config.Burst < readySamples
}
