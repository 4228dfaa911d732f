package roundtrip

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// roundingError, in seconds, is more than the float64 arithmetic of the bound can lose.
	roundingError = 1e-12
	// kissOneIn is how many requests over the rate limit get one kiss-o'-death, the rest no answer.
	kissOneIn = 8
	// defaultMaxClients bounds the memory of rate limit and interleaved mode to about 1 MB.
	defaultMaxClients = 8192
	largestMaxClients = 1 << 24
)

// ResponderConfig is all that a Responder is told.
type ResponderConfig struct {
	// Allow and Deny say which clients are answered: the longest prefix that contains the client's address decides, and Deny
	// where both have it. An address that no prefix contains is answered only if Allow is empty. IPv4-mapped IPv6 addresses
	// count as IPv4.
	Allow, Deny []netip.Prefix
	// RatePerSecond is how many requests per second a client may make on average, Burst how many at once (at least 1). A
	// client is an IPv4 address or an IPv6 /64. A rate of 0 means no limit.
	RatePerSecond float64
	Burst         int
	// MaxClients bounds how many clients are remembered for the rate limit, and how many answers for interleaved mode; the
	// stalest are forgotten first. 0 means 8192.
	MaxClients int
	// Interleaved: answer in interleaved mode (RFC 9769) those who ask for it.
	Interleaved bool
	// Hertz is the nominal frequency of the counter that reads now and the stamps.
	Hertz float64
	// Precision is the claimed precision as log2 seconds, at most −1. 0 means: what the counter's frequency gives, but not
	// below 2⁻²⁹ s.
	Precision int8
	// Keys are the keys of the clients that authenticate their requests: such a request is answered under the same key, and
	// refused if none of Keys made its MAC. nil: there is none.
	Keys ntp.Keyring
	// NTS is what answers requests under NTS (RFC 8915); nil: their NTS fields are read over.
	NTS ntp.NTS
	// Require are the prefixes of the clients that must authenticate their requests.
	Require []netip.Prefix
	// Extend writes the extension fields of an answer; nil: answers have none. It is called for requests with a good MAC and
	// extension fields, after the clock was read, so it must be quick. key is the one of Keys; request are the request's fields,
	// which may be those of an old one that somebody sends again: only the answer is bound to the request's number. answer is
	// to be filled with whole fields (ntp.AppendExtension, with a MAC to come): it is as long as request, since equal lengths
	// travel equally long, and zero. false: the answer has no fields. Neither slice may be kept.
	Extend func(key ntp.Authenticator, request, answer []byte) bool
	// Seed makes the hash tables' order and the choice of the requests that get a kiss; it must be secret where packets meet
	// a real network.
	Seed [32]byte
}

// ResponderStats counts answers by kind.
type ResponderStats struct {
	// Answered counts all answers that carry a time, Interleaved those of them in interleaved mode, Unsynchronised the
	// answers that say that there is no time to give, Kisses the kiss-o'-death packets.
	Answered, Interleaved, Unsynchronised, Kisses uint64
	// Authenticated counts the answers of any kind that carry a MAC, NTS those with an NTS authenticator, NTSRefused those that say
	// that a request's cookie could not be opened.
	Authenticated, NTS, NTSRefused uint64
}

// Responder answers NTP requests from the virtual clock. Its memory is fixed when it is made. It is not safe for concurrent
// use.
type Responder struct {
	access     access
	limit      *buckets
	pairs      *pairs
	issued     issued
	rng        *rand.ChaCha8
	precision  int8
	kissPoll   int8
	stats      ResponderStats
	epoch      virtualclock.Epoch
	epochStart hw.Ticks
	epochKnown bool
	request    ntp.Packet
	answer     ntp.Packet
	guard      guard
}

