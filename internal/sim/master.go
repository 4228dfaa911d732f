package sim

import (
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/virtualclock"
)

// Master is a server whose clock is true time plus what the scenario says. Its answers are NTP packets as they are on the wire.
// The exported fields may be changed while the simulation runs.
type Master struct {
	// Offset is its clock − true time in seconds; Drift is added to it for each second since DriftSince.
	Offset     float64
	Drift      float64
	DriftSince Instant
	// Noise is drawn for each answer and subtracted from both timestamps with the probability ½, else added: a server that
	// wanders. Its claims must cover it.
	Noise Delay

	// RootDelay, RootDispersion (in seconds), Stratum, Leap, Precision and ReferenceID are what it claims.
	RootDelay      float64
	RootDispersion float64
	Stratum        uint8
	Leap           uint8
	Precision      int8
	ReferenceID    uint32

	// Turnaround is the time from a request's arrival to its answer's departure.
	Turnaround Delay
	// Receive is how late it stamps arrivals, Transmit how early departures.
	Receive, Transmit Delay
	// Interleaved: it offers interleaved mode (RFC 9769), in which its departure stamps are perfect.
	Interleaved bool

	// Dead: it does not answer. Kiss, four letters, is a kiss-o'-death code that it answers with instead.
	Dead bool
	Kiss string
	// Forge damages its answers.
	Forge Forgery
	// OffsetTo, if set, is added to Offset for each client: a two-faced clock.
	OffsetTo func(client *Host, t Instant) float64

	// Requests counts what reached it.
	Requests uint64

	rng    *rand.Rand
	saved  map[int32]savedAnswer
	packet ntp.Packet
}

// Forgery is a way to damage answers.
type Forgery string

// The forgeries.
const (
	ForgeNothing Forgery = ""
	ForgeOrigin  Forgery = "origin"  // another origin timestamp: as if by somebody who has not seen the request
	ForgeZero    Forgery = "zero"    // a receive timestamp of zero
	ForgeShort   Forgery = "short"   // cut off
	ForgeMode    Forgery = "mode"    // not a server's answer
	ForgeVersion Forgery = "version" // NTP version 2
	ForgeOrder   Forgery = "order"   // sent before it was received
	ForgeReplay  Forgery = "replay"  // the answer before instead of this one
)

// Forgeries lists all forgeries.
func Forgeries() []Forgery {
	return []Forgery{ForgeOrigin, ForgeZero, ForgeShort, ForgeMode, ForgeVersion, ForgeOrder, ForgeReplay}
}

// savedAnswer is what interleaved mode needs of the last answer to a client.
type savedAnswer struct{ receive, transmit ntp.Timestamp }

const defaultPrecision = -30

func (m *Master) init(rng *rand.Rand) {
	m.rng = rng
	m.saved = map[int32]savedAnswer{}
	if m.Stratum == 0 {
		m.Stratum = 1
	}
	if m.Precision == 0 {
		m.Precision = defaultPrecision
	}
	if m.ReferenceID == 0 {
		m.ReferenceID = 'G'<<24 | 'P'<<16 | 'S'<<8
	}
}

// Error returns the master's clock − true time at instant t as client sees it, in seconds, without noise.
func (m *Master) Error(client *Host, t Instant) float64 {
	e := m.Offset
	if m.Drift != 0 {
		e += m.Drift * (t - m.DriftSince).Seconds()
	}
	if m.OffsetTo != nil {
		e += m.OffsetTo(client, t)
	}
	return e
}

// SetDrift makes the clock drift from now on, and go on from where it is.
func (m *Master) SetDrift(now Instant, drift float64) {
	m.Offset += m.Drift * (now - m.DriftSince).Seconds()
	m.Drift, m.DriftSince = drift, now
}

