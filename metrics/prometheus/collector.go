package promexport

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Read takes a snapshot of the daemon.
type Read func(ctx context.Context) (*control.Snapshot, error)

// patience is how long a snapshot may take: a scrape is for seconds, a daemon answers in microseconds.
const patience = 3 * time.Second

// Collector turns snapshots into metrics.
type Collector struct {
	read         Read
	version      string
	descriptions []*prometheus.Desc
	families     []metric
	// unread describes a snapshot that could not be had.
	unread *prometheus.Desc

	mu sync.Mutex
	// idle are pages that no scrape uses: as many as there were scrapes at a time, at most maxScrapes.
	idle []*page
}

// NewCollector makes one. What it keeps from scrape to scrape are names and labels, never a value.
func NewCollector(read Read, version string) *Collector {
	c := &Collector{read: read, version: version, unread: prometheus.NewDesc("clockd_snapshot", "The daemon's snapshot.", nil, nil)}
	for _, m := range families() {
		var d *prometheus.Desc
		if m.name != "" {
			d = prometheus.NewDesc(m.name, m.help, m.labels, nil)
		}
		c.descriptions, c.families = append(c.descriptions, d), append(c.families, m)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descriptions {
		if d != nil {
			out <- d
		}
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	// A page of its own: nobody says when the metrics are no longer read.
	p := newPage(c.families)
	if err := c.walk(p); err != nil {
		out <- prometheus.NewInvalidMetric(c.unread, err)
		return
	}
	for f := range p.families {
		for _, m := range p.families[f].Metric {
			out <- &sample{c.descriptions[f], m}
		}
	}
}

// Gather implements prometheus.TransactionalGatherer: the same as a registry's that the collector is in, without handing each of
// thousands of series from one goroutine to another, making them anew, and checking again what the tests check. What it returns is
// good until done is called.
func (c *Collector) Gather() (list []*dto.MetricFamily, done func(), err error) {
	p := c.take()
	done = func() { c.giveBack(p) }
	if err := c.walk(p); err != nil {
		return nil, done, err
	}
	return p.list(), done, nil
}

func (c *Collector) take() *page {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		p := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return p
	}
	return newPage(c.families)
}

func (c *Collector) giveBack(p *page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) < maxScrapes {
		c.idle = append(c.idle, p)
	}
}

// walk takes a snapshot and writes down what is known.
func (c *Collector) walk(p *page) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	p.begin()
	w := &writer{c, p}
	w.clock(s)
	w.properties(s)
	w.group(s)
	w.ntp(s.Status.Server)
	w.daemon(s)
	w.influx(s.Status.Influx)
	w.systemClock(s.Status.SystemClock)
	w.leap(s.Status.Leap)
	names := unique{}
	for i := range s.Sources.Sources {
		w.source(&s.Sources.Sources[i], names)
	}
	if s.Status.Group != nil {
		names = unique{}
		for i := range s.Status.Group.Peers {
			w.peer(&s.Status.Group.Peers[i], names)
		}
	}
	p.end()
	return nil
}

// writer writes what is known.
type writer struct {
	c    *Collector
	page *page
}

func (w *writer) put(f family, x float64, labels ...string) {
	if !math.IsNaN(x) && !math.IsInf(x, 0) { // else nothing is known
		w.page.put(f, x, labels)
	}
}

// sample is one series of one scrape, for a registry.
type sample struct {
	description *prometheus.Desc
	metric      *dto.Metric
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.description }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label, out.Gauge, out.Counter = s.metric.Label, s.metric.Gauge, s.metric.Counter
	return nil
}

func (w *writer) known(f family, x *float64, labels ...string) {
	if x != nil {
		w.put(f, *x, labels...)
	}
}

func (w *writer) truth(f family, x bool, labels ...string) {
	if x {
		w.put(f, 1, labels...)
		return
	}
	w.put(f, 0, labels...)
}

func (w *writer) code(f family, c reason.Code, labels ...string) {
	if c != reason.OK {
		w.put(f, 1, append(labels, c.String())...)
	}
}