// NewResponder checks the configuration and returns a responder that has seen no client.
func NewResponder(c ResponderConfig) (*Responder, error) {
	if !(c.Hertz >= 1) || math.IsInf(c.Hertz, 0) {
		return nil, fmt.Errorf("roundtrip: a counter of %g Hz cannot time answers", c.Hertz)
	}
	if !(c.RatePerSecond >= 0) || math.IsInf(c.RatePerSecond, 0) {
		return nil, fmt.Errorf("roundtrip: a rate limit of %g requests per second makes no sense; 0 means none", c.RatePerSecond)
	}
	if c.RatePerSecond > 0 && c.Burst < 1 {
		return nil, errors.New("roundtrip: with a rate limit the burst must be at least 1, or nobody is ever answered")
	}
	if c.MaxClients < 0 || c.MaxClients > largestMaxClients {
		return nil, fmt.Errorf("roundtrip: %d clients cannot be remembered: 0 to %d can", c.MaxClients, largestMaxClients)
	}
	if c.Precision > 0 {
		return nil, fmt.Errorf("roundtrip: a precision of 2^%d s is worse than a second; give a negative exponent", c.Precision)
	}
	allowed, err := newAccess(c.Allow, c.Deny)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(&c)
	if err != nil {
		return nil, err
	}
	if c.MaxClients == 0 {
		c.MaxClients = defaultMaxClients
	}
	r := &Responder{access: allowed, guard: guard, rng: rand.NewChaCha8(c.Seed), precision: c.Precision}
	if r.precision == 0 {
		r.precision = int8(max(-29, min(-1, math.Ceil(math.Log2(1/c.Hertz)))))
	}
	if c.RatePerSecond > 0 {
		r.limit = newBuckets(c, r.rng)
		r.kissPoll = int8(max(0, min(17, math.Ceil(math.Log2(1/c.RatePerSecond)))))
	}
	if c.Interleaved {
		r.pairs = newPairs(c.MaxClients, r.rng)
	}
	return r, nil
}

// Stats returns what was answered so far.
func (r *Responder) Stats() ResponderStats { return r.stats }

// Respond answers one request from a client, or says why not.
//
// arrival is the request's arrival stamp, now a counter reading taken after it and just before the answer is sent; k is the
// virtual clock at that time and s what may be said of it (nil: not synchronised). The answer is written to answer[:0], which
// should have room for as much as the request has, and must not be its memory; it is never longer than the request.
//
// The receive timestamp is not before the arrival, the transmit timestamp not after now, both as the virtual clock reads them,
// and root delay/2 + root dispersion is at least the largest difference between the virtual clock and true time at either.
// While the clock's interval is not sound, or wider than 16 s, the answer says unsynchronised and carries no time.
//
// token is not 0 if the departure of this answer should be told to Sent. reply is nil for every code but OK, RequestNTSCookie and,
// sometimes, RequestRate: then it is a kiss-o'-death that should be sent.
func (r *Responder) Respond(request []byte, from netip.AddrPort, arrival hw.Stamp, now hw.Ticks, k *virtualclock.Coefficients, s *ServerState, answer []byte) (reply []byte, token uint64, code reason.Code) {
	client := from.Addr().Unmap().WithZone("")
	if !r.access.allows(client) {
		return nil, 0, reason.RequestDenied
	}
	refused := reason.OK
	if code := r.read(request, client); code == reason.RequestNTSCookie {
		refused = code
	} else if code != reason.OK {
		return nil, 0, code
	}
	if r.limit != nil && !r.limit.take(client, r.guard.authenticated(), now) {
		if refused != reason.OK || r.rng.Uint64()%kissOneIn != 0 {
			return nil, 0, reason.RequestRate
		}
		return r.seal(r.kiss(), answer[:0]), 0, reason.RequestRate
	}
	if refused != reason.OK {
		return r.refuse(answer[:0]), 0, refused
	}
	if !servable(s) || k == nil || !k.Interval(now).Status.Sound() {
		return r.write(r.unsynchronised(k), answer[:0]), 0, reason.OK
	}
	r.enter(k, now)
	arrived := r.arrived(arrival, now)
	bound := max(clockBound(k, arrived), clockBound(k, now))
	if !(bound < ntp.MaxDispersion) {
		return r.write(r.unsynchronised(k), answer[:0]), 0, reason.OK
	}
	a := r.prepare()
	a.Leap, a.Stratum, a.ReferenceID = s.Leap, s.Stratum, s.ReferenceID
	a.Reference = ntp.TimestampFloor(s.ReferenceTime.UnixNano(), s.ReferenceTime.Fraction())
	bound += r.timestamps(a, k, arrived, now)
	if r.pairs != nil {
		bound, token = r.interleave(a, client, bound, now, k.Epoch)
	}
	if a.Transmit.Sub(a.Reference) < 0 {
		a.Reference = a.Transmit // clients distrust a server that was set after it answered
	}
	setRoot(a, s.RootDelay, bound)
	r.stats.Answered++
	return r.write(a, answer[:0]), token, reason.OK
}

