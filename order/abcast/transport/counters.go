package transport

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/clockd/clockd/reason"
)

type counters struct {
	framesOut, bytesOut, writes, framesIn, bytesIn, sessionsOut, sessionsIn, streamsOut, streamsIn atomic.Uint64
	refused                                                                                        [reason.Count]atomic.Uint64
}

func (c *counters) refuse(code reason.Code) {
	if code < reason.Count {
		c.refused[code].Add(1)
	}
}

// Counters count since the transport began.
type Counters struct {
	FramesSent, BytesSent, Writes uint64
	FramesReceived, BytesReceived uint64
	SessionsOut, SessionsIn       uint64
	StreamsSent, StreamsReceived  uint64
	Refused                       reason.Counts // connections and frames, by reason
	Unknown                       int           // connections whose other side is not known yet
	Peers                         []PeerStatus
}

// PeerStatus is the session to a peer.
type PeerStatus struct {
	ID      uint64
	Address string
	// Connected: frames for it are taken. Incarnation is that of the peer in this session.
	Connected   bool
	Incarnation uint64
	// Queued is how many bytes wait for it.
	Queued int
	// Err is why the last attempt to connect failed, or the last session ended.
	Err error
}

// Counters returns the counters and the state of the sessions.
func (t *Transport) Counters() *Counters {
	n := &t.counters
	c := &Counters{
		FramesSent: n.framesOut.Load(), BytesSent: n.bytesOut.Load(), Writes: n.writes.Load(),
		FramesReceived: n.framesIn.Load(), BytesReceived: n.bytesIn.Load(),
		SessionsOut: n.sessionsOut.Load(), SessionsIn: n.sessionsIn.Load(),
		StreamsSent: n.streamsOut.Load(), StreamsReceived: n.streamsIn.Load(),
		Unknown: len(t.unknown),
	}
	for i := range n.refused {
		c.Refused[i] = n.refused[i].Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		c.Peers = append(c.Peers, p.status())
	}
	slices.SortFunc(c.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.ID, b.ID) })
	return c
}
