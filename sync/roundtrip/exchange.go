package roundtrip

import (
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// requestVersion is the NTP version of our requests.
	requestVersion = 4
	// earliestAnswerNS is 2026-01-01, before which no answer was sent to this program: without a pivot, the era is chosen so
	// that the server's times are in the 136 years after it.
	earliestAnswerNS = 1_767_225_600_000_000_000
	// interleavedTries is how many requests in a row may ask for the same earlier answer: after that many losses its stamps
	// are too old to be of use (RFC 9769 section 2).
	interleavedTries = 4
	// basicRun is how many basic answers in a row to interleaved requests show that the server no longer interleaves.
	basicRun = 4
	// remembered is how many past requests are known again, so that the rejection of a late answer says what it is.
	remembered = 8
)

// Exchanger is one source's side of the NTP on-wire protocol: it makes requests and turns answers into samples. The zero value
// is ready. It is not safe for concurrent use.
//
// A request is bound to its answer by a random 64-bit number, new in each request; an interleaved one carries a second, so that
// the answer tells which mode it is in. Datagrams that do not repeat such a number change nothing here. At most one answer to
// each request is used. With SetAuthenticator, datagrams without the server's MAC change nothing either.
type Exchanger struct {
	sequence uint32
	pivot    int64
	hasPivot bool

	current request
	waiting bool
	last    answered
	// tries counts the requests since last was set.
	tries       int
	interleaved bool
	basics      int

	past     [remembered]past
	pastNext int

	authenticator ntp.Authenticator
	// extensions go into each request, received came with the last answer.
	extensions, received []byte

	packet  ntp.Packet
	samples [2]Sample
}

// request is one that was made, until it is answered or given up.
type request struct {
	sequence uint32
	// transmit is the number that a basic answer repeats, receive the one that an interleaved answer does; 0: no such answer
	// was asked for.
	transmit, receive ntp.Timestamp
	depart            hw.Stamp
}

// past is what is remembered of a request that no longer waits.
type past struct {
	transmit, receive ntp.Timestamp
	answered          bool
}

// answered is the newest exchange with a usable answer: what an interleaved answer completes.
type answered struct {
	valid          bool
	sequence       uint32
	depart, arrive hw.Stamp
	// receive is T2 as on the wire: the number by which the server finds the exchange again.
	receive     ntp.Timestamp
	serverError float64
}

// SetPivot tells the time, in nanoseconds since 1970, from which the server's times cannot be 68 years away: NTP's timestamps
// repeat every 136 years (the next time in 2036). Without it they are taken to be between 2026 and 2162.
func (x *Exchanger) SetPivot(unixNS int64) { x.pivot, x.hasPivot = unixNS, true }

// Request appends the next request to buf[:0] and returns it with its sequence number. now is a counter reading taken before
// the request is sent: its departure stamp until Sent brings a better one. A request that still waited for its answer is given
// up as by Expire.
//
// followUp asks for an interleaved answer that tells when the answer to the previous request really left. It is ignored where
// there is no such answer, or where it has been asked for too often.
func (x *Exchanger) Request(rng *rand.ChaCha8, now hw.Ticks, followUp bool, buf []byte) (packet []byte, sequence uint32) {
	x.Expire()
	x.sequence++
	x.current = request{
		sequence: x.sequence,
		transmit: nonce(rng, 0),
		depart:   hw.Stamp{At: now, Kind: hw.StampUser},
	}
	// All other fields are zero: the server needs none of them, and they would tell others about this host.
	p := &x.packet
	*p = ntp.Packet{Version: requestVersion, Mode: ntp.ModeClient, Transmit: x.current.transmit}
	if followUp && x.last.valid && x.tries < interleavedTries {
		x.current.receive = nonce(rng, x.current.transmit)
		p.Origin, p.Receive = x.last.receive, x.current.receive
	}
	x.tries++
	x.waiting = true
	return x.seal(p, buf[:0]), x.sequence
}

// nonce returns a random number that is neither 0, which means none, nor taken.
func nonce(rng *rand.ChaCha8, taken ntp.Timestamp) ntp.Timestamp {
	for {
		if v := ntp.Timestamp(rng.Uint64()); v != 0 && v != taken {
			return v
		}
	}
}

