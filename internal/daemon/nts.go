package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/internal/nts/ke"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// exchangeFirst is how long after an exchange of keys, good or not, the next one may be made; it doubles with each up to the
	// limit, and begins anew when keys have been good for that long. A server that is not reached may be back soon; one that
	// refuses, or whose certificate is bad, will hardly have changed its mind (RFC 8915 section 4.2 suggests 10 s at the least).
	exchangeFirst = time.Second
	exchangeLast  = time.Minute
	refusedFirst  = 10 * time.Second
	refusedLast   = 16 * time.Minute
	// exchangePatience bounds an exchange, names and all.
	exchangePatience = 30 * time.Second
	// keyLifetime is after how long keys are exchanged anew although they are good: certificates are then looked at again.
	keyLifetime = 7 * 24 * time.Hour
	// earliestUnix is 2026-01-01: no certificate that ended before was still shown by an honest server when this was written.
	earliestUnix = 1_767_225_600
)

// association is a slot's side of NTS.
type association struct {
	session *nts.Session
	proof   *ke.Proof
	// proved: the certificate's dates were held against the clock, not only against the system's.
	proved bool
	since  time.Time // of session
	// with is the address with which keys were exchanged last.
	with netip.Addr
	// number tells the present exchange from earlier ones; running: it has not ended.
	number  uint64
	running bool
	cancel  context.CancelFunc
	next    time.Time
	wait    time.Duration
	// again: the keys seem to be good for nothing.
	again bool
	// distrusted is a certificate whose dates the clock contradicted: the system's clock cannot clear it.
	distrusted    ke.Fingerprint
	hasDistrusted bool

	exchanges uint64
	failures  reason.Counts
	last      reason.Code // the last exchange's failure
}

// wanting reports whether keys must be exchanged.
func (a *association) wanting(now time.Time) bool {
	s := a.session
	return s == nil || s.Cookies() == 0 || s.Refused() || a.again || now.Sub(a.since) > keyLifetime
}

// usable reports whether a request can be made.
func (a *association) usable() bool { return a.session != nil && a.session.Cookies() > 0 }

// postpone sets when the next exchange may be made, counted from now.
func (a *association) postpone(now time.Time, first, last time.Duration) {
	a.wait = min(max(2*a.wait, first), last)
	a.next = now.Add(a.wait)
}

// judge says whether a datagram is the server's answer to the last request.
func (a *association) judge(datagram []byte, now time.Time) reason.Code {
	if a.session == nil {
		return reason.KeyExchangeWaiting
	}
	code := a.session.Answer(datagram)
	if code == reason.OK {
		a.again = false
		if now.After(a.next) {
			a.wait = 0
		}
	}
	return code
}

// drop forgets the keys.
func (a *association) drop() { a.session, a.proof, a.proved = nil, nil, false }

// exchanger exchanges keys, each exchange in its own goroutine.
type exchanger struct {
	results chan exchanged
	running sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
}

// exchanged is how an exchange ended.
type exchanged struct {
	slot   *slot
	number uint64
	// proved: the dates were held against the clock.
	proved bool
	result *ke.Result
	err    error
}

func newExchanger(ctx context.Context) *exchanger {
	ctx, stop := context.WithCancel(ctx)
	return &exchanger{results: make(chan exchanged), ctx: ctx, stop: stop}
}

// Start begins an exchange and returns what cancels it.
func (x *exchanger) Start(c ke.Client, r exchanged) context.CancelFunc {
	ctx, cancel := context.WithTimeout(x.ctx, exchangePatience)
	x.running.Go(func() {
		defer cancel()
		r.result, r.err = c.Exchange(ctx)
		select {
		case x.results <- r:
		case <-x.ctx.Done():
		}
	})
	return cancel
}

// Close ends all exchanges and waits for the goroutines.
func (x *exchanger) Close() {
	x.stop()
	x.running.Wait()
}

// dates is against what a certificate's dates are held.
type dates struct {
	// clock is the time by the clock, if sound; host by the system; floor is when it certainly is later.
	clock, host, floor time.Time
	sound              bool
	policy             config.TimeCheck
	distrusted         *ke.Fingerprint
}

