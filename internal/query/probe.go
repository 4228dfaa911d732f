package query

import (
	"context"
	"math"
	"net"
	"net/netip"
	"time"

	beevik "github.com/beevik/ntp"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// Prober makes single exchanges whose two local stamps are on a hardware counter, for observations that go on: a step of the
// system clock does not move them. Its methods may be called from several goroutines.
type Prober struct {
	counter hw.Counter
	mapper  hw.RealtimeMapper
	timeout time.Duration
	origin  time.Time
}

// NewProber returns a prober on that counter, that waits for an answer for timeout.
func NewProber(counter hw.Counter, timeout time.Duration) *Prober {
	return &Prober{counter: counter, mapper: hw.NewRealtimeMapper(counter.Frequency()), timeout: timeout, origin: time.Now()}
}

// Probe is what came of one exchange.
type Probe struct {
	// Code is OK, or why there is no sample; Err, which may be nil, tells more.
	Code reason.Code
	Err  error
	// Sent: a request went out, or may have.
	Sent bool
	// Answered: Header is that of the server's answer, which need not be a sample: with Code OK it is one.
	Answered bool
	Header   ntp.Packet
	// Departed and Arrived are the local stamps, valid (hw.Stamp) if Code is OK.
	Departed, Arrived hw.Stamp
	// Cross relates the counter to CLOCK_REALTIME just after the answer was read; valid if Code is OK.
	Cross hw.CrossReading
	// Stray counts the datagrams that came meanwhile and were not the answer, by reason.
	Stray reason.Counts
}

// Refuses reports whether a code means that the server does not want to be asked as it was: a kiss-o'-death.
func Refuses(code reason.Code) bool { return refuses(code) }

// HasRoute returns an error if this machine has no route to the address. It sends nothing.
func HasRoute(a netip.AddrPort) error {
	c, _, err := dial([]netip.AddrPort{a})
	if err != nil {
		return err
	}
	return c.Close()
}

// Probe asks once and returns when the answer has come, the time is over or ctx has ended.
func (p *Prober) Probe(ctx context.Context, address netip.AddrPort) Probe {
	var r Probe
	c, _, err := dial([]netip.AddrPort{address})
	if err != nil {
		r.Code, r.Err = reason.SourceSend, err
		return r
	}
	defer func() { _ = c.Close() }() // beevik/ntp has closed it in most cases
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past()) })
	defer stop()
	receive, err := stamped(c)
	if err != nil {
		r.Code, r.Err = reason.SourceSend, err
		return r
	}
	backwards := false
	clock := func() instant {
		i, ok := p.instant()
		backwards = backwards || !ok
		return i
	}
	g := &guard{Conn: c, receive: receive, clock: clock, ended: func() bool { return ctx.Err() != nil }, stray: &r.Stray}
	_, err = beevik.QueryWithOptions("guarded", beevik.QueryOptions{
		Timeout:       p.timeout,
		GetSystemTime: g.now,
		Dialer:        func(_, _ string) (net.Conn, error) { return g, nil },
	})
	r.Sent, r.Answered, r.Header = !g.departed.wall.IsZero(), g.answered, g.header
	switch {
	case err != nil:
		r.Code, r.Err = g.explain(err)
	case backwards:
		r.Code = reason.CounterBackwards
	default:
		p.stamps(g, &r)
	}
	return r
}

// instant reads the counter and the machine's clocks together; false if the counter went backwards.
func (p *Prober) instant() (instant, bool) {
	const tries = 4
	var i instant
	var now time.Time
	width := int64(math.MaxInt64)
	for range tries {
		low := p.counter.Read()
		t := time.Now()
		high := p.counter.Read()
		if w := high.Sub(low); w >= 0 && w < width {
			width, now = w, t
			i.bracket.Low, i.bracket.High = low, high
		}
	}
	if width == math.MaxInt64 {
		now = time.Now()
	}
	i.wall, i.monotonic = now.Round(0), now.Sub(p.origin)
	i.bracket.Realtime = now.UnixNano()
	i.bracket.Monotonic, i.bracket.HasMonotonic = int64(i.monotonic), true
	i.bracket.Slew = hw.SlewUnknown
	return i, width != math.MaxInt64
}

// stamps places the exchange on the counter. The bracket before the request ends not later than the request leaves, and that
// after the answer begins not earlier than the answer is read; the kernel's stamp, where there is one that can be trusted, lies
// nearer to the arrival.
func (p *Prober) stamps(g *guard, r *Probe) {
	before, after := &g.departed.bracket, &g.read.bracket
	r.Departed = hw.Stamp{At: before.High, Kind: hw.StampUser}
	r.Arrived = hw.Stamp{At: after.Low, Kind: hw.StampUser}
	if !g.stamp.IsZero() {
		// What makes the kernel's stamp useless leaves the user-space one.
		r.Arrived, _ = p.mapper.Arrival(g.stamp.UnixNano(), before, after, after.Low)
	}
	middle := after.Middle()
	nanosecond := hw.Ticks(math.Ceil(p.counter.Frequency().Hertz * 1.25e-9)) // as in hw.CrossStamp: the clock was rounded down
	r.Cross = hw.CrossReading{At: middle, Realtime: after.Realtime, Error: after.High - middle + nanosecond}
}