// counts writes counters by reason code. Those of usual are there from the start, as 0, so that their first increase is seen as one.
func (w *writer) counts(f family, n map[string]uint64, usual []string, labels ...string) {
	own := append(make([]string, 0, 3), labels...)
	for _, code := range usual {
		w.put(f, float64(n[code]), append(own, code)...)
	}
	var rare []string
	for code := range n {
		if !slices.Contains(usual, code) {
			rare = append(rare, code)
		}
	}
	slices.Sort(rare)
	for _, code := range rare {
		w.put(f, float64(n[code]), append(own, code)...)
	}
}

func (w *writer) clock(s *control.Snapshot) {
	t := s.Status
	for _, x := range []virtualclock.Status{virtualclock.Unsynchronised, virtualclock.Disrupted, virtualclock.Holdover, virtualclock.Synchronised} {
		w.truth(clockStatus, t.Status == x, x.String())
	}
	for _, kind := range []string{control.KindExternal, control.KindInternal} {
		w.truth(clockKind, t.Kind == kind, kind)
	}
	w.code(clockReason, t.Reason)
	w.known(clockBound, t.BoundS)
	w.put(clockMaxBound, t.MaxBoundS)
	w.known(clockCorrection, s.CorrectionS)
	w.known(clockRate, ppm(t.RatePPM))
	w.known(clockRateDeviation, ppm(t.RateStdPPM))
	w.truth(clockSlewing, t.Slewing)
	if s.CorrectionS != nil {
		w.put(clockSlewLeft, t.SlewLeftS)
	}
	w.put(clockEpoch, float64(t.Epoch))
	w.put(clockSteps, float64(t.Steps))
	w.known(clockSampleAge, t.LastSampleAgeS)
	if t.Status == virtualclock.Holdover {
		w.known(clockHoldover, t.LastSampleAgeS)
	}
	if t.Stratum != nil {
		w.put(clockStratum, float64(*t.Stratum))
	}
	next := math.Inf(1)
	for i := range s.Sources.Sources {
		next = min(next, max(s.Sources.Sources[i].NextPollS, 0))
	}
	w.put(clockNextPoll, next)
	w.counts(clockReports, t.Reports, w.page.codes.clock)
	n := t.Sources
	w.put(sourcesCount, float64(n.Configured), "configured")
	w.put(sourcesCount, float64(n.Answering), "answering")
	w.put(sourcesCount, float64(n.Used), "used")
	w.put(sourcesCount, float64(n.False), "false")
	w.put(sourcesMaxFalse, float64(n.MaxFalse))
}

// ppm returns a ratio.
func ppm(x *float64) *float64 {
	if x == nil {
		return nil
	}
	y := *x / 1e6
	return &y
}

func (w *writer) properties(s *control.Snapshot) {
	t := s.Status
	if t.Counter.Hertz > 0 {
		w.put(propertyGranularity, 1/t.Counter.Hertz)
	}
	w.known(propertyRate, s.RateBound)
	if t.Kind == control.KindExternal {
		w.known(propertyAccuracy, t.BoundS)
	}
	if g := t.Group; g != nil {
		w.known(propertyPrecision, g.SpreadS)
		w.known(propertyPrecisionBound, g.PrecisionBoundS)
		w.known(propertyUTC, g.ToUTCS)
		if g.EpsilonS != nil && *g.EpsilonS > 0 {
			w.put(propertyReadingError, *g.EpsilonS)
		}
	} else {
		w.put(propertyReadingError, narrowest(s.Sources.Sources))
	}
	if p := s.Promised; p != nil {
		w.promised(p)
	}
}

func (w *writer) promised(p *agreement.Guarantee) {
	if !(p.Contraction < 1) {
		return // nothing is promised
	}
	w.put(propertyConvergenceBound, p.Convergence)
	w.put(propertyAccuracyBound, p.Accuracy)
	w.put(propertyEnvelopeBound, p.EnvelopeRate)
}

// narrowest returns the smallest half-width of a source that is used, +Inf if there is none.
func narrowest(list []control.Source) float64 {
	best := math.Inf(1)
	for i := range list {
		if x := &list[i]; x.Reason == reason.OK && x.LowS != nil && x.HighS != nil {
			best = min(best, (*x.HighS-*x.LowS)/2)
		}
	}
	return best
}