// Sent records the departure of request sequence; a stamp of a better kind replaces an earlier one, and what the earlier one
// proved still holds. It may come after the answer: the interleaved answer to the next request then uses it.
func (x *Exchanger) Sent(sequence uint32, s hw.Stamp) {
	switch {
	case x.waiting && sequence == x.current.sequence:
		refine(&x.current.depart, s)
	case x.last.valid && sequence == x.last.sequence:
		depart := x.last.depart
		refine(&depart, s)
		if !x.last.arrive.NotAfter().Before(depart.NotBefore()) {
			x.last.depart = depart
		}
	}
}

// refine replaces a departure stamp by one that is at least as good. Both are valid, so the departure is not before either of
// their lower ends.
func refine(old *hw.Stamp, s hw.Stamp) {
	if s.Kind == hw.StampNone || s.Kind < old.Kind {
		return
	}
	least := s.NotBefore()
	if least.Before(old.NotBefore()) {
		least = old.NotBefore()
	}
	if s.At.Before(least) {
		s.At = least
	}
	s.Error = s.At - least
	*old = s
}

// Receive takes a datagram that arrived with stamp s. It returns up to two samples: of the exchange that it completes and, in
// interleaved mode, half of the one that it belongs to; or the reason why it was rejected. The samples are valid until the next
// call, and may be older than ones returned before.
//
// Only a datagram that repeats the outstanding request's number, has two timestamps and is well-formed ends the wait for the
// answer; whatever else comes leaves everything as it was.
func (x *Exchanger) Receive(packet []byte, s hw.Stamp) (samples []Sample, code reason.Code) {
	p := &x.packet
	x.received = nil
	if code := p.Decode(packet); code != reason.OK {
		return nil, code
	}
	if !x.authentic(packet) {
		return nil, reason.PacketAuthentication
	}
	if p.Mode != ntp.ModeServer {
		return nil, reason.PacketMode
	}
	if p.Version != requestVersion && p.Version != requestVersion-1 {
		return nil, reason.PacketVersion
	}
	interleaved, code := x.match(p.Origin)
	if code != reason.OK {
		return nil, code
	}
	x.extended()
	if code := judge(p); code != reason.OK {
		x.finish(true)
		return nil, code
	}
	if p.Receive.IsZero() || p.Transmit.IsZero() {
		return nil, reason.PacketZeroTimestamp
	}
	x.finish(true)
	if code := x.order(p, interleaved); code != reason.OK {
		return nil, code
	}
	if s.Kind == hw.StampNone || s.NotAfter().Before(x.current.depart.NotBefore()) {
		return nil, reason.SampleStamp
	}
	return x.accept(p, s, interleaved), reason.OK
}

// match finds the request that a packet with that origin answers. OK means the outstanding one.
func (x *Exchanger) match(origin ntp.Timestamp) (interleaved bool, code reason.Code) {
	if origin.IsZero() {
		return false, x.unknown()
	}
	if x.waiting && origin == x.current.transmit {
		return false, reason.OK
	}
	if x.waiting && origin == x.current.receive {
		return true, reason.OK
	}
	for i := range x.past {
		h := &x.past[(x.pastNext+remembered-1-i)%remembered]
		if origin != h.transmit && origin != h.receive {
			continue
		}
		switch {
		case !h.answered:
			return false, reason.PacketLate
		case i == 0 && !x.waiting:
			return false, reason.PacketDuplicate
		}
		return false, reason.PacketOrigin
	}
	return false, x.unknown()
}

// unknown names a packet that answers no request of ours.
func (x *Exchanger) unknown() reason.Code {
	if x.waiting {
		return reason.PacketOrigin
	}
	return reason.PacketUnsolicited
}

// judge says whether the server offers its time at all.
func judge(p *ntp.Packet) reason.Code {
	switch {
	case p.Stratum == 0:
		return kiss(p.ReferenceID)
	case p.Leap == ntp.LeapUnsynchronised || p.Stratum == ntp.StratumUnsynchronised:
		return reason.ServerUnsynchronised
	case p.Stratum > ntp.MaxStratum:
		return reason.ServerStratum
	}
	return reason.OK
}

// kiss names the code of a packet with stratum 0. INIT and STEP say no more than that the server is not synchronised.
func kiss(id uint32) reason.Code {
	switch {
	case id == ntp.KissRATE:
		return reason.KissRate
	case id == ntp.KissDENY || id == ntp.KissRSTR:
		return reason.KissDeny
	case id == ntp.KissINIT || id == ntp.KissSTEP || !ntp.Printable(id):
		return reason.ServerUnsynchronised
	}
	return reason.KissOther
}