// check judges a certificate, of which all but the dates is good.
func (d *dates) check(p *ke.Proof) error {
	if d.sound {
		return p.At(d.clock)
	}
	bad := func(format string, a ...any) error {
		return &ke.Error{Code: reason.KeyExchangeCertificateTime, Err: fmt.Errorf(format, a...)}
	}
	if d.distrusted != nil && *d.distrusted == p.Fingerprint() {
		return bad("the clock contradicted it when it was last set")
	}
	err := p.At(d.host)
	if err == nil || d.policy == config.TimeCheckAlways || ke.Code(err) != reason.KeyExchangeCertificateTime {
		return err
	}
	if _, to := p.Dates(); to.Before(d.floor) {
		return bad("it ended on %s, and on %s this clock was right already (state.path)", to.UTC().Format(time.DateOnly), d.floor.UTC().Format(time.DateOnly))
	}
	return nil
}

// dates returns what is known of the time now.
func (d *daemon) dates(s *slot) *dates {
	a := s.nts
	out := &dates{host: time.Now(), floor: time.Unix(earliestUnix, 0), policy: s.timeCheck}
	now := d.now()
	if d.options.Realtime != nil {
		out.host = d.options.Realtime(now).Time()
	}
	if d.lastRight.After(out.floor) {
		out.floor = d.lastRight
	}
	if c := &d.published.Clock; d.external(c, c.Interval(now).Status) {
		out.clock, out.sound = c.Time(now).Time(), true
	}
	if a.hasDistrusted {
		print := a.distrusted
		out.distrusted = &print
	}
	return out
}

// external reports whether the clock with that status bounds true time.
func (d *daemon) external(c *virtualclock.Coefficients, status virtualclock.Status) bool {
	return status.Sound() && !d.published.Internal && c.Kind == virtualclock.External
}

// exchangeKeys begins the exchanges that are due.
func (d *daemon) exchangeKeys() {
	for _, e := range d.roster.entries {
		if len(e.slots) == 0 || e.slots[0].nts == nil {
			continue // a source under NTS has one slot
		}
		a := e.slots[0].nts
		if now := time.Now(); !a.running && !now.Before(a.next) && a.wanting(now) {
			d.startExchange(e)
		}
	}
}

// startExchange begins the exchange of keys with a source.
func (d *daemon) startExchange(e *entry) {
	s := e.slots[0]
	a := s.nts
	s.timeCheck = e.config.NTSTimeCheck
	a.running = true
	a.number++
	against := d.dates(s)
	prefer := a.with
	if a.again {
		prefer = netip.Addr{} // it does not answer; others may
	}
	a.cancel = d.exchanger.Start(ke.Client{
		Host: e.config.Address.Host, Port: e.config.NTSPort, NTPPort: int(e.config.Address.Port), CAFile: e.config.NTSCA, Prefer: prefer,
		Check: against.check, Lookup: d.resolver.once,
	}, exchanged{slot: s, number: a.number, proved: against.sound})
}

// exchanged takes the end of an exchange.
func (d *daemon) exchanged(r exchanged) {
	s := r.slot
	if d.roster.find(s.id) != s || s.nts.number != r.number {
		return // its source is gone
	}
	a := s.nts
	a.running = false
	if r.err != nil {
		d.exchangeFailed(s, ke.Code(r.err), r.err)
		return
	}
	if other := d.roster.inUse(r.result.Address, s); other != nil {
		d.exchangeFailed(s, reason.SourceDuplicate, fmt.Errorf("it has us ask %s, which is %s already", r.result.Address, other.name))
		return
	}
	a.exchanges++
	a.session, a.proof, a.proved, a.since = r.result.Session, r.result.Proof, r.proved, time.Now()
	a.with = r.result.Exchanged
	a.again, a.last = false, reason.OK
	a.postpone(time.Now(), exchangeFirst, exchangeLast)
	_, to := a.proof.Dates()
	d.log.Info("NTS keys", "source", s.name, "address", r.result.Address.String(), "aead", a.session.Algorithm().String(),
		"cookies", a.session.Cookies(), "certificate_until", to.UTC().Format(time.DateOnly), "dates_checked", a.proved)
	for _, e := range d.roster.entries {
		e.resolved = e.resolved || len(e.slots) > 0 && e.slots[0] == s
	}
	if s.why != reason.OK {
		s.why, s.detail = reason.OK, ""
	}
	if s.address != r.result.Address {
		d.unlink(s)
		s.address, s.unanswered = r.result.Address, 0
		d.configureNode()
	}
}