func (w *writer) group(s *control.Snapshot) {
	name := s.GroupName
	if name == "" {
		name = "none"
	}
	w.put(groupInfo, 1, name)
	g := s.Status.Group
	if g == nil {
		return
	}
	for x := agreement.Init; x <= agreement.Holdover; x++ {
		w.truth(groupStatus, g.Status == x, x.String())
	}
	w.code(groupReason, g.Reason)
	w.put(groupMembers, float64(g.Members))
	w.put(groupFaults, float64(g.Faults))
	w.put(groupRounds, float64(g.Rounds))
	w.put(groupSkipped, float64(g.Skipped))
	if g.Rounds == 0 {
		return // no round, nothing to say of the last one
	}
	used := 1
	for i := range g.Peers {
		if g.Peers[i].Used {
			used++
		}
	}
	w.put(groupUsed, float64(used))
	w.put(groupMargin, float64(g.Margin))
	w.put(groupAdjustment, g.AdjustmentS)
}

func (w *writer) ntp(s *control.Server) {
	if s == nil {
		return
	}
	w.put(ntpRequests, float64(s.Requests))
	w.put(ntpAnswers, float64(s.Answers))
	w.put(ntpInterleaved, float64(s.InterleavedAnswers))
	w.put(ntpAuthenticated, float64(s.AuthenticatedAnswers))
	w.put(ntpNTS, float64(s.NTSAnswers))
	w.counts(ntpDrops, s.Rejected, w.page.codes.request)
	if n := s.NTS; n != nil {
		w.put(ntsExchanges, float64(n.Exchanges))
		w.counts(ntsDrops, n.Rejected, w.page.codes.exchange)
	}
}

func (w *writer) daemon(s *control.Snapshot) {
	w.put(daemonBuild, 1, w.c.version, runtime.Version())
	w.put(daemonUptime, s.Status.UptimeS)
	w.put(daemonReloads, float64(s.Status.Config.Reloads))
	w.put(daemonTroubles, float64(len(s.Status.Trouble)))
	w.truth(daemonStamps, s.KernelStamps)
}

func (w *writer) systemClock(s *control.SystemClock) {
	if s == nil {
		return
	}
	for _, state := range []string{control.SystemClockWaiting, control.SystemClockFollowing, control.SystemClockHolding, control.SystemClockRefused} {
		x := 0.0
		if s.State == state {
			x = 1
		}
		w.put(systemState, x, state)
	}
	w.put(systemReason, 1, s.Reason.String())
	w.known(systemOffset, s.OffsetS)
	if s.FrequencyPPM != nil {
		w.put(systemFrequency, *s.FrequencyPPM*1e-6)
	}
	if s.SlewPPM != nil {
		w.put(systemSlew, *s.SlewPPM*1e-6)
	}
	w.known(systemMaxError, s.MaxErrorS)
	w.known(systemEstError, s.EstErrorS)
	w.put(systemUpdates, float64(s.Updates))
	w.put(systemSteps, float64(s.Steps))
	w.put(systemStepped, s.SteppedS)
	w.put(systemContested, float64(s.Contested))
}

func (w *writer) leap(s *control.Leap) {
	if s == nil {
		return
	}
	if s.ExpiresNS != nil {
		w.put(leapTableExpiry, float64(*s.ExpiresNS)*1e-9)
	}
	if s.TAIOffsetS != nil {
		w.put(leapTAI, float64(*s.TAIOffsetS))
	}
	if s.NextNS != nil {
		w.put(leapNext, float64(*s.NextNS)*1e-9)
	}
}

func (w *writer) influx(s *control.Influx) {
	if s == nil {
		return
	}
	w.put(influxWritten, float64(s.Written))
	w.counts(influxDropped, s.Dropped, w.page.codes.export)
	w.put(influxRetries, float64(s.Retries))
	w.put(influxWaiting, float64(s.BufferedPoints), "memory")
	w.put(influxWaiting, float64(s.SpooledPoints), "spool")
	w.put(influxWaitingBytes, float64(s.BufferedBytes), "memory")
	w.put(influxWaitingBytes, float64(s.SpooledBytes), "spool")
	w.known(influxWriteAge, s.LastWriteAgeS)
	w.known(influxErrorAge, s.LastErrorAgeS)
}

