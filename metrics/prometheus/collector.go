package promexport

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

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
}

// NewCollector makes one. It holds nothing of a snapshot after a scrape.
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
	err := c.walk(func(_ family, m *sample) { out <- m })
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.unread, err)
	}
}

// Gather implements prometheus.Gatherer: the same as a registry's that the collector is in, without handing each of thousands of
// series from one goroutine to another and checking again what the tests check.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	found := make([]*dto.MetricFamily, len(c.families))
	err := c.walk(func(f family, m *sample) {
		if found[f] == nil {
			kind := dto.MetricType_GAUGE
			if c.families[f].kind == counter {
				kind = dto.MetricType_COUNTER
			}
			found[f] = &dto.MetricFamily{Name: proto.String(c.families[f].name), Help: proto.String(c.families[f].help), Type: &kind}
		}
		_ = m.Write(&m.metric) // it never fails
		found[f].Metric = append(found[f].Metric, &m.metric)
	})
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(f *dto.MetricFamily) bool { return f == nil })
	slices.SortFunc(found, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return found, nil
}

// walk takes a snapshot and hands out what is known.
func (c *Collector) walk(emit func(family, *sample)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	w := &writer{c, emit, map[[2]string]*dto.LabelPair{}}
	w.clock(s)
	w.properties(s)
	w.group(s.Status.Group)
	w.ntp(s.Status.Server)
	w.daemon(s)
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
	return nil
}

// writer writes what is known.
type writer struct {
	c     *Collector
	emit  func(family, *sample)
	pairs map[[2]string]*dto.LabelPair
}

func (w *writer) put(f family, x float64, labels ...string) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return // nothing is known
	}
	names := w.c.families[f].labels
	m := &sample{description: w.c.descriptions[f], kind: w.c.families[f].kind, value: x, labels: make([]*dto.LabelPair, 0, len(names))}
	for i, name := range names {
		if i < len(labels) {
			m.labels = append(m.labels, w.pair(name, labels[i]))
		}
	}
	w.emit(f, m)
}

// pair returns a label. The pairs of one scrape are shared by its thousands of series.
func (w *writer) pair(name, value string) *dto.LabelPair {
	key := [2]string{name, value}
	p := w.pairs[key]
	if p == nil {
		p = &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)}
		w.pairs[key] = p
	}
	return p
}

// sample is one series of one scrape; prometheus.NewConstMetric makes the same at several times the cost.
type sample struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       float64
	labels      []*dto.LabelPair
	// What Write hands out, here to be allocated at once.
	metric  dto.Metric
	gauge   dto.Gauge
	counter dto.Counter
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.description }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	if s.kind == counter {
		s.counter.Value = &s.value
		out.Counter = &s.counter
	} else {
		s.gauge.Value = &s.value
		out.Gauge = &s.gauge
	}
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

func (w *writer) counts(f family, n map[string]uint64, labels ...string) {
	for code, x := range n {
		w.put(f, float64(x), append(labels[:len(labels):len(labels)], code)...)
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
	w.counts(clockReports, t.Reports)
	n := t.Sources
	for state, x := range map[string]int{"configured": n.Configured, "answering": n.Answering, "used": n.Used, "false": n.False} {
		w.put(sourcesCount, float64(x), state)
	}
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

func (w *writer) group(g *control.Group) {
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
	w.counts(ntpDrops, s.Rejected)
	if n := s.NTS; n != nil {
		w.put(ntsExchanges, float64(n.Exchanges))
		w.counts(ntsDrops, n.Rejected)
	}
}

func (w *writer) daemon(s *control.Snapshot) {
	w.put(daemonBuild, 1, w.c.version, runtime.Version())
	w.put(daemonUptime, s.Status.UptimeS)
	w.put(daemonReloads, float64(s.Status.Config.Reloads))
	w.put(daemonTroubles, float64(len(s.Status.Trouble)))
	w.truth(daemonStamps, s.KernelStamps)
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
	w.counts(of(partyRejections), s.Rejections, name)
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
	w.truth(of(partyAuthenticated)+next, p.Key != "", name)
	w.truth(of(partyUsed)+next, p.Used, name)
	w.put(of(partyPoll)+next, p.PollS, name)
	if p.Received > 0 {
		w.put(of(partyStamp)+next, 1, name, p.TransmitStamp, p.ReceiveStamp)
	}
	w.code(of(partyReason)+next, p.Reason, name)
	w.counts(of(partyRejections)+next, p.Rejections, name)
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
