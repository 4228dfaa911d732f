package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/clockd/clockd/reason"
)

// inbound is a session that this member hears.
type inbound struct {
	disk, incarnation, session uint64

	conn net.Conn // without TLS, which would say goodbye first
	once sync.Once
	over chan struct{} // closed when its last frame was handled
}

func (in *inbound) close() { in.once.Do(func() { _ = in.conn.Close() }) }

// accept takes connections until the listener is closed.
func (t *Transport) accept() {
	for {
		c, err := t.config.Listener.Accept()
		if errors.Is(err, net.ErrClosed) || t.ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if err != nil { // such as too many open files: others may close some
			t.config.Log.Warn("no connection can be taken", "err", err)
			select {
			case <-t.ctx.Done():
			case <-time.After(t.config.MinBackoff):
			}
			continue
		}
		select {
		case t.unknown <- struct{}{}:
			t.running.Go(func() { t.serve(c) })
		default:
			t.counters.refuse(reason.LinkBusy)
			_ = c.Close()
		}
	}
}

// serve takes one connection from its first byte to its end.
func (t *Transport) serve(raw net.Conn) {
	stop := context.AfterFunc(t.ctx, func() { _ = raw.Close() })
	defer stop()
	defer raw.Close()
	tune(raw, t.config.Unacknowledged)
	c, h, err := t.meet(raw)
	var in *inbound
	if err == nil {
		in, err = t.admit(c, h)
	}
	<-t.unknown
	if err != nil {
		if t.ctx.Err() == nil {
			code := classify(err)
			t.counters.refuse(code)
			t.config.Log.Warn("connection refused", "address", raw.RemoteAddr().String(), "reason", code.String(), "err", err)
		}
		return
	}
	if h.kind == stream {
		t.take(c, h.from)
		return
	}
	defer close(in.over)
	err = t.hear(c, h.from, in)
	in.close()
	if t.ctx.Err() == nil {
		t.config.Log.Info("peer's session ended", "peer", h.from, "incarnation", h.incarnation, "err", err)
	}
}

// meet greets and returns who it is.
func (t *Transport) meet(raw net.Conn) (net.Conn, hello, error) {
	if err := raw.SetDeadline(time.Now().Add(t.config.HandshakeTimeout)); err != nil {
		return nil, hello{}, err
	}
	c, certified, err := t.introduced(t.ctx, raw, false)
	if err != nil {
		return nil, hello{}, err
	}
	nonce, err := newNonce()
	if err != nil {
		return nil, hello{}, err
	}
	g := greeting{group: t.config.Group, member: t.config.ID, incarnation: t.config.Incarnation, nonce: nonce}
	if _, err := c.Write(g.encode()); err != nil {
		return nil, hello{}, err
	}
	h, err := readHello(c)
	switch {
	case err != nil:
	case h.group != g.group:
		err = fmt.Errorf("transport: a member of the group %x, not %x: %w", h.group, g.group, reason.LinkGroup)
	case h.from == g.member || h.from == 0 || h.to != g.member || (t.tls != nil && h.from != certified):
		err = fmt.Errorf("transport: who has the certificate of %d says that it is %d and wants %d: %w", certified, h.from, h.to, reason.LinkMember)
	case h.nonce != g.nonce || h.toIncarnation != g.incarnation:
		err = fmt.Errorf("transport: the hello answers another greeting: %w", reason.LinkSession)
	case h.kind != frames && h.kind != stream:
		err = fmt.Errorf("transport: a connection of kind %d: %w", h.kind, reason.LinkVersion)
	}
	return c, h, t.tell(c, err)
}

// tell sends the verdict that an error amounts to, if it is one, and returns the error.
func (t *Transport) tell(c net.Conn, err error) error {
	var code reason.Code
	if errors.As(err, &code) && code != reason.LinkForeign {
		_, _ = c.Write(encodeVerdict(code)) // whether it hears that is its own business
	}
	return err
}