// of returns a source's family; a peer's is the next.
func of(party int) family { return partyFamilies + family(2*party) }

func (w *writer) source(s *control.Source, names unique) {
	name := names.name(s.Name)
	w.known(of(partyOffset), s.OffsetS, name)
	w.known(of(partyOffsetDeviation), s.OffsetStdS, name)
	if s.LowS != nil && s.HighS != nil {
		w.put(of(partyHalfWidth), (*s.HighS-*s.LowS)/2, name)
	}
	w.known(of(partyDelay), s.DelayS, name)
	w.known(of(partyMinDelay), s.MinDelayS, name)
	w.known(of(partyJitter), s.JitterS, name)
	w.known(of(partyRate), ppm(s.RatePPM), name)
	w.put(of(partyReach), float64(bits.OnesCount8(s.Reach)), name)
	if s.Received > 0 {
		w.truth(of(partyInterleaved), s.Interleaved, name)
	}
	w.truth(of(partyAuthenticated), s.Key != "", name)
	w.truth(of(partyUsed), s.Reason == reason.OK && s.Weight > 0, name)
	w.truth(of(partySelected), s.Selected, name)
	w.put(of(partyWeight), s.Weight, name)
	if s.Stratum != nil {
		w.put(of(partyStratum), float64(*s.Stratum), name)
	}
	w.known(of(partyServerError), s.ServerErrorS, name)
	w.known(of(partyDistance), s.DistanceS, name)
	w.known(of(partySampleAge), s.LastSampleAgeS, name)
	w.put(of(partyPoll), s.PollS, name)
	w.put(of(partyNextPoll), max(s.NextPollS, 0), name)
	if s.Received > 0 {
		w.put(of(partyStamp), 1, name, s.TransmitStamp, s.ReceiveStamp)
	}
	w.code(of(partyReason), s.Reason, name)
	usual := w.page.codes.source
	if s.NTS != nil {
		usual = slices.Concat(usual, w.page.codes.nts)
	}
	w.counts(of(partyRejections), s.Rejections, usual, name)
	w.code(of(partyLastRejection), s.LastRejection, name)
	w.put(of(partySent), float64(s.Sent), name)
	w.put(of(partyReceived), float64(s.Received), name)
	if n := s.NTS; n != nil {
		w.put(of(partyNTSExchanges), float64(n.Exchanges), name)
		w.put(of(partyNTSCookies), float64(n.Cookies), name)
	}
}

func (w *writer) peer(p *control.Peer, names unique) {
	const next = 1
	name := names.name(p.Name)
	w.known(of(partyOffset)+next, p.OffsetS, name)
	w.known(of(partyHalfWidth)+next, p.ErrorS, name)
	w.known(of(partyMinDelay)+next, p.DelayS, name)
	w.known(of(partyJitter)+next, p.JitterS, name)
	w.put(of(partyReach)+next, float64(bits.OnesCount8(p.Reach)), name)
	if p.Received > 0 {
		w.put(of(partyInterleaved)+next, 0, name) // peers stamp with the counter itself, and tell
	}
	w.truth(of(partyAuthenticated)+next, p.Key != "", name)
	w.truth(of(partyUsed)+next, p.Used, name)
	w.put(of(partyPoll)+next, p.PollS, name)
	if p.Received > 0 {
		w.put(of(partyStamp)+next, 1, name, p.TransmitStamp, p.ReceiveStamp)
	}
	w.code(of(partyReason)+next, p.Reason, name)
	w.counts(of(partyRejections)+next, p.Rejections, w.page.codes.peer, name)
	w.code(of(partyLastRejection)+next, p.LastRejection, name)
	w.put(of(partySent)+next, float64(p.Sent), name)
	w.put(of(partyReceived)+next, float64(p.Received), name)
	if p.Status != nil {
		w.put(of(partyStatus)+next, 1, name, p.Status.String())
	}
}

// unique keeps names apart and legal: one bad name must not cost the whole scrape.
type unique map[string]bool

func (u unique) name(s string) string {
	s = strings.ToValidUTF8(s, "?")
	free := s
	for n := 2; u[free]; n++ {
		free = fmt.Sprintf("%s#%d", s, n)
	}
	u[free] = true
	return free
}
