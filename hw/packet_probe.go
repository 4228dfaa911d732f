//go:build linux

package hw

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/clockd/clockd/reason"
)

// Limits of ProbeStamps.
const (
	probePackets = 8
	probeTimeout = 200 * time.Millisecond
)

// StampProbe is what ProbeStamps saw.
type StampProbe struct {
	Capabilities Capabilities `json:"capabilities"`
	// Sent counts the datagrams sent; Received and Transmitted those with a kernel stamp of their arrival and departure.
	Sent        int `json:"sent"`
	Received    int `json:"received"`
	Transmitted int `json:"transmitted"`
	// These are the widest Stamp.Error seen.
	ReceiveErrorNanoseconds  float64 `json:"receive_error_ns"`
	TransmitErrorNanoseconds float64 `json:"transmit_error_ns"`
}

// ProbeStamps sends a few datagrams from a socket to itself on loopback and reports which stamps really come: what a program
// may rely on here, for `clockd doctor`. The Receive and Transmit of the result's Capabilities are what was seen, not promised;
// Reason is StampMissing if the kernel agreed and then gave none. It takes some milliseconds, 0.2 s at worst.
func ProbeStamps(opts StampOptions) (StampProbe, error) {
	c, err := ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), opts)
	if err != nil {
		return StampProbe{}, err
	}
	defer c.Close()
	poller, err := NewPoller()
	if err != nil {
		return StampProbe{}, err
	}
	defer poller.Close()
	if err := poller.Add(c, 0); err != nil {
		return StampProbe{}, err
	}
	p := StampProbe{Capabilities: c.Capabilities()}
	nanoseconds := 1e9 / opts.Counter.Frequency().Hertz
	for range probePackets {
		if _, _, err := c.Send([]byte("clockd"), c.LocalAddr(), netip.Addr{}); err != nil {
			return p, fmt.Errorf("hw: probe of the packet stamps on loopback: %w", err)
		}
		p.Sent++
		if err := p.collect(c, poller, nanoseconds); err != nil {
			return p, err
		}
	}
	p.conclude()
	return p, nil
}

// collect waits for the datagram just sent, and its transmit stamp if there is to be one.
func (p *StampProbe) collect(c *PacketConn, poller *Poller, nanoseconds float64) error {
	var buf [16]byte
	var keys [1]uint64
	arrived, departed := false, p.Capabilities.Transmit < StampKernel
	for !arrived || !departed {
		n, _, err := poller.Wait(probeTimeout/probePackets, keys[:])
		if err != nil {
			return err
		}
		if n == 0 {
			return nil // lost, or no stamp: the counts will tell
		}
		d, err := c.Receive(buf[:])
		switch {
		case err == nil:
			arrived = true
			if d.Stamp.Kind >= StampKernel {
				p.Received++
				p.ReceiveErrorNanoseconds = max(p.ReceiveErrorNanoseconds, float64(d.Stamp.Error)*nanoseconds)
			}
		case !errors.Is(err, ErrWouldBlock):
			return err
		}
		_, s, err := c.TransmitStamp()
		switch {
		case err == nil:
			departed = true
			if s.Kind >= StampKernel {
				p.Transmitted++
				p.TransmitErrorNanoseconds = max(p.TransmitErrorNanoseconds, float64(s.Error)*nanoseconds)
			}
		case !errors.Is(err, ErrWouldBlock):
			return err
		}
	}
	return nil
}

// conclude lowers the promised capabilities to those seen.
func (p *StampProbe) conclude() {
	c := &p.Capabilities
	promised := *c
	if p.Received == 0 {
		c.Receive = min(c.Receive, StampUser)
	}
	if p.Transmitted == 0 {
		c.Transmit = min(c.Transmit, StampUser)
	}
	if *c != promised && c.Reason == reason.OK {
		c.Reason = reason.StampMissing
	}
}
