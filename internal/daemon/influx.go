package daemon

import (
	crand "crypto/rand"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/metrics/influx"
	"github.com/clockd/clockd/virtualclock"
)

// exporter sends what the node measures to InfluxDB. It belongs to the loop; the writer never makes it wait.
type exporter struct {
	writer *influx.Writer
	every  time.Duration
	next   time.Time
	// exchange is used again and again.
	exchange influx.Exchange
	// news are reports of the present event, told when its publication is known.
	news []news
}

type news struct {
	report node.Report
	name   string
}

// influxTarget is where a section says that points go.
func influxTarget(c *config.Influx) influx.Target {
	return influx.Target{URL: c.URL, Org: c.Org, Bucket: c.Bucket, TokenFile: c.TokenFile, CAFile: c.CAFile}
}

// openInflux starts to send points, or stops, as the configuration says.
func (d *daemon) openInflux() {
	d.retireInflux()
	c := d.config.Influx
	if c == nil {
		return
	}
	host := c.Host
	if host == "" {
		host, _ = os.Hostname()
	}
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // it never fails
	d.influx = &exporter{every: c.Every.Duration(), writer: influx.New(influx.Options{
		Target: influxTarget(c), Host: host, Batch: c.Batch, Flush: c.Flush.Duration(), Buffer: int64(c.Buffer), Spool: c.Spool,
		SpoolLimit: int64(c.SpoolLimit), Jitter: rand.New(rand.NewChaCha8(seed)).Float64, Log: d.log,
	})}
	d.log.Info("InfluxDB", "url", c.URL, "org", c.Org, "bucket", c.Bucket, "host", host, "spool", c.Spool)
}

// retireInflux lets a writer that is not wanted any more send what it has, without waiting for it.
func (d *daemon) retireInflux() {
	if d.influx != nil {
		d.retired.Go(d.influx.writer.Close)
		d.influx = nil
	}
}

// sendState sends what the node knows, if it is time.
func (d *daemon) sendState(now time.Time) {
	if d.influx == nil || now.Before(d.influx.next) {
		return
	}
	d.influx.next = now.Add(d.influx.every)
	s := d.node.Snapshot(d.now())
	at := influx.Instant{
		UnixNano: s.Raw.UnixNano(), Status: s.Interval.Status, Internal: s.Publication.Clock.Kind == virtualclock.Internal, Bound: s.Bound,
	}
	if s.Steps > 0 {
		at.ClockSet, at.UnixNano = true, s.Time.UnixNano()
	}
	d.influx.writer.Snapshot(d.snapshot(&s), at)
}

// sendExchange sends one exchange.
func (d *daemon) sendExchange(m *node.Measurement) {
	if d.influx == nil {
		return
	}
	name := ""
	if s := d.slot(m.Source); s != nil {
		name = s.name
	}
	x := &d.influx.exchange
	none := math.NaN()
	*x = influx.Exchange{
		At:    influx.Instant{UnixNano: m.Time.UnixNano(), ClockSet: m.ClockSet, Status: m.Status, Bound: m.Bound, Internal: m.Internal},
		Party: name, Peer: m.Peer, Kind: m.Kind.String(), Reason: m.Reason, Stratum: m.Stratum,
		Offset: none, RawOffset: none, HalfWidth: none, Delay: none, ServerErr: none, DepartError: none, ArriveError: none,
	}
	if m.Known {
		x.RawOffset, x.HalfWidth, x.Delay = m.RawOffset, m.HalfWidth, m.Delay
	}
	if m.OffsetKnown {
		x.Offset = m.Offset
	}
	if m.Kind != node.MeasuredNothing {
		if !m.Peer {
			x.ServerErr = m.ServerError
		}
		x.T1, x.T2 = m.DepartTime.UnixNano(), m.Receive.UnixNano()
		x.DepartError, x.TransmitStamp = d.stampError(m.Depart), m.Depart.Kind.String()
	}
	if m.Kind == node.MeasuredBasic || m.Kind == node.MeasuredInterleaved {
		x.T3, x.T4 = m.Transmit.UnixNano(), m.ArriveTime.UnixNano()
		x.ArriveError, x.ReceiveStamp = d.stampError(m.Arrive), m.Arrive.Kind.String()
	}
	d.influx.writer.Exchange(x)
}

func (d *daemon) stampError(s hw.Stamp) float64 { return d.seconds(int64(s.Error)) }

// noteNews keeps a report that matters to whoever looks at the series: what single packets suffer is in the exchanges.
func (d *daemon) noteNews(r *node.Report, name string) {
	if d.influx == nil || r.Topic == "packet" {
		return
	}
	d.influx.news = append(d.influx.news, news{*r, name})
}

// sendNews sends the reports of an event, at the time of the clock that the event has led to.
func (d *daemon) sendNews(now hw.Ticks) {
	if d.influx == nil || len(d.influx.news) == 0 {
		return
	}
	k := &d.published.Clock
	at := influx.Instant{UnixNano: d.beganTime.AddSeconds(d.seconds(now.Sub(d.beganAt))).UnixNano(), Status: k.Status}
	if k.Slew.Period != 0 {
		i, t := k.Interval(now), k.Time(now)
		at = influx.Instant{UnixNano: t.UnixNano(), ClockSet: true, Status: i.Status, Bound: i.Bound(t), Internal: k.Kind == virtualclock.Internal}
	}
	for i := range d.influx.news {
		x := &d.influx.news[i]
		status := x.report.Status
		if x.report.Topic != "clock" {
			status = at.Status
		}
		d.influx.writer.Event(&influx.Event{
			At: at, Topic: x.report.Topic, Party: x.name, Reason: x.report.Reason, Status: status, Value: x.report.Value,
		})
	}
	d.influx.news = d.influx.news[:0]
}