// admit makes a connection the one of its peer, or its stream, and says so.
func (t *Transport) admit(c net.Conn, h hello) (*inbound, error) {
	in, old, err := t.register(c, h)
	if err != nil {
		return nil, t.tell(c, err)
	}
	if old != nil {
		old.close()
		<-old.over // its last frame before this one's first
	}
	if _, err := c.Write(encodeVerdict(reason.OK)); err != nil {
		return in, t.dismiss(in, h, err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return in, t.dismiss(in, h, err)
	}
	if h.kind == frames {
		t.counters.sessionsIn.Add(1)
		t.mu.Lock()
		p := t.peers[h.from]
		t.mu.Unlock()
		if p != nil {
			poke(p.kick) // it is there: no reason to wait before dialling it
		}
		t.config.Log.Info("peer's session", "peer", h.from, "incarnation", h.incarnation)
	}
	return in, nil
}

// dismiss takes back what admit has done for a connection that broke meanwhile.
func (t *Transport) dismiss(in *inbound, h hello, err error) error {
	if h.kind == stream {
		t.mu.Lock()
		delete(t.streams, h.from)
		t.mu.Unlock()
		return err
	}
	close(in.over)
	return err
}

// register notes a session as the one of its peer, and returns the one before.
func (t *Transport) register(c net.Conn, h hello) (in, old *inbound, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old = t.heard[h.from]
	switch {
	case t.closed:
		return nil, nil, net.ErrClosed
	case t.peers[h.from] == nil:
		return nil, nil, fmt.Errorf("transport: %d is not a member: %w", h.from, reason.LinkMember)
	case old != nil && h.disk != old.disk:
		return nil, nil, fmt.Errorf("transport: member %d has another disk than before: %w", h.from, reason.LinkDisk)
	case old != nil && (h.incarnation < old.incarnation || (h.incarnation == old.incarnation && h.session <= old.session)):
		return nil, nil, fmt.Errorf("transport: session %d of incarnation %d of member %d, after session %d of incarnation %d: %w",
			h.session, h.incarnation, h.from, old.session, old.incarnation, reason.LinkSession)
	case h.kind == stream && t.streams[h.from]:
		return nil, nil, fmt.Errorf("transport: member %d has a stream open already: %w", h.from, reason.LinkBusy)
	case h.kind == stream:
		t.streams[h.from] = true
		return nil, nil, nil
	}
	in = &inbound{disk: h.disk, incarnation: h.incarnation, session: h.session, conn: bare(c), over: make(chan struct{})}
	t.heard[h.from] = in
	return in, old, nil
}

// hear hands a session's frames on until it ends.
func (t *Transport) hear(c net.Conn, from uint64, in *inbound) error {
	r := bufio.NewReaderSize(c, t.config.Batch)
	for {
		if r.Buffered() == 0 {
			if err := c.SetReadDeadline(time.Now().Add(t.config.SilenceTimeout)); err != nil {
				return err
			}
		}
		frame, err := readFrame(r, t.config.MaxFrame)
		if err != nil {
			t.ended(in, err)
			return err
		}
		t.counters.framesIn.Add(1)
		t.counters.bytesIn.Add(uint64(len(frame) + frameHead))
		if !t.current(from, in) {
			t.counters.refuse(reason.LinkSession)
			return fmt.Errorf("transport: a frame of a session that another has replaced: %w", reason.LinkSession)
		}
		t.config.Handler.Frame(from, frame)
	}
}

// ended counts why a session ended, if somebody is to blame.
func (t *Transport) ended(in *inbound, err error) {
	var code reason.Code
	var network net.Error
	switch {
	case t.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
	case errors.As(err, &code):
		t.counters.refuse(code)
		t.config.Log.Warn("session ended", "incarnation", in.incarnation, "reason", code.String(), "err", err)
	case errors.As(err, &network) && network.Timeout():
		t.counters.refuse(reason.LinkSilent)
	}
}

func (t *Transport) current(from uint64, in *inbound) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heard[from] == in && t.peers[from] != nil
}

// take hands a stream on.
func (t *Transport) take(c net.Conn, from uint64) {
	defer func() {
		t.mu.Lock()
		delete(t.streams, from)
		t.mu.Unlock()
	}()
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	err := t.config.Handler.Stream(ctx, from, &chunkReader{r: bufio.NewReaderSize(patient{c, t.config.SilenceTimeout}, t.config.Batch)})
	if err != nil {
		t.config.Log.Warn("stream not taken", "peer", from, "err", err)
		return
	}
	t.counters.streamsIn.Add(1)
	_, _ = c.Write(encodeVerdict(reason.OK))
}

// patient reads within a limit of time each.
type patient struct {
	c     net.Conn
	limit time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.c.SetReadDeadline(time.Now().Add(p.limit)); err != nil {
		return 0, err
	}
	return p.c.Read(b)
}