// serve answers the request in a slot, which it takes over, as it arrives.
func (m *Master) serve(h *Host, slot int32) {
	w := h.world
	q := &w.messages[slot]
	m.Requests++
	if m.Dead || q.data == nil || m.packet.Decode(q.data) != 0 || m.packet.Mode != ntp.ModeClient {
		w.release(slot)
		return
	}
	l := w.links[q.link]
	arrived := w.now + m.Receive.DrawInstant(m.rng)
	leaves := max(w.now+m.Turnaround.DrawInstant(m.rng), arrived)
	stamped := max(leaves-m.Transmit.DrawInstant(m.rng), arrived)
	noise := 0.0
	if !m.Noise.IsZero() {
		noise = m.Noise.Draw(m.rng) * float64(1-2*m.rng.IntN(2))
	}
	receive := m.time(w, l.Client, arrived, noise)
	transmit := m.time(w, l.Client, stamped, noise)
	m.fill(l, m.unique(l, ntp.TimestampCeil(receive.UnixNano(), receive.Fraction())), ntp.TimestampFloor(transmit.UnixNano(), transmit.Fraction()))
	if m.Interleaved {
		left := m.time(w, l.Client, leaves, noise)
		m.saved[l.index] = savedAnswer{m.packet.Receive, ntp.TimestampFloor(left.UnixNano(), left.Fraction())}
	}
	q.data = m.packet.Append(q.data[:0])
	q.answer = true
	m.damage(l, q)
	w.dispatch(slot, l.From, l.Client, leaves)
}

// unique makes two requests of a client that arrive at the same instant differ, by 0.2 ns: in interleaved mode the receive
// timestamp is the name by which an answer is asked for again (RFC 9769 section 2).
func (m *Master) unique(l *Link, receive ntp.Timestamp) ntp.Timestamp {
	if s, ok := m.saved[l.index]; ok && s.receive == receive {
		return receive + 1
	}
	return receive
}

// time is the master's clock at instant t.
func (m *Master) time(w *World, client *Host, t Instant, noise float64) virtualclock.Time {
	e := m.Error(client, t) + noise
	if e == 0 {
		return w.Truth(t)
	}
	return w.Truth(t).AddSeconds(e)
}

// fill turns the request in m.packet into its answer.
func (m *Master) fill(l *Link, receive, transmit ntp.Timestamp) {
	request := m.packet
	p := &m.packet
	*p = ntp.Packet{
		Leap: m.Leap, Version: request.Version, Mode: ntp.ModeServer, Stratum: m.Stratum, Poll: request.Poll, Precision: m.Precision,
		RootDelay: ntp.ShortCeil(m.RootDelay), RootDispersion: ntp.ShortCeil(m.RootDispersion), ReferenceID: m.ReferenceID,
		Reference: transmit &^ math.MaxUint32, Origin: request.Transmit, Receive: receive, Transmit: transmit,
	}
	if s, ok := m.saved[l.index]; ok && m.Interleaved && request.Origin == s.receive && request.Receive != request.Transmit {
		p.Origin, p.Transmit = request.Receive, s.transmit
	}
	if m.Kiss != "" {
		p.Stratum, p.Leap, p.ReferenceID = 0, ntp.LeapUnsynchronised, 0
		for i := range 4 {
			p.ReferenceID <<= 8
			if i < len(m.Kiss) {
				p.ReferenceID |= uint32(m.Kiss[i])
			}
		}
	}
}

// damage forges the answer in q.
func (m *Master) damage(l *Link, q *message) {
	if m.Forge == ForgeNothing {
		l.replay = append(l.replay[:0], q.data...)
		return
	}
	q.genuine = false
	switch m.Forge {
	case ForgeOrigin:
		q.data[31] ^= 1
	case ForgeZero:
		clear(q.data[32:40])
	case ForgeShort:
		q.data = q.data[:ntp.HeaderLength-1]
	case ForgeMode:
		q.data[0] = q.data[0]&^7 | byte(ntp.ModeBroadcast)
	case ForgeVersion:
		q.data[0] = q.data[0]&^0x38 | 2<<3
	case ForgeOrder:
		copy(q.data[40:44], []byte{q.data[32], q.data[33], q.data[34], q.data[35] - 1})
	case ForgeReplay:
		if len(l.replay) > 0 {
			q.data = append(q.data[:0], l.replay...)
		}
	}
}
