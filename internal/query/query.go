package query

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	beevik "github.com/beevik/ntp"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// Options say how to ask. A zero field takes its default.
type Options struct {
	// Samples is how many requests each host gets; 4 by default, at most 1000.
	Samples int
	// Gap is the least time between two requests to one address, also when it goes by two names; 1 s by default.
	Gap time.Duration
	// Timeout is how long an answer is waited for; 2 s by default.
	Timeout time.Duration
	// Parallel is how many hosts are asked at a time; 8 by default.
	Parallel int
	// Lookup resolves a host's name; the system's resolver by default.
	Lookup Lookup
}

const (
	defaultPort = 123
	// maxDisturbance is how far wall clock and monotonic clock may disagree on an exchange's length before the wall clock is
	// taken to have been stepped. Below it, the disagreement (the two are not read in one instant) is added to the error.
	maxDisturbance = time.Millisecond
)

// Run asks all hosts, several at a time, and returns what came of it, in the order of hosts. A host is a name or an address, with
// or without a port: "pool.ntp.org", "192.0.2.1:123", "2001:db8::1", "[2001:db8::1]:123". When ctx ends, the hosts that are
// not done keep what they have. The error is about the options or an empty list; what goes wrong with a host is in its Result.
func Run(ctx context.Context, hosts []string, o Options) (Report, error) {
	q, err := newQuery(o)
	if err != nil {
		return Report{}, err
	}
	if len(hosts) == 0 {
		return Report{}, errors.New("query: no host is given: name at least one, such as pool.ntp.org")
	}
	report := Report{Format: reportFormat, Results: make([]Result, len(hosts))}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(q.Parallel, len(hosts)) {
		workers.Go(func() {
			for i := range next {
				report.Results[i] = q.host(ctx, hosts[i])
			}
		})
	}
	for i := range hosts {
		next <- i
	}
	close(next)
	workers.Wait()
	return report, nil
}

// query is one Run.
type query struct {
	Options
	clock func() instant
	pace  pacer
}

func newQuery(o Options) (*query, error) {
	if o.Samples == 0 {
		o.Samples = 4
	}
	if o.Gap == 0 {
		o.Gap = time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.Lookup == nil {
		o.Lookup = SystemLookup
	}
	switch {
	case o.Samples < 1 || o.Samples > 1000:
		return nil, fmt.Errorf("query: %d samples: want 1 to 1000", o.Samples)
	case o.Gap < 0 || o.Timeout < 0 || o.Parallel < 0:
		return nil, fmt.Errorf("query: gap %v, timeout %v and parallel %d must not be negative", o.Gap, o.Timeout, o.Parallel)
	}
	start := time.Now()
	clock := func() instant {
		now := time.Now()
		return instant{wall: now.Round(0), monotonic: now.Sub(start)}
	}
	return &query{Options: o, clock: clock, pace: pacer{gap: o.Gap, next: map[netip.AddrPort]time.Time{}}}, nil
}

// host measures one host.
func (q *query) host(ctx context.Context, host string) Result {
	h := &measurement{result: Result{Host: host}}
	addresses, err := q.resolve(ctx, host)
	if err != nil {
		h.fail(reason.SourceResolve, err)
		return h.finish()
	}
	for range q.Samples {
		c, address, err := dial(addresses)
		if err != nil {
			h.fail(reason.SourceSend, err)
			break
		}
		addresses = []netip.AddrPort{address} // all samples are of one server
		h.result.Address = pointer(address.String())
		if code := q.pace.wait(ctx, address); code != reason.OK {
			_ = c.Close()
			h.fail(code, context.Cause(ctx))
			break
		}
		code, err := q.exchange(ctx, c, h)
		h.fail(code, err)
		if refuses(code) {
			q.pace.refuse(address, code)
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	return h.finish()
}

func (q *query) resolve(ctx context.Context, host string) ([]netip.AddrPort, error) {
	return Resolve(ctx, host, max(q.Timeout, 5*time.Second), q.Lookup)
}

// Resolve returns the addresses of a host, with the port. A host is what Run takes. The look-up of a name may take limit.
func Resolve(ctx context.Context, host string, limit time.Duration, lookup Lookup) ([]netip.AddrPort, error) {
	name, port, err := splitHost(host)
	if err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a, port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	var addresses []netip.AddrPort
	for _, a := range found {
		addresses = append(addresses, netip.AddrPortFrom(a.Unmap(), port))
	}
	if len(addresses) == 0 {
		return nil, errors.New("none is known")
	}
	return addresses, nil
}

// Lookup resolves a name.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// SystemLookup is the system's resolver.
func SystemLookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// CheckHost returns an error if host is neither a name nor an address, with or without a port. It resolves nothing.
func CheckHost(host string) error {
	name, _, err := splitHost(host)
	if err == nil && (name == "" || strings.ContainsAny(name, " \t\r\n/")) {
		err = fmt.Errorf("%q is neither a name nor an address", host)
	}
	return err
}

// splitHost returns name or address, and the port.
func splitHost(host string) (name string, port uint16, err error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return host, defaultPort, nil
	}
	if name, p, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%q is not a port: want 1 to 65535", p)
		}
		return name, uint16(n), nil
	}
	return host, defaultPort, nil
}