// exchangeFailed counts a failure, and says what it was.
func (d *daemon) exchangeFailed(s *slot, code reason.Code, err error) {
	a := s.nts
	a.failures.Add(code)
	first, last := refusedFirst, refusedLast
	if code == reason.KeyExchangeConnect || code == reason.SourceResolve {
		first, last = exchangeFirst, exchangeLast
	}
	a.postpone(time.Now(), first, last)
	a.last = code
	d.reporter.Report(&node.Report{Topic: "source", Source: s.id, Reason: code}, s.name)
	d.log.Debug("no NTS keys", "source", s.name, "error", err, "again_in", a.wait)
	if !a.usable() {
		s.why, s.detail = code, ke.Detail(err)
	}
}

// datesHold is asked before a sound clock is published: the certificates whose dates were not held against it so far are, and the
// sources that fail are begun anew. false: more of them do than may be false, so nothing is left of what the clock rests on.
func (d *daemon) datesHold(p *node.Publication) bool {
	if !p.Clock.Status.Sound() || p.Internal {
		d.timeKnown = false
		return true
	}
	// A clock that was stepped, or lost the time in between, is another witness than before.
	anew := !d.timeKnown || p.Clock.Epoch != d.datesEpoch
	d.datesEpoch = p.Clock.Epoch
	dropped := 0
	for _, e := range d.roster.entries {
		if len(e.slots) > 0 && e.slots[0].nts != nil && !d.dateHolds(e.slots[0], p, anew) {
			dropped++
		}
	}
	d.timeKnown = true
	if dropped == 0 {
		return true
	}
	d.fillNodeConfig()
	c := d.nodeConfig
	d.queue = append(d.queue, node.Event{Kind: node.EventConfigure, Config: &c})
	most := d.node.Snapshot(d.now()).MaxFalse
	if dropped <= most {
		return true
	}
	d.timeKnown = false
	d.queue = append(d.queue, node.Event{Kind: node.EventDisruption, Reason: reason.KeyExchangeCertificateTime})
	return false
}

// dateHolds holds the certificate of one source against the clock, if that was not done yet or anew. false: it fails, and its source
// begins anew.
func (d *daemon) dateHolds(s *slot, p *node.Publication, anew bool) bool {
	a := s.nts
	if a.session == nil && a.last == reason.KeyExchangeCertificateTime && !a.running && anew {
		a.next, a.wait = time.Time{}, 0 // the time is known now, so it may be another matter
	}
	if a.session == nil || a.proved && !anew {
		return true
	}
	err := a.proof.At(p.Clock.Time(d.now()).Time())
	if err == nil {
		a.proved = true
		return true
	}
	a.distrusted, a.hasDistrusted = a.proof.Fingerprint(), true
	a.drop()
	d.exchangeFailed(s, ke.Code(err), err)
	d.unlink(s)
	d.roster.keyVersion++
	s.keyVersion = d.roster.keyVersion
	return false
}

// request makes a request under NTS of what the node wants to send.
func (a *association) request(dst, packet []byte) ([]byte, bool) {
	if a.session == nil {
		return nil, false
	}
	return a.session.Request(dst, packet, rand.Reader)
}

// show is what people are told of a slot's NTS.
func (a *association) show(out *control.Source) {
	out.Authentication = "nts"
	out.NTS = &control.NTS{Exchanges: a.exchanges, Failures: a.failures.Map(), LastFailure: a.last, DatesChecked: a.proved}
	for name, n := range a.failures.Map() {
		if out.Rejections == nil {
			out.Rejections = map[string]uint64{}
		}
		out.Rejections[name] += n
	}
	if a.session == nil {
		out.Key = "NTS"
		return
	}
	_, to := a.proof.Dates()
	out.Key = "NTS (" + a.session.Algorithm().String() + ")"
	out.NTS.AEAD, out.NTS.Cookies, out.NTS.CertificateUntil = a.session.Algorithm().String(), a.session.Cookies(), &to
}
