package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/query"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Options say how a measurement is made.
type Options struct {
	Config Config
	// Version is the program's.
	Version string
	// Log takes the records; nil: nothing is kept.
	Log *Log
	// Analysis has read the log so far when a measurement goes on, and is nil for a new one.
	Analysis *Analysis
	// Counter is the spec of the counter of a new segment; "auto" by default.
	Counter string
	// For is how long is measured; 0: until ctx ends.
	For time.Duration
	// Lookup resolves names; the system's resolver by default.
	Lookup query.Lookup
	// Show is called after every round, and, with over false, about every second between them. The analysis must not be used after
	// it returns.
	Show func(a *Analysis, over bool)
}

// The reasons for which a measurement ends.
const (
	EndLength      = "the time is over"
	EndInterrupted = "interrupted"
	EndStorage     = "the record cannot be stored"
)

const (
	// lookEvery is how often this host is looked at for disruptions, syncEvery how often the log is brought to the disk, trustEvery how
	// often the kernel is asked whether it still trusts the counter.
	lookEvery  = time.Second
	syncEvery  = 10 * time.Second
	trustEvery = time.Minute
	// resolveAfter is after how many failures in a row a name is looked up again, and every so many more.
	resolveAfter = 4
	resolveLimit = 5 * time.Second
	// answerLimit is how long an answer is waited for. It may be longer than the poll: no server is asked twice at a time.
	answerLimit = 2 * time.Second
	// slowest is the longest that a server which asks for fewer requests is left alone, in seconds (RFC 5905's limit for polls in
	// practice).
	slowest = 4096.0
	// largestStagger is how far apart the requests of one round are sent, so that they do not queue behind one another.
	largestStagger = 100 * time.Millisecond
)

// engine is one measurement that runs.
type engine struct {
	o        Options
	analysis *Analysis
	host     *host
	segment  *Segment
	prober   *query.Prober
	targets  []*target
	results  chan outcome
	resolved chan resolution
	// outstanding counts the probes that are under way, waiting those of them for which the round is held open. next is the round that
	// comes, current the one before it.
	outstanding   int
	waiting       int
	open          bool
	heard         bool // a server has answered in the open round
	ending        bool // the time is over, and the open round the last
	next, current int64
	lastSync      time.Time
	lastTrust     time.Time
}

// target is a host that is asked.
type target struct {
	host      string
	numeric   bool
	resolving bool
	// next is the round from which it may be asked again.
	next int64
	// failures counts those since the last good answer or the last look-up.
	failures int
	avoid    netip.AddrPort
	// busy: a probe is under way.
	busy bool
}

type outcome struct {
	server  int
	round   int64
	segment int
	address netip.AddrPort
	// held: the round is held open for it.
	held  bool
	probe query.Probe
}

type resolution struct {
	server    int
	addresses []netip.AddrPort
	err       error
}

