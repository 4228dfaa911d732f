package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/clockd/clockd/reason"
)

// peer is what this member sends to another one.
type peer struct {
	t    *Transport
	id   uint64
	stop context.CancelFunc
	wake chan struct{} // frames wait
	full chan struct{} // a batch of them
	kick chan struct{} // the peer is there: connect now

	mu          sync.Mutex
	address     string
	connected   bool
	incarnation uint64
	queue       [][]byte
	bytes       int
	err         error
}

func (t *Transport) newPeer(id uint64, address string) *peer {
	ctx, cancel := context.WithCancel(t.ctx)
	p := &peer{t: t, id: id, address: address, stop: cancel, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	t.running.Go(func() { p.run(ctx) })
	return p
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *peer) status() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PeerStatus{ID: p.id, Address: p.address, Connected: p.connected, Incarnation: p.incarnation, Queued: p.bytes, Err: p.err}
}

// move gives the peer another address, for the next session.
func (p *peer) move(address string) {
	p.mu.Lock()
	changed := p.address != address
	p.address = address
	p.mu.Unlock()
	if changed {
		poke(p.kick)
	}
}

func (p *peer) send(frame []byte) bool {
	if len(frame) == 0 || len(frame) > p.t.config.MaxFrame {
		p.t.counters.refuse(reason.LinkFrameLong)
		return false
	}
	p.mu.Lock()
	if !p.connected {
		p.mu.Unlock()
		p.t.counters.refuse(reason.LinkDown)
		return false
	}
	if p.bytes+len(frame) > p.t.config.Queue {
		p.mu.Unlock()
		p.t.counters.refuse(reason.LinkQueueFull)
		return false
	}
	p.queue = append(p.queue, frame)
	p.bytes += len(frame)
	batch := p.bytes >= p.t.config.Batch
	p.mu.Unlock()
	poke(p.wake)
	if batch && p.t.config.Linger > 0 {
		poke(p.full)
	}
	return true
}

// take empties the queue into batch.
func (p *peer) take(batch [][]byte) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch, p.queue = p.queue, batch[:0]
	return batch
}

// run keeps a session with the peer until ctx ends.
func (p *peer) run(ctx context.Context) {
	backoff := p.t.config.MinBackoff
	for ctx.Err() == nil {
		begun := time.Now()
		err := p.attempt(ctx)
		p.down(err)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > p.t.config.MaxBackoff {
			backoff = p.t.config.MinBackoff // it was a session, or a timeout that was wait enough
		}
		if !p.pause(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, p.t.config.MaxBackoff)
	}
}

// pause waits before the next attempt; a peer that connects ends it.
func (p *peer) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + jitter(d/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-p.kick:
	case <-timer.C:
	}
	return true
}

// jitter is a duration between 0 and d that is another one at each member.
func jitter(d time.Duration) time.Duration {
	n, err := newNonce()
	if err != nil || d <= 0 {
		return 0
	}
	return time.Duration(binary.LittleEndian.Uint64(n[:]) % uint64(d))
}

func (p *peer) down(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.incarnation, p.queue, p.bytes, p.err = false, 0, nil, 0, err
}

// attempt connects, sends what is queued until the session ends, and returns why it did.
func (p *peer) attempt(ctx context.Context) error {
	c, g, err := p.connect(ctx, frames)
	if err != nil {
		p.t.config.Log.Debug("no session", "peer", p.id, "err", err)
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = bare(c).Close() })
	defer stop()
	p.mu.Lock()
	p.connected, p.incarnation, p.err = true, g.incarnation, nil
	p.mu.Unlock()
	p.t.counters.sessionsOut.Add(1)
	p.t.config.Log.Info("session", "peer", p.id, "incarnation", g.incarnation, "address", c.RemoteAddr().String())
	p.t.config.Handler.Connected(p.id)

	ended := make(chan error, 1)
	p.t.running.Go(func() { ended <- silent(c) })
	err = p.write(ctx, c, ended)
	_ = bare(c).Close()
	if ctx.Err() == nil {
		p.t.config.Log.Info("session ended", "peer", p.id, "err", err)
	}
	return err
}

// silent waits for the end of a connection on which the other side has nothing to say.
func silent(c net.Conn) error {
	var b [1]byte
	n, err := c.Read(b[:])
	if n > 0 {
		return fmt.Errorf("transport: the listener spoke: %w", reason.LinkFrameMalformed)
	}
	return err
}

