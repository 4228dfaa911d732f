package testkit

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy is a UDP forwarder before a real NTP server. It turns the server into one whose clock is off by a constant: it shifts
// the reference, receive and transmit timestamps of the answers, and shifts the origin timestamp of the requests back, so that
// interleaved mode works through it. It can also be made deaf.
type Proxy struct {
	t        testing.TB
	upstream netip.AddrPort
	front    *net.UDPConn
	shift    atomic.Int64 // nanoseconds
	cut      atomic.Bool
	requests atomic.Uint64
	answers  atomic.Uint64

	mu      sync.Mutex
	clients map[netip.AddrPort]*net.UDPConn
	closed  bool
	running sync.WaitGroup
}

const (
	ntpHeader       = 48
	referenceOffset = 16
	originOffset    = 24
	receiveOffset   = 32
	transmitOffset  = 40

	// maxProxyClients bounds the sockets of a proxy: each client address has one.
	maxProxyClients = 256
)

// ShiftProxy starts a forwarder on a free port of 127.0.0.1 to upstream ("127.0.0.1:12345"), whose clock it makes appear ahead
// by shift. It ends with the test.
func ShiftProxy(t testing.TB, upstream string, shift time.Duration) *Proxy {
	t.Helper()
	return ShiftProxyOn(t, netip.AddrFrom4([4]byte{127, 0, 0, 1}), upstream, shift)
}

// ShiftProxyOn is ShiftProxy on another loopback address: chronyd takes servers with one address for one server, whatever
// their ports.
func ShiftProxyOn(t testing.TB, on netip.Addr, upstream string, shift time.Duration) *Proxy {
	t.Helper()
	to, err := netip.ParseAddrPort(upstream)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &Proxy{t: t, upstream: to, clients: map[netip.AddrPort]*net.UDPConn{}}
	p.SetShift(shift)
	p.front, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(on, uint16(FreeUDPPort(t)))))
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p.running.Add(1)
	go p.forward()
	t.Cleanup(p.close)
	return p
}

// Address returns where the proxy takes requests.
func (p *Proxy) Address() string { return p.front.LocalAddr().String() }

// SetShift changes by how much the server's clock appears ahead.
func (p *Proxy) SetShift(shift time.Duration) { p.shift.Store(int64(shift)) }

// Cut makes the proxy swallow everything (true) or forward again (false): a server that died.
func (p *Proxy) Cut(cut bool) { p.cut.Store(cut) }

// Requests counts the requests that were forwarded.
func (p *Proxy) Requests() uint64 { return p.requests.Load() }

// Answers counts the answers that were forwarded.
func (p *Proxy) Answers() uint64 { return p.answers.Load() }

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	_ = p.front.Close()
	for _, c := range p.clients {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// forward takes requests until the proxy is closed.
func (p *Proxy) forward() {
	defer p.running.Done()
	buf := make([]byte, 2048)
	for {
		n, client, err := p.front.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || p.cut.Load() {
			continue // an ICMP error of an earlier answer: the client is gone
		}
		back, err := p.connection(client)
		if err != nil {
			continue
		}
		p.move(buf[:n], -time.Duration(p.shift.Load()), originOffset)
		p.requests.Add(1)
		_, _ = back.Write(buf[:n])
	}
}

// connection returns the socket to the server that stands for this client.
func (p *Proxy) connection(client netip.AddrPort) (*net.UDPConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients[client]; ok {
		return c, nil
	}
	if p.closed || len(p.clients) >= maxProxyClients {
		return nil, net.ErrClosed
	}
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(p.upstream))
	if err != nil {
		return nil, err
	}
	p.clients[client] = c
	p.running.Add(1)
	go p.backward(client, c)
	return c, nil
}

// backward takes answers to one client until the proxy is closed.
func (p *Proxy) backward(client netip.AddrPort, c *net.UDPConn) {
	defer p.running.Done()
	buf := make([]byte, 2048)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || p.cut.Load() {
			continue // the server is down: refused, and asked again later
		}
		p.move(buf[:n], time.Duration(p.shift.Load()), referenceOffset, receiveOffset, transmitOffset)
		p.answers.Add(1)
		_, _ = p.front.WriteToUDPAddrPort(buf[:n], client)
	}
}

// move adds shift to the timestamps at those places, unless they are zero, which means "none".
func (p *Proxy) move(packet []byte, shift time.Duration, places ...int) {
	if len(packet) < ntpHeader {
		return
	}
	for _, at := range places {
		if stamp := binary.BigEndian.Uint64(packet[at:]); stamp != 0 {
			binary.BigEndian.PutUint64(packet[at:], stamp+ntpDuration(shift))
		}
	}
}

// ntpDuration converts to the 32.32 fixed point of NTP timestamps, modulo 2⁶⁴, and odd under negation, so that what was shifted
// can be shifted back exactly.
func ntpDuration(d time.Duration) uint64 {
	if d < 0 {
		return -ntpDuration(-d)
	}
	whole, rest := uint64(d/time.Second), uint64(d%time.Second)
	return whole<<32 + rest<<32/uint64(time.Second)
}