// Run measures until the time is over, ctx ends, or the record cannot be stored, which is the error. The analysis holds what was
// measured, whatever ended it.
func Run(ctx context.Context, o Options) (*Analysis, error) {
	if o.Counter == "" {
		o.Counter = "auto"
	}
	if o.Lookup == nil {
		o.Lookup = query.SystemLookup
	}
	e := &engine{o: o, analysis: o.Analysis}
	if e.analysis == nil {
		e.analysis = NewAnalysis(NewHeader(o.Version, &o.Config))
	}
	n := len(o.Config.Hosts)
	e.results, e.resolved = make(chan outcome, n), make(chan resolution, n)
	for _, h := range o.Config.Hosts {
		e.targets = append(e.targets, &target{host: h, numeric: isNumeric(h)})
	}
	if err := e.begin(); err != nil {
		return e.analysis, err
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	why, err := e.loop(work)
	cancel()
	e.drain()
	if err == nil {
		err = e.end(why)
	}
	return e.analysis, err
}

// NewHeader makes the first record.
func NewHeader(version string, c *Config) *Header {
	return &Header{Program: "clockbench observe", Version: version, Format: LogFormat, Config: *c, Began: time.Now().UTC().Format(time.RFC3339Nano)}
}

func isNumeric(host string) bool {
	addresses, err := query.Resolve(context.Background(), host, time.Second, func(context.Context, string) ([]netip.Addr, error) {
		return nil, errors.New("a name")
	})
	return err == nil && len(addresses) == 1
}

// record stores a record and gives it to the analysis.
func (e *engine) record(r *Record) error {
	if e.o.Log != nil {
		if err := e.o.Log.Append(r); err != nil {
			return err
		}
	}
	if err := e.analysis.Step(r); err != nil {
		return fmt.Errorf("observe: a record of this very run does not fit: %w", err)
	}
	return nil
}

// begin goes on in the segment of the log if this host's counter has run on since, and begins a new one otherwise.
func (e *engine) begin() error {
	segment, last, round := e.analysis.Last()
	if segment == nil {
		return e.newSegment(reason.OK)
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	if boot != segment.BootID {
		return e.newSegment(reason.OK)
	}
	h, code := resumeHost(segment, &last)
	if code != reason.OK {
		return e.newSegment(code)
	}
	now, err := h.now()
	if err != nil {
		return err
	}
	e.host, e.segment = h, segment
	e.prober = query.NewProber(h.counter, answerLimit)
	if err := e.record(&Record{Start: &Start{Segment: segment.Number, At: now}}); err != nil {
		return err
	}
	// At least a poll after whatever was asked before.
	e.next = max(round, e.roundAt(now.Ticks)) + 1
	e.current = e.next - 1
	for i, t := range e.targets {
		_, every, _ := e.analysis.Manners(i)
		t.next = e.current + every
	}
	return nil
}

// newSegment anchors a new raw timeline; code is why the one before ended.
func (e *engine) newSegment(code reason.Code) error {
	h, err := openHost(e.o.Counter)
	if err != nil {
		return err
	}
	now, err := h.now()
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	number := 0
	if before, _, _ := e.analysis.Last(); before != nil {
		number = before.Number + 1
	}
	f := h.counter.Frequency()
	s := &Segment{Number: number, BootID: boot, Counter: h.counter.Spec(), Hertz: f.Hertz, ErrorPPB: f.ErrorPPB, Anchor: now, Reason: code}
	if err := e.record(&Record{Segment: s}); err != nil {
		return err
	}
	e.host, e.segment, e.open = h, s, false
	e.prober = query.NewProber(h.counter, answerLimit)
	e.next, e.current = 0, 0
	if number > 0 {
		// The servers were asked a moment ago, perhaps: the first round of a later segment comes a poll after its anchor.
		e.next = 1
	}
	for i, t := range e.targets {
		t.next = 0
		if _, every, _ := e.analysis.Manners(i); number > 0 {
			t.next = every
		}
	}
	return nil
}

// roundAt returns the number of the round in which a reading lies.
func (e *engine) roundAt(c hw.Ticks) int64 {
	return int64(e.seconds(e.segment.Anchor.Ticks, c) / e.o.Config.Poll)
}

func (e *engine) seconds(from, to hw.Ticks) float64 { return float64(to.Sub(from)) / e.segment.Hertz }

// untilRound returns how long it is until round n begins.
func (e *engine) untilRound(n int64) time.Duration {
	return max(duration(float64(n)*e.o.Config.Poll-e.seconds(e.segment.Anchor.Ticks, e.host.counter.Read())), 0)
}

// loop measures. It returns why it ended.
func (e *engine) loop(ctx context.Context) (why string, err error) {
	if err := e.resolveAll(ctx); err != nil {
		return EndStorage, err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	over := make(<-chan time.Time)
	if e.o.For > 0 {
		t := time.NewTimer(e.o.For)
		defer t.Stop()
		over = t.C
	}
	e.arm(next)
	for {
		segment := e.segment.Number
		select {
		case <-ctx.Done():
			return EndInterrupted, nil
		case <-over:
			e.ending = true
		case <-next.C:
			if !e.ending {
				err = e.startRound(ctx)
				e.arm(next)
			}
		case r := <-e.results:
			e.settle(&r)
			err = e.take(ctx, &r)
		case r := <-e.resolved:
			err = e.took(&r)
		case <-look.C:
			err = e.chores()
		}
		if err == nil && e.open && e.waiting == 0 {
			err = e.closeRound()
		}
		if err != nil {
			return EndStorage, err
		}
		if e.ending && !e.open {
			return EndLength, nil
		}
		if segment != e.segment.Number {
			e.arm(next)
		}
	}
}

// settle counts a probe as over.
func (e *engine) settle(r *outcome) {
	e.outstanding--
	e.targets[r.server].busy = false
	if r.held && e.open && r.segment == e.segment.Number && r.round == e.current {
		e.waiting--
	}
}

// arm sets the timer to the next round. Rounds that were missed, as by a process that was stopped, are left out.
func (e *engine) arm(next *time.Timer) {
	e.next = max(e.next, e.roundAt(e.host.counter.Read()))
	next.Reset(e.untilRound(e.next))
}

// resolveAll looks all names up before the first round; each look-up has its limit.
func (e *engine) resolveAll(ctx context.Context) error {
	for i := range e.targets {
		if address, _, stopped := e.analysis.Manners(i); !stopped && !address.IsValid() {
			e.resolve(ctx, i)
		}
	}
	for range e.targets {
		if !slices.ContainsFunc(e.targets, func(t *target) bool { return t.resolving }) {
			break
		}
		r := <-e.resolved
		if ctx.Err() != nil {
			e.targets[r.server].resolving = false
		} else if err := e.took(&r); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) resolve(ctx context.Context, i int) {
	t := e.targets[i]
	if t.resolving {
		return
	}
	t.resolving = true
	go func() {
		addresses, err := query.Resolve(ctx, t.host, resolveLimit, e.o.Lookup)
		e.resolved <- resolution{server: i, addresses: addresses, err: err}
	}()
}

// took takes the answer to a look-up: the first address that no other host is asked at, that this machine has a route to, and that
// is not the one that has just failed, if there is another.
func (e *engine) took(r *resolution) error {
	t := e.targets[r.server]
	t.resolving, t.failures = false, 0
	present, every, stopped := e.analysis.Manners(r.server)
	if stopped {
		return nil
	}
	if r.err != nil {
		return e.fail(r.server, e.current, reason.SourceResolve, r.err.Error(), false)
	}
	var good []netip.AddrPort
	taken := false
	for _, a := range r.addresses {
		if e.usedElsewhere(r.server, a) {
			taken = true
		} else if query.HasRoute(a) == nil {
			good = append(good, a)
		}
	}
	if len(good) == 0 && taken {
		return e.fail(r.server, e.current, reason.SourceDuplicate, "another host of the list has the same address", false)
	}
	if len(good) == 0 {
		return e.fail(r.server, e.current, reason.SourceSend, "there is no route to any of its addresses", false)
	}
	if slices.Contains(good, present) && present != t.avoid {
		return nil
	}
	choice := good[0]
	if i := slices.IndexFunc(good, func(a netip.AddrPort) bool { return a != t.avoid }); i >= 0 {
		choice = good[i]
	}
	if choice == present {
		return nil
	}
	if !present.IsValid() {
		every = 1
	}
	return e.record(&Record{Address: &Address{Server: r.server, Address: choice, Every: max(every, e.o.Config.everyFor(choice.Addr()))}})
}

func (e *engine) usedElsewhere(server int, a netip.AddrPort) bool {
	for i := range e.targets {
		if other, _, _ := e.analysis.Manners(i); i != server && other == a {
			return true
		}
	}
	return false
}

// startRound asks every server that is due.
func (e *engine) startRound(ctx context.Context) error {
	if e.open {
		if err := e.closeRound(); err != nil {
			return err
		}
	}
	segment := e.segment.Number
	if err := e.lookAtHost(); err != nil {
		return err
	}
	if segment != e.segment.Number {
		return nil // a new segment has just begun: its rounds come
	}
	e.open, e.heard, e.current, e.waiting = true, false, e.next, 0
	e.next++
	stagger := min(largestStagger, duration(e.o.Config.Poll/4)/time.Duration(len(e.targets)))
	for i, t := range e.targets {
		address, every, stopped := e.analysis.Manners(i)
		if stopped || t.busy || e.current < t.next {
			continue
		}
		if !address.IsValid() {
			if t.failures++; t.failures%resolveAfter == 0 {
				e.resolve(ctx, i)
			}
			continue
		}
		t.next = e.current + every
		// One that did not answer last time does not keep the others' comparison waiting.
		r := outcome{server: i, round: e.current, segment: e.segment.Number, address: address, held: t.failures == 0}
		t.busy = true
		e.outstanding++
		if r.held {
			e.waiting++
		}
		prober, wait := e.prober, stagger*time.Duration(i)
		go func() {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
				r.probe = prober.Probe(ctx, r.address)
			case <-ctx.Done():
				r.probe.Code = reason.SourceWaiting
			}
			e.results <- r
		}()
	}
	return nil
}

// take records what came of a probe.
func (e *engine) take(ctx context.Context, r *outcome) error {
	if err := e.lookAtHost(); err != nil {
		return err
	}
	p := &r.probe
	switch {
	case r.segment != e.segment.Number:
		// The host was disrupted while the probe was under way: its stamps mean nothing.
		if p.Code == reason.OK || !query.Refuses(p.Code) {
			return nil
		}
	case p.Code == reason.SourceWaiting:
		return nil // stopped by us
	}
	t := e.targets[r.server]
	if p.Code == reason.OK {
		t.failures, t.avoid, e.heard = 0, netip.AddrPort{}, true
		s := sampleOf(r)
		e.analysis.Complete(s)
		return e.record(&Record{Sample: s})
	}
	return e.failed(ctx, r)
}

// failed records a probe that gave no sample, and draws the conclusions.
func (e *engine) failed(ctx context.Context, r *outcome) error {
	t := e.targets[r.server]
	p := &r.probe
	t.failures++
	message := ""
	if p.Err != nil {
		message = p.Err.Error()
	}
	if err := e.failProbe(r, message); err != nil {
		return err
	}
	if _, _, stopped := e.analysis.Manners(r.server); stopped || t.numeric || t.failures%resolveAfter != 0 {
		return nil
	}
	if p.Code == reason.SourceUnreachable || p.Code == reason.SourceSend {
		t.avoid = r.address
	}
	e.resolve(ctx, r.server)
	return nil
}

// failProbe writes the failure. RATE doubles the time between two requests, for good; what else is a kiss-o'-death ends them.
func (e *engine) failProbe(r *outcome, message string) error {
	p := &r.probe
	f := e.failure(r.server, r.round, p.Code, message, p.Sent)
	f.Stray = p.Stray.Map()
	if p.Code == reason.KissRate {
		f.Every = min(2*f.Every, max(int64(slowest/e.o.Config.Poll), f.Every))
		e.targets[r.server].next = r.round + f.Every
	}
	f.Stopped = f.Stopped || query.Refuses(p.Code) && p.Code != reason.KissRate
	return e.record(&Record{Failure: f})
}

func (e *engine) fail(server int, round int64, code reason.Code, message string, sent bool) error {
	return e.record(&Record{Failure: e.failure(server, round, code, message, sent)})
}

func (e *engine) failure(server int, round int64, code reason.Code, message string, sent bool) *Failure {
	_, every, stopped := e.analysis.Manners(server)
	if len(message) > 1000 {
		message = message[:1000]
	}
	return &Failure{Segment: e.segment.Number, Round: round, Server: server, Reason: code, Message: strings.ToValidUTF8(message, "?"), Sent: sent, Every: every, Stopped: stopped}
}

// sampleOf makes the record of a good exchange.
func sampleOf(r *outcome) *Sample {
	p, h := &r.probe, &r.probe.Header
	s := &Sample{
		Segment: r.segment, Round: r.round, Server: r.server, Address: r.address, Departed: p.Departed, Arrived: p.Arrived, Cross: p.Cross,
		Receive: inEra(h.Receive, p.Cross.Realtime), Transmit: inEra(h.Transmit, p.Cross.Realtime),
		RootDelay: h.RootDelay.Seconds(), RootDispersion: h.RootDispersion.Seconds(), Precision: h.Precision, Stratum: h.Stratum, Leap: h.Leap,
		Version: h.Version, ReferenceID: h.ReferenceID, Stray: p.Stray.Map(),
	}
	return s
}

// inEra puts a timestamp into the era that is nearest to what the system clock says.
func inEra(t ntp.Timestamp, pivot int64) virtualclock.Time { return virtualclock.Unix(t.Unix(pivot)) }

// closeRound compares all servers now that all have answered, or will not.
func (e *engine) closeRound() error {
	now, err := e.host.now()
	if err != nil {
		return err
	}
	e.open = false
	if err := e.record(&Record{Round: &Round{Segment: e.segment.Number, Number: e.current, At: now}}); err != nil {
		return err
	}
	if e.o.Show != nil {
		e.o.Show(e.analysis, true)
	}
	return nil
}

// chores look after what must be done now and then.
func (e *engine) chores() error {
	if err := e.lookAtHost(); err != nil {
		return err
	}
	if e.o.Show != nil {
		e.o.Show(e.analysis, false)
	}
	now := time.Now()
	if now.Sub(e.lastTrust) >= trustEvery {
		e.lastTrust = now
		if hw.StillTrusted(e.host.counter) != nil {
			if err := e.newSegment(reason.CounterStopped); err != nil {
				return err
			}
		}
	}
	if e.o.Log != nil && now.Sub(e.lastSync) >= syncEvery {
		e.lastSync = now
		return e.o.Log.Sync()
	}
	return nil
}

// lookAtHost begins a new segment if the host or its counter was disrupted.
func (e *engine) lookAtHost() error {
	if code := e.host.look(); code != reason.OK {
		return e.newSegment(code)
	}
	return nil
}

// drain waits for what is under way: it ends at once when the context has ended.
func (e *engine) drain() {
	for ; e.outstanding > 0; e.outstanding-- {
		<-e.results
	}
	for _, t := range e.targets {
		if t.resolving {
			<-e.resolved
		}
	}
}

// end writes the last record.
func (e *engine) end(why string) error {
	// A round that was cut off before anybody answered is none.
	if e.open && e.heard {
		if err := e.closeRound(); err != nil {
			return err
		}
	}
	now, err := e.host.now()
	if err != nil {
		return err
	}
	return e.record(&Record{End: &End{Segment: e.segment.Number, At: now, Why: why}})
}

// bootID is the identity of the kernel's boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("the kernel's boot cannot be identified (is /proc mounted?): %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