// dial opens a socket to the first address that this machine has a route to.
func dial(addresses []netip.AddrPort) (*net.UDPConn, netip.AddrPort, error) {
	var failures []error
	for _, a := range addresses {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a))
		if err == nil {
			return c, a, nil
		}
		failures = append(failures, err)
	}
	return nil, netip.AddrPort{}, errors.Join(failures...)
}

// exchange sends one request on c, which it closes, and adds the sample to h or returns why there is none.
func (q *query) exchange(ctx context.Context, c *net.UDPConn, h *measurement) (reason.Code, error) {
	defer func() { _ = c.Close() }() // beevik/ntp has closed it in most cases
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past()) })
	defer stop()
	receive, err := stamped(c)
	if err != nil {
		return reason.SourceSend, err
	}
	ended := func() bool { return ctx.Err() != nil }
	return q.ask(&guard{Conn: c, receive: receive, clock: q.clock, ended: ended, stray: &h.rejections}, h)
}

// ask lets beevik/ntp make one exchange through the guard.
func (q *query) ask(g *guard, h *measurement) (reason.Code, error) {
	h.result.SamplesSent++
	response, err := beevik.QueryWithOptions("guarded", beevik.QueryOptions{
		Timeout:       q.Timeout,
		GetSystemTime: g.now,
		Dialer:        func(_, _ string) (net.Conn, error) { return g, nil },
	})
	if g.answered {
		h.describe(&g.header)
	}
	if err != nil {
		return g.explain(err)
	}
	if g.disturbance() > maxDisturbance {
		return reason.ClockStepped, nil
	}
	elapsed := response.Timestamps.ClientRecv.Sub(response.Timestamps.ClientXmit)
	served := response.Timestamps.ServerXmit.Sub(response.Timestamps.ServerRecv)
	s, code := newSample(&g.header, response.ClockOffset, elapsed, served, g.disturbance())
	if code != reason.OK {
		return code, nil
	}
	s.at = g.read.monotonic
	h.add(s, g.kernel)
	return reason.OK, nil
}

// explain turns beevik/ntp's error, which is the guard's or the socket's, into a reason.
func (g *guard) explain(err error) (reason.Code, error) {
	var code reason.Code
	var timeout net.Error
	switch {
	case errors.As(err, &code):
		return code, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return reason.SourceUnreachable, errors.New("nothing listens at that port (ICMP port unreachable)")
	case g.ended():
		return reason.SourceWaiting, errors.New("stopped before the answer came")
	case errors.As(err, &timeout) && timeout.Timeout():
		if g.lastStray != reason.OK {
			return g.lastStray, errors.New("no valid answer in time; the last datagram was rejected")
		}
		return reason.SourceUnreachable, errors.New("no answer in time")
	case g.departed.wall.IsZero():
		return reason.SourceSend, err
	}
	return reason.SourceUnreachable, err
}