// order checks that the server's times are in the order in which things happened: it received, then sent; in interleaved mode it
// sent the previous answer before it received this request. Servers blur their times below their precision, so as much is
// allowed for each of the two.
func (x *Exchanger) order(p *ntp.Packet, interleaved bool) reason.Code {
	slack := -2 * precisionUnits(p.Precision)
	if !interleaved {
		if p.Transmit.Sub(p.Receive) < slack {
			return reason.ServerOrder
		}
		return reason.OK
	}
	if p.Transmit.Sub(x.last.receive) < slack || p.Receive.Sub(p.Transmit) < slack {
		return reason.ServerOrder
	}
	return reason.OK
}

// precisionUnits returns 2^precision s in units of 2⁻³² s, rounded up, at most 2³² (1 s).
func precisionUnits(precision int8) int64 {
	return 1 << max(0, min(32, int(precision)+32))
}

// accept turns a good answer into samples and keeps what the next interleaved answer will complete.
func (x *Exchanger) accept(p *ntp.Packet, s hw.Stamp, interleaved bool) []Sample {
	own := Sample{
		Depart: x.current.depart, Arrive: s,
		Receive:        x.time(p.Receive),
		ServerError:    serverError(p),
		RootDelay:      p.RootDelay.Seconds(),
		RootDispersion: p.RootDispersion.Seconds(),
		Stratum:        p.Stratum, Leap: p.Leap, ReferenceID: p.ReferenceID,
	}
	n := 1
	if interleaved {
		// The previous exchange, with the departure of its answer. Its server error is the larger of what was said then, of
		// T2, and what is said now, of T3.
		done := own
		done.Depart, done.Arrive = x.last.depart, x.last.arrive
		done.Receive, done.Transmit = x.time(x.last.receive), x.time(p.Transmit)
		done.ServerError = math.Max(own.ServerError, x.last.serverError)
		done.Interleaved = true
		own.HalfOnly = true
		x.samples[0], x.samples[1] = done, own
		n = 2
	} else {
		own.Transmit = x.time(p.Transmit)
		x.samples[0] = own
	}
	x.modeSeen(interleaved)
	x.last = answered{
		valid: true, sequence: x.current.sequence,
		depart: x.current.depart, arrive: s,
		receive: p.Receive, serverError: own.ServerError,
	}
	x.tries = 0
	return x.samples[:n]
}

// modeSeen keeps what Interleaved reports.
func (x *Exchanger) modeSeen(interleaved bool) {
	switch {
	case interleaved:
		x.interleaved, x.basics = true, 0
	case !x.current.receive.IsZero():
		if x.basics++; x.basics >= basicRun {
			x.interleaved = false
		}
	}
}

// time converts a server's timestamp.
func (x *Exchanger) time(t ntp.Timestamp) virtualclock.Time {
	pivot := ntp.NotBefore(earliestAnswerNS)
	if x.hasPivot {
		pivot = x.pivot
	}
	return virtualclock.Unix(t.Unix(pivot))
}

// serverError returns the half-width of what the server says its time may be wrong by, rounded up: root delay/2 + root
// dispersion (RFC 5905, root synchronisation distance) + 2^precision, below which servers blur their times.
func serverError(p *ntp.Packet) float64 {
	e := p.RootDelay.Seconds()/2 + p.RootDispersion.Seconds() + math.Ldexp(1, int(p.Precision))
	return math.Nextafter(e, math.Inf(1))
}

// finish ends the wait for an answer.
func (x *Exchanger) finish(answered bool) {
	x.waiting = false
	x.past[x.pastNext] = past{x.current.transmit, x.current.receive, answered}
	x.pastNext = (x.pastNext + 1) % remembered
}

// Outstanding reports whether a request waits for its answer, and its sequence number.
func (x *Exchanger) Outstanding() (sequence uint32, waiting bool) {
	if !x.waiting {
		return 0, false
	}
	return x.current.sequence, true
}

// Expire gives up the outstanding request: an answer that comes later is rejected as PacketLate.
func (x *Exchanger) Expire() {
	if x.waiting {
		x.finish(false)
	}
}

// Reset forgets everything, as after a disruption of the counter or a change of the address; the numbering goes on, and the
// pivot, the authenticator and the extension fields stay.
func (x *Exchanger) Reset() {
	*x = Exchanger{
		sequence: x.sequence, pivot: x.pivot, hasPivot: x.hasPivot, authenticator: x.authenticator, extensions: x.extensions,
	}
}

// Interleaved reports whether the server has been seen to answer in interleaved mode, and has not gone back to basic mode since.
func (x *Exchanger) Interleaved() bool { return x.interleaved }
