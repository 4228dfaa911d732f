package daemon

import (
	"errors"
	"net/netip"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

const (
	// packetRoom is the longest datagram that is taken whole; a longer one arrives cut and is refused as too long.
	packetRoom = 1500
	// mailRoom is how many messages may wait for the loop.
	mailRoom = 64
	// fairShare is how many datagrams of one socket are taken before the next socket's turn.
	fairShare = 16
)

// mailKind says what a mail is about.
type mailKind uint8

const (
	mailPacket mailKind = iota + 1
	mailStamp
	mailUnreachable
)

// mail is what the client's goroutine tells the loop. Mails are made once and go round.
type mail struct {
	kind  mailKind
	link  *link
	id    uint32
	stamp hw.Stamp
	why   reason.Code
	err   error
	n     int
	room  [packetRoom]byte
}

// client reads the sources' sockets.
type client struct {
	pump *pump
	out  chan *mail
	free chan *mail
	quit chan struct{}
	mine *mail // taken from free and not used yet
}

func newClient() (*client, error) {
	c := &client{out: make(chan *mail, mailRoom), free: make(chan *mail, mailRoom), quit: make(chan struct{})}
	for range mailRoom {
		c.free <- &mail{}
	}
	var err error
	c.pump, err = newPump(c.ready, nil)
	if err != nil {
		return nil, err
	}
	c.pump.start()
	return c, nil
}

// Dial makes the socket for a source.
func (c *client) Dial(source int, to netip.AddrPort, o hw.StampOptions) (*link, error) {
	conn, err := hw.DialUDP(netip.AddrPort{}, to, o)
	if err != nil {
		return nil, err
	}
	return c.pump.Add(conn, source), nil
}

// Done gives a mail back.
func (c *client) Done(m *mail) {
	m.link, m.err = nil, nil
	c.free <- m
}

// Close ends the goroutine.
func (c *client) Close() {
	close(c.quit)
	c.pump.Close()
}

// blank returns an unused mail, or nil when the client is being closed.
func (c *client) blank() *mail {
	if m := c.mine; m != nil {
		c.mine = nil
		return m
	}
	select {
	case m := <-c.free:
		return m
	case <-c.quit:
		return nil
	}
}

// deliver never blocks: out has room for every mail there is.
func (c *client) deliver(m *mail) { c.out <- m }

// ready empties a socket. The departure stamps that wait in the error queue are delivered before the datagram that was received:
// the request's is there before its answer can arrive.
func (c *client) ready(l *link) {
	for range fairShare {
		m := c.blank()
		if m == nil {
			return
		}
		l.mu.Lock()
		d, err := l.conn.Receive(m.room[:])
		l.mu.Unlock()
		c.stamps(l)
		switch {
		case err == nil:
			m.kind, m.link, m.n, m.stamp, m.err = mailPacket, l, d.N, d.Stamp, nil
			c.deliver(m)
		case errors.Is(err, hw.ErrWouldBlock):
			c.mine = m
			return
		default:
			m.kind, m.link = mailUnreachable, l
			m.complain(err)
			c.deliver(m)
			if m.why == reason.SourceSend {
				return
			}
		}
	}
}

// fromRouter reports whether an error is an ICMP message, after which there may be more to read.
func fromRouter(err error) bool {
	if errors.Is(err, hw.ErrWouldBlock) {
		return false // by far the most frequent, and errors.As allocates
	}
	var network *hw.NetworkError
	return errors.As(err, &network) && network.Operation == "icmp"
}

// complain fills in an error of the network.
func (m *mail) complain(err error) {
	m.err, m.why = err, reason.SourceSend
	var network *hw.NetworkError
	if errors.As(err, &network) {
		m.why = network.Reason()
	}
}

// stamps delivers what is in the error queue: departure stamps, and what routers say.
func (c *client) stamps(l *link) {
	for {
		l.mu.Lock()
		id, s, err := l.conn.TransmitStamp()
		l.mu.Unlock()
		if err != nil && !fromRouter(err) {
			return
		}
		m := c.blank()
		if m == nil {
			return
		}
		m.link = l
		if err != nil {
			m.kind = mailUnreachable
			m.complain(err)
		} else {
			m.kind, m.id, m.stamp = mailStamp, id, s
		}
		c.deliver(m)
	}
}
