package query

import (
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

const (
	originOffset   = 24
	transmitOffset = 40
	pollOffset     = 2
)

// instant is a reading of the machine's two clocks.
type instant struct {
	// wall is CLOCK_REALTIME, which may be stepped.
	wall time.Time
	// monotonic is the time since some instant before the first request.
	monotonic time.Duration
	// bracket holds the wall clock between two readings of a hardware counter. Only a Prober has one.
	bracket hw.Bracket
}

// guard is the connection that beevik/ntp is given for one exchange. It passes the request on and returns from Read only with
// the answer to it, 48 bytes of header that are harmless, or with the reason why there is none.
type guard struct {
	net.Conn
	// receive reads one datagram; stamp is when the kernel got it, the zero Time if it does not say.
	receive func(b []byte) (n int, stamp time.Time, err error)
	clock   func() instant
	// ended reports whether the caller has given up.
	ended func() bool
	stray *reason.Counts

	nonce     [8]byte
	departed  instant   // before the request left
	arrived   time.Time // when the answer came, at the latest
	read      instant   // after it was read
	kernel    bool      // arrived is the kernel's stamp
	stamp     time.Time // the kernel's stamp of the answer as it is, zero if there is none
	header    ntp.Packet
	answered  bool        // header is that of the answer
	lastStray reason.Code // why the last datagram was ignored
	buffer    [ntp.MaxLength + 1]byte
}

// now is the clock that beevik/ntp sees: first the present time (T1), and, after the answer, when that arrived (T4).
func (g *guard) now() time.Time {
	if g.answered {
		return g.arrived
	}
	g.departed = g.clock()
	return g.departed.wall
}

// SetDeadline is called by beevik/ntp before it asks; it must not undo that the caller has given up.
func (g *guard) SetDeadline(t time.Time) error {
	if err := g.Conn.SetDeadline(t); err != nil {
		return err
	}
	if g.ended() {
		return g.Conn.SetDeadline(past())
	}
	return nil
}

// past is the deadline that makes a waiting Read return at once.
func past() time.Time { return time.Unix(1, 0) }

// Write sends the request and remembers its nonce.
func (g *guard) Write(b []byte) (int, error) {
	if len(b) < ntp.HeaderLength {
		return 0, errShortRequest
	}
	copy(g.nonce[:], b[transmitOffset:])
	return g.Conn.Write(b)
}

var errShortRequest = errors.New("query: beevik/ntp made a request without a header")

// Read waits for the answer to the request until the deadline and copies its header to b. Everything else that comes meanwhile
// is counted and ignored: anybody can send a datagram.
func (g *guard) Read(b []byte) (int, error) {
	for {
		n, stamp, err := g.receive(g.buffer[:])
		if err != nil {
			return 0, err
		}
		g.read = g.clock()
		packet := g.buffer[:n]
		if code := g.match(packet); code != reason.OK {
			g.stray.Add(code)
			g.lastStray = code
			continue
		}
		g.answered, g.stamp = true, stamp
		g.arrived, g.kernel = g.read.wall, false
		// A kernel stamp outside the exchange would falsify the measurement; the user-space one only widens it.
		if !stamp.IsZero() && !stamp.Before(g.departed.wall) && !stamp.After(g.read.wall) {
			g.arrived, g.kernel = stamp, true
		}
		if code := judge(&g.header); code != reason.OK {
			return 0, code
		}
		// beevik/ntp shifts by poll and precision without looking at them. Both are taken from header instead.
		packet[pollOffset], packet[pollOffset+1] = 0, 0
		return copy(b, packet[:ntp.HeaderLength]), nil
	}
}

// disturbance is how much the wall clock was moved during the exchange, against the monotonic one.
func (g *guard) disturbance() time.Duration {
	return (g.read.wall.Sub(g.departed.wall) - (g.read.monotonic - g.departed.monotonic)).Abs()
}

// match reports whether a datagram is the answer to the request; then header is that of the answer.
func (g *guard) match(packet []byte) reason.Code {
	var p ntp.Packet
	if code := p.Decode(packet); code != reason.OK {
		return code
	}
	switch {
	case p.Mode != ntp.ModeServer:
		return reason.PacketMode
	case p.Version < 3 || p.Version > 4:
		return reason.PacketVersion
	case binary.BigEndian.Uint64(packet[originOffset:]) != binary.BigEndian.Uint64(g.nonce[:]):
		return reason.PacketOrigin
	}
	p.Extensions = nil // a view of the buffer
	g.header = p
	return reason.OK
}

// judge says whether the server claims to know the time.
func judge(p *ntp.Packet) reason.Code {
	if p.Stratum == 0 {
		return kiss(p)
	}
	switch {
	case p.Leap == ntp.LeapUnsynchronised || p.Stratum == ntp.StratumUnsynchronised:
		return reason.ServerUnsynchronised
	case p.Stratum > ntp.MaxStratum:
		return reason.ServerStratum
	case p.Receive.IsZero() || p.Transmit.IsZero():
		return reason.PacketZeroTimestamp
	// beevik/ntp compares the two without regard to their eras, so they are refused also in the instant of an era's end.
	case p.Transmit < p.Receive:
		return reason.ServerOrder
	case p.Precision > 4, rootDistance(p)+precision(p) > ntp.MaxDispersion:
		return reason.ServerRootDistance
	}
	return reason.OK
}

// kiss reads the reference identifier of an answer with stratum 0 (RFC 5905 section 7.4).
func kiss(p *ntp.Packet) reason.Code {
	switch p.ReferenceID {
	case ntp.KissRATE:
		return reason.KissRate
	case ntp.KissDENY, ntp.KissRSTR:
		return reason.KissDeny
	case ntp.KissINIT, ntp.KissSTEP:
		return reason.ServerUnsynchronised
	}
	if ntp.Printable(p.ReferenceID) {
		return reason.KissOther
	}
	return reason.ServerUnsynchronised
}

// refuses reports whether an answer forbids to go on asking.
func refuses(code reason.Code) bool {
	return code == reason.KissRate || code == reason.KissDeny || code == reason.KissOther
}
