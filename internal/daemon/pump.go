package daemon

import (
	"fmt"
	"sync"
	"time"

	"github.com/clockd/clockd/hw"
)

// link is one UDP socket. A PacketConn is used by one goroutine at a time: mu is held around each call.
type link struct {
	mu   sync.Mutex
	conn *hw.PacketConn
	key  uint64
	// source is the ID of the source that the link belongs to, 0 for a server's.
	source int
	// sent maps the socket's numbers of departures to what the sender calls them.
	sent [64]departure
}

// departure is one datagram that was sent and may get a better stamp.
type departure struct {
	id    uint32
	used  bool
	token uint64
}

// remember and recall keep the sender's name of a departure.
func (l *link) remember(id uint32, token uint64) {
	l.sent[id%uint32(len(l.sent))] = departure{id, true, token}
}

func (l *link) recall(id uint32) (token uint64, ok bool) {
	d := &l.sent[id%uint32(len(l.sent))]
	return d.token, d.used && d.id == id
}

func (l *link) send(f func(c *hw.PacketConn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.conn)
}

// pump is a goroutine that waits for sockets and hands those that are ready to a function.
type pump struct {
	poller *hw.Poller
	ready  func(*link)
	// tick is called about once a second; nil: nothing is to be done then, and nobody is woken for it.
	tick func(links map[uint64]*link)
	done chan struct{}

	mu      sync.Mutex
	added   []*link
	removed []*link
	nextKey uint64
	closing bool

	// links belongs to the goroutine.
	links map[uint64]*link
	keys  []uint64
}

func newPump(ready func(*link), tick func(map[uint64]*link)) (*pump, error) {
	p, err := hw.NewPoller()
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	u := &pump{poller: p, ready: ready, tick: tick, done: make(chan struct{}), links: map[uint64]*link{}, keys: make([]uint64, 64)}
	return u, nil
}

// start begins to wait.
func (p *pump) start() { go p.run() }

// Add hands a socket to the pump, which closes it in the end.
func (p *pump) Add(c *hw.PacketConn, source int) *link {
	p.mu.Lock()
	p.nextKey++
	l := &link{conn: c, key: p.nextKey, source: source}
	p.added = append(p.added, l)
	p.mu.Unlock()
	p.wake()
	return l
}

// Remove closes a socket; what is on its way from it may still be handed over.
func (p *pump) Remove(l *link) {
	p.mu.Lock()
	p.removed = append(p.removed, l)
	p.mu.Unlock()
	p.wake()
}

func (p *pump) wake() { p.poller.Wake() }

// Close closes every socket and waits for the goroutine.
func (p *pump) Close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.wake()
	<-p.done
	_ = p.poller.Close()
}

// change carries out what was asked for; true means that the pump is closing.
func (p *pump) change() bool {
	p.mu.Lock()
	added, removed, closing := p.added, p.removed, p.closing
	p.added, p.removed = nil, nil
	p.mu.Unlock()
	for _, l := range added {
		p.links[l.key] = l
		if err := p.poller.Add(l.conn, l.key); err != nil {
			removed = append(removed, l)
		}
	}
	for _, l := range removed {
		p.close(l)
	}
	if closing {
		for _, l := range p.links {
			p.close(l)
		}
	}
	return closing
}

func (p *pump) close(l *link) {
	if p.links[l.key] != l {
		return
	}
	delete(p.links, l.key)
	l.send(func(c *hw.PacketConn) {
		_ = p.poller.Remove(c)
		_ = c.Close()
	})
}

func (p *pump) run() {
	defer close(p.done)
	patience := time.Second
	if p.tick == nil {
		patience = time.Hour
	}
	for last := time.Now(); ; {
		if p.change() {
			return
		}
		n, _, err := p.poller.Wait(patience, p.keys)
		if err != nil {
			n = 0
			time.Sleep(10 * time.Millisecond)
		}
		for _, key := range p.keys[:n] {
			if l := p.links[key]; l != nil {
				p.ready(l)
			}
		}
		if now := time.Now(); p.tick != nil && now.Sub(last) >= time.Second {
			last = now
			p.tick(p.links)
		}
	}
}