// servable reports whether there is a clock to serve from.
func servable(s *ServerState) bool {
	return s != nil && s.Leap < ntp.LeapUnsynchronised && s.Stratum > 0 && s.Stratum <= ntp.MaxStratum
}

// setRoot writes the error bound: as much of it as is known to come from the path into the root delay, the rest into the root
// dispersion, rounded so that root delay/2 + root dispersion is not below the bound.
func setRoot(a *ntp.Packet, rootDelay, bound float64) {
	bound += roundingError
	a.RootDelay = min(ntp.ShortFloor(rootDelay), ntp.ShortFloor(2*bound))
	a.RootDispersion = ntp.ShortCeil(bound - a.RootDelay.Seconds()/2)
}

// read decodes a request, authenticates it and names what is wrong with it.
func (r *Responder) read(request []byte, client netip.Addr) reason.Code {
	p := &r.request
	switch p.Decode(request) {
	case reason.OK:
	case reason.PacketTooShort:
		return reason.RequestShort
	case reason.PacketTooLong:
		return reason.RequestLong
	default:
		return reason.RequestMalformed
	}
	if !r.guard.authentic(request, p) {
		return reason.RequestAuthentication
	}
	if p.Mode != ntp.ModeClient {
		return reason.RequestMode
	}
	if p.Version != 3 && p.Version != 4 {
		return reason.RequestVersion
	}
	if code := r.guard.open(request, p); code != reason.OK {
		return code
	}
	if r.guard.lacks(client) {
		return reason.RequestUnauthenticated
	}
	return reason.OK
}

// prepare returns an empty answer to the request.
func (r *Responder) prepare() *ntp.Packet {
	r.answer = ntp.Packet{
		Version: r.request.Version, Mode: ntp.ModeServer,
		Poll: r.request.Poll, Precision: r.precision, Origin: r.request.Transmit,
	}
	return &r.answer
}

// kiss returns a kiss-o'-death that asks for fewer requests. Its times are the client's own, so that one who does not know the
// kiss computes no correction from it.
func (r *Responder) kiss() *ntp.Packet {
	a := r.prepare()
	a.Leap, a.ReferenceID = ntp.LeapUnsynchronised, ntp.KissRATE
	a.Poll = max(a.Poll, r.kissPoll)
	a.Receive, a.Transmit = r.request.Transmit, r.request.Transmit
	r.stats.Kisses++
	return a
}

// unsynchronised returns an answer that says that there is no time to give: leap 3, stratum 0 (16), root dispersion 16 s, and
// timestamps of 0, which mean unknown.
func (r *Responder) unsynchronised(k *virtualclock.Coefficients) *ntp.Packet {
	a := r.prepare()
	a.Leap, a.ReferenceID = ntp.LeapUnsynchronised, ntp.KissINIT
	if k != nil && k.Status == virtualclock.Disrupted {
		a.ReferenceID = ntp.KissSTEP
	}
	a.RootDispersion = ntp.ShortCeil(ntp.MaxDispersion)
	r.stats.Unsynchronised++
	return a
}

// enter notices that the clock was stepped: from then on what it read before does not count.
func (r *Responder) enter(k *virtualclock.Coefficients, now hw.Ticks) {
	if r.epochKnown && r.epoch == k.Epoch {
		return
	}
	r.epoch, r.epochKnown, r.epochStart = k.Epoch, true, k.At
	if now.Before(r.epochStart) {
		r.epochStart = now
	}
	r.issued = issued{}
}