// pacer keeps a gap between the requests to one address, and remembers who does not want to be asked.
type pacer struct {
	gap  time.Duration
	mu   sync.Mutex
	next map[netip.AddrPort]time.Time
	// refused is a list, since few servers refuse.
	refused []refusal
}

type refusal struct {
	address netip.AddrPort
	code    reason.Code
}

// wait returns when it is this caller's turn: OK to ask, SourceWaiting when ctx has ended, or a kiss code if the address has
// refused to be asked.
func (p *pacer) wait(ctx context.Context, a netip.AddrPort) reason.Code {
	p.mu.Lock()
	now := time.Now()
	turn := p.next[a]
	if turn.Before(now) {
		turn = now
	}
	p.next[a] = turn.Add(p.gap)
	p.mu.Unlock()
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return reason.SourceWaiting
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.refused, func(r refusal) bool { return r.address == a }); i >= 0 {
		return p.refused[i].code
	}
	return reason.OK
}

// refuse remembers that an address must not be asked again.
func (p *pacer) refuse(a netip.AddrPort, code reason.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = append(p.refused, refusal{a, code})
}

// measurement collects what is learnt of one host.
type measurement struct {
	result     Result
	samples    []sample
	kernel     int // how many samples have the kernel's receive stamp
	rejections reason.Counts
	code       reason.Code // why the last request gave no sample
	why        error
}

// describe takes over what the server says of itself.
func (h *measurement) describe(p *ntp.Packet) {
	r := &h.result
	r.Stratum, r.Leap, r.Version = pointer(int(p.Stratum)), pointer(int(p.Leap)), pointer(int(p.Version))
	r.ReferenceID = pointer(ntp.ReferenceText(p.ReferenceID, p.Stratum))
	r.RootDelay, r.RootDispersion = pointer(p.RootDelay.Seconds()), pointer(p.RootDispersion.Seconds())
	r.RootDistance, r.Precision = pointer(rootDistance(p)), pointer(precision(p))
}

func (h *measurement) add(s sample, kernel bool) {
	h.samples = append(h.samples, s)
	if kernel {
		h.kernel++
	}
}

// fail notes why a request gave no sample; OK forgives earlier failures.
func (h *measurement) fail(code reason.Code, why error) {
	h.code, h.why = code, why
	h.rejections.Add(code)
}

// finish turns what was collected into the result.
func (h *measurement) finish() Result {
	r := &h.result
	r.SamplesOK = len(h.samples)
	r.SamplesLost = r.SamplesSent - r.SamplesOK
	r.Rejections = h.rejections.Map()
	if len(h.samples) > 0 {
		offset, halfWidth, code := combine(h.samples)
		if code == reason.OK {
			r.Offset, r.Error = pointer(offset), pointer(halfWidth)
		} else {
			h.fail(code, nil)
		}
		delays := make([]float64, len(h.samples))
		for i, s := range h.samples {
			delays[i] = s.delay
		}
		r.DelayMin, r.DelayMedian = pointer(slices.Min(delays)), pointer(median(delays))
		r.ReceiveStamp = pointer("user")
		if h.kernel == len(h.samples) {
			r.ReceiveStamp = pointer("kernel")
		}
	}
	if h.code == reason.OK {
		return *r
	}
	r.Reason, r.Message = pointer(h.code), pointer(h.code.Explain())
	if h.why != nil {
		r.Message = pointer(h.code.Explain() + ": " + h.why.Error())
	}
	return *r
}

func pointer[T any](v T) *T { return &v }