// write writes frames until the session ends.
func (p *peer) write(ctx context.Context, c net.Conn, ended <-chan error) error {
	w := bufio.NewWriterSize(deadlined{c, p.t.config.SilenceTimeout, &p.t.counters}, p.t.config.Batch)
	var batch [][]byte
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return errors.Join(errors.New("transport: the peer ended the session"), err)
		case <-p.wake:
		}
		p.linger(ctx)
		batch = p.take(batch)
		done := 0
		for i, frame := range batch {
			var head [frameHead]byte
			binary.LittleEndian.PutUint32(head[:], uint32(len(frame)))
			_, err := w.Write(head[:])
			if err == nil {
				_, err = w.Write(frame)
			}
			if err != nil {
				return err
			}
			done += len(frame)
			batch[i] = nil
		}
		if err := w.Flush(); err != nil {
			return err
		}
		p.t.counters.framesOut.Add(uint64(len(batch)))
		p.mu.Lock()
		p.bytes -= done
		p.mu.Unlock()
	}
}

// linger waits for a batch, if that is wanted.
func (p *peer) linger(ctx context.Context) {
	if p.t.config.Linger <= 0 {
		return
	}
	p.mu.Lock()
	enough := p.bytes >= p.t.config.Batch
	p.mu.Unlock()
	if enough {
		return
	}
	timer := time.NewTimer(p.t.config.Linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.full:
	case <-ctx.Done():
	}
}

// deadlined writes within a limit of time each.
type deadlined struct {
	c        net.Conn
	limit    time.Duration
	counters *counters
}

func (d deadlined) Write(b []byte) (int, error) {
	if err := d.c.SetWriteDeadline(time.Now().Add(d.limit)); err != nil {
		return 0, err
	}
	n, err := d.c.Write(b)
	d.counters.bytesOut.Add(uint64(n))
	d.counters.writes.Add(1)
	return n, err
}

// connect dials the peer and introduces this member.
func (p *peer) connect(ctx context.Context, what kind) (_ net.Conn, g greeting, err error) {
	p.mu.Lock()
	address := p.address
	p.mu.Unlock()
	if address == "" {
		return nil, g, errors.New("transport: the peer's address is not known")
	}
	dialling, cancel := context.WithTimeout(ctx, p.t.config.HandshakeTimeout)
	defer cancel()
	raw, err := p.t.config.Dial(dialling, address)
	if err != nil {
		return nil, g, err
	}
	tune(raw, p.t.config.Unacknowledged)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, g, err := p.introduce(ctx, raw, what)
	if err != nil {
		stop()
		return nil, g, p.refused(ctx, errors.Join(err, ignoreClosed(raw.Close())))
	}
	// From here on the one who has the connection closes it.
	if !stop() {
		return nil, g, errors.Join(ctx.Err(), ignoreClosed(raw.Close()))
	}
	return c, g, nil
}

// bare is a connection without TLS: to close that never waits.
func bare(c net.Conn) net.Conn {
	if s, ok := c.(*tls.Conn); ok {
		return s.NetConn()
	}
	return c
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// refused counts why an introduction failed, unless the other side just went away.
func (p *peer) refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if code := classify(err); code != reason.LinkForeign || errors.Is(err, reason.LinkForeign) {
		p.t.counters.refuse(code)
		p.t.config.Log.Warn("session refused", "peer", p.id, "reason", code.String(), "err", err)
	}
	return err
}

func (p *peer) introduce(ctx context.Context, raw net.Conn, what kind) (net.Conn, greeting, error) {
	config := &p.t.config
	if err := raw.SetDeadline(time.Now().Add(config.HandshakeTimeout)); err != nil {
		return nil, greeting{}, err
	}
	c, certified, err := p.t.introduced(ctx, raw, true)
	if err != nil {
		return nil, greeting{}, err
	}
	g, err := readGreeting(c)
	if err != nil {
		return nil, g, err
	}
	switch {
	case g.group != config.Group:
		return nil, g, fmt.Errorf("transport: %v is of the group %x, not %x: %w", raw.RemoteAddr(), g.group, config.Group, reason.LinkGroup)
	case g.member != p.id, p.t.tls != nil && certified != p.id:
		return nil, g, fmt.Errorf("transport: %v is member %d, not %d: %w", raw.RemoteAddr(), g.member, p.id, reason.LinkMember)
	}
	h := hello{group: config.Group, from: config.ID, disk: config.Disk, incarnation: config.Incarnation, to: p.id, toIncarnation: g.incarnation,
		session: p.t.session.Add(1), kind: what, nonce: g.nonce}
	if _, err := c.Write(h.encode()); err != nil {
		return nil, g, err
	}
	if err := readVerdict(c); err != nil {
		return nil, g, err
	}
	return c, g, raw.SetDeadline(time.Time{})
}

// stream is Transport.Stream.
func (p *peer) stream(ctx context.Context, write func(io.Writer) error) error {
	c, _, err := p.connect(ctx, stream)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = bare(c).Close() })
	defer stop()
	defer bare(c).Close()
	w := chunkWriter{bufio.NewWriterSize(deadlined{c, p.t.config.SilenceTimeout, &p.t.counters}, p.t.config.Batch)}
	if err := write(w); err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	p.t.counters.streamsOut.Add(1)
	// The peer may take a while to store it; it tells when.
	return readVerdict(c)
}