// timestamps fills in the receive and the transmit timestamp and returns by how many seconds the latter had to be moved past
// the reading at now, to be after the former: they are rounded towards each other.
func (r *Responder) timestamps(a *ntp.Packet, k *virtualclock.Coefficients, arrived, now hw.Ticks) (excess float64) {
	a.Receive = r.issued.unique(receiveTimestamp(k.Time(arrived), k.Epoch))
	a.Transmit = transmitTimestamp(k.Time(now))
	if a.Transmit.Sub(a.Receive) > 0 {
		return 0
	}
	read := a.Transmit
	if a.Transmit = a.Receive + 1; a.Transmit == 0 {
		a.Transmit = 2
	}
	return math.Ldexp(float64(a.Transmit.Sub(read)), -32)
}

// interleave saves the answer's timestamps if the client seems to want the interleaved mode, and makes the answer an
// interleaved one if it asks for a departure that is known (RFC 9769 section 2). It returns the bound of the answer's transmit
// timestamp and the token of what was saved.
//
// Our receive timestamps are odd and our transmit timestamps even, so the origin of a request tells whether the client repeats
// the former, as only the interleaved mode does: nobody else takes up memory.
func (r *Responder) interleave(a *ntp.Packet, client netip.Addr, bound float64, now hw.Ticks, epoch virtualclock.Epoch) (float64, uint64) {
	q := &r.request
	if q.Receive == q.Transmit || q.Origin&1 == 0 {
		return bound, 0
	}
	saved, found := r.pairs.take(client, q.Origin, epoch)
	token := r.pairs.save(client, a.Receive, a.Transmit, bound, now, epoch)
	if found {
		a.Origin, a.Transmit = q.Receive, saved.transmit
		bound = max(bound, saved.bound)
		r.stats.Interleaved++
	}
	return bound, token
}

// arrived returns the reading that stands for the request's arrival: one that is not before it. The arrival was certainly before
// now; and what arrived before the clock's last step is said to have arrived after it, as the clock has no reading for it.
func (r *Responder) arrived(arrival hw.Stamp, now hw.Ticks) hw.Ticks {
	at := now
	if arrival.Kind != hw.StampNone && arrival.NotAfter().Before(now) {
		at = arrival.NotAfter()
	}
	if at.Before(r.epochStart) {
		return r.epochStart
	}
	return at
}

// clockBound returns the largest possible distance between the virtual clock and true time at reading c, in seconds; +Inf if
// the interval is not sound.
func clockBound(k *virtualclock.Coefficients, c hw.Ticks) float64 {
	return k.Interval(c).Bound(k.Time(c))
}

// receiveTimestamp rounds up to a timestamp that ends in the epoch's last two bits and a one: it is never 0, never equal to a
// transmit timestamp, and never equal to one of the epoch before.
func receiveTimestamp(t virtualclock.Time, epoch virtualclock.Epoch) ntp.Timestamp {
	v := ntp.TimestampCeil(t.UnixNano(), t.Fraction())
	return v + (ntp.Timestamp(epoch&3<<1|1)-v)&(receiveStep-1)
}

// transmitTimestamp rounds down to an even timestamp that is not 0, which would mean unknown.
func transmitTimestamp(t virtualclock.Time) ntp.Timestamp {
	if v := ntp.TimestampFloor(t.UnixNano(), t.Fraction()) &^ 1; v != 0 {
		return v
	}
	return ^ntp.Timestamp(1)
}

// Sent tells when the answer with that token left, so that the next answer to the same client can say so (interleaved mode).
// k is the virtual clock at that time. It may be told several times, as better stamps come: the latest time that one of them
// proves counts. A token that has been forgotten is ignored.
func (r *Responder) Sent(token uint64, departure hw.Stamp, k *virtualclock.Coefficients) {
	if r.pairs == nil || k == nil || departure.Kind == hw.StampNone {
		return
	}
	p := r.pairs.byToken(token)
	if p == nil {
		return
	}
	left := departure.NotBefore()
	bound := clockBound(k, left)
	if k.Epoch != p.epoch || !(bound < ntp.MaxDispersion) {
		p.state = pairFree
		return
	}
	// What was said in the answer is itself not after the departure.
	if t := transmitTimestamp(k.Time(left)); t.Sub(p.transmit) > 0 {
		p.transmit = t
	}
	p.bound = max(p.bound, bound)
	p.state = pairComplete
}
