package influx

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
)

// Options is what a Writer is told. Zero values are the defaults.
type Options struct {
	Target
	// Host is the tag of that name.
	Host string
	// Batch is how many points are sent at once, Flush how long they wait at most for each other.
	Batch int
	Flush time.Duration
	// Buffer is how many bytes of points are kept in memory while the server is away. Spool is a directory where they are kept instead;
	// SpoolLimit how many bytes it may have.
	Buffer     int64
	Spool      string
	SpoolLimit int64
	// Jitter returns random numbers from 0 to 1: hosts that lost the same server must not come back all at once.
	Jitter func() float64
	Log    *slog.Logger
	// Transport is for tests, as are the first and the last pause after failures.
	Transport http.RoundTripper
	pauses    [2]time.Duration
}

// The defaults of Options.
const (
	DefaultBatch      = 1000
	DefaultFlush      = time.Second
	DefaultBuffer     = 8 << 20
	DefaultSpoolLimit = 256 << 20
)

const (
	// queueLength is how many records may wait for the encoder: an event of the daemon's loop gives a few, the encoder takes a
	// microsecond for each.
	queueLength = 2048
	// maxBatchBytes bounds a request, and what is held of a spool in memory.
	maxBatchBytes = 512 << 10
	// A failed batch is tried again after firstPause, and then after twice as long each time, up to lastPause.
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	// farewell is how long the last points may take when the writer ends: shorter where the spool keeps them.
	farewell        = 2 * time.Second
	farewellSpooled = 200 * time.Millisecond
)

func (o Options) withDefaults() Options {
	if o.Batch <= 0 {
		o.Batch = DefaultBatch
	}
	if o.Flush <= 0 {
		o.Flush = DefaultFlush
	}
	if o.Buffer <= 0 {
		o.Buffer = DefaultBuffer
	}
	if o.SpoolLimit <= 0 {
		o.SpoolLimit = DefaultSpoolLimit
	}
	if o.pauses == [2]time.Duration{} {
		o.pauses = [2]time.Duration{firstPause, lastPause}
	}
	if o.Jitter == nil {
		o.Jitter = func() float64 { return 0.5 }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o
}

// record is what waits for the encoder: one of the three.
type record struct {
	exchange Exchange
	snapshot *control.Snapshot
	event    *Event
	at       Instant
}

// Writer takes what a daemon measures, and writes it in batches. The methods that take something never wait and allocate nothing: what
// there is no room for is counted and dropped. All methods but Close may be called from any goroutine.
type Writer struct {
	options Options
	queue   chan record
	stats   stats
	store   *store
	ending  chan struct{}
	// ctx ends when what is not written by then is given up, or left to the spool.
	ctx     context.Context
	abandon context.CancelFunc
	gather  sync.WaitGroup
	send    sync.WaitGroup
	once    sync.Once
}

// New starts a writer. Nothing that is wrong with the server, the files or the disk is an error: it is told by Status, and tried again.
func New(o Options) *Writer {
	o = o.withDefaults()
	w := &Writer{options: o, queue: make(chan record, queueLength), ending: make(chan struct{})}
	w.ctx, w.abandon = context.WithCancel(context.Background())
	w.store = newStore(&w.options, &w.stats)
	w.gather.Go(w.encode)
	w.send.Go(w.deliver)
	return w
}

func (w *Writer) offer(r *record) {
	select {
	case w.queue <- *r:
	default:
		w.stats.drop(reason.ExportBehind, 1)
	}
}

// Exchange takes one exchange.
func (w *Writer) Exchange(x *Exchange) { w.offer(&record{exchange: *x}) }

// Snapshot takes the daemon's state at an instant. It must not be changed afterwards.
func (w *Writer) Snapshot(s *control.Snapshot, at Instant) { w.offer(&record{snapshot: s, at: at}) }

// Event takes an event.
func (w *Writer) Event(x *Event) { w.offer(&record{event: x}) }

// Status returns what became of the points so far.
func (w *Writer) Status() *control.Influx {
	x := w.stats.status()
	x.URL, x.Org, x.Bucket = w.options.URL, w.options.Org, w.options.Bucket
	return x
}

// encode makes batches of what comes.
func (w *Writer) encode() {
	w.store.open()
	e := encoder{host: w.options.Host, last: map[series]newest{}}
	ticker := time.NewTicker(w.options.Flush)
	defer ticker.Stop()
	for {
		select {
		case r := <-w.queue:
			w.take(&e, &r)
		case <-ticker.C:
			w.seal(&e)
			w.store.open()
		case <-w.ending:
			for {
				select {
				case r := <-w.queue:
					w.take(&e, &r)
					continue
				default:
				}
				w.seal(&e)
				return
			}
		}
	}
}

func (w *Writer) take(e *encoder, r *record) {
	switch {
	case r.snapshot != nil:
		e.snapshot(r.snapshot, r.at)
	case r.event != nil:
		e.event(r.event)
	default:
		e.exchange(&r.exchange)
	}
	if e.lines.Count >= w.options.Batch || len(e.lines.Bytes()) >= maxBatchBytes {
		w.seal(e)
	}
}

// seal hands on the points that are encoded.
func (w *Writer) seal(e *encoder) {
	w.stats.drop(reason.ExportMalformed, int64(e.lines.Malformed))
	if e.lines.Count > 0 {
		w.store.add(batch{append([]byte(nil), e.lines.Bytes()...), int64(e.lines.Count)})
	}
	e.lines.Reset()
}

// deliver sends what waits, oldest first, until the writer ends.
func (w *Writer) deliver() {
	var c *client
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	for {
		if c == nil {
			var err error
			if c, err = newClient(w.options.Target, w.options.Transport); err != nil {
				if !w.pause(&waitError{err: err}) {
					return
				}
				continue
			}
		}
		t := w.store.take(maxBatchBytes)
		if !t.present {
			if !w.more() {
				return
			}
			continue
		}
		d, err := c.deliver(w.ctx, t.lines)
		if err == nil {
			w.sent(&d, w.store.done(t))
			continue
		}
		w.store.keep(t)
		if !w.retry(c, err) {
			return
		}
	}
}

// more waits for something to send; false: nothing will come any more.
func (w *Writer) more() bool {
	select {
	case <-w.store.more:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *Writer) sent(d *delivery, there bool) {
	before := w.stats.status().Trouble
	w.stats.wrote(d, there)
	switch {
	case d.lost > 0:
		w.options.Log.Warn("InfluxDB refuses points, which are dropped", "points", d.lost, "answer", d.why)
	case before != "":
		w.options.Log.Info("InfluxDB takes points again")
	}
}

// retry waits after a failure, shorter if that was mended already; false: the writer ends.
func (w *Writer) retry(c *client, err error) bool {
	var failure *waitError
	if !errors.As(err, &failure) {
		failure = &waitError{err: err}
	}
	if failure.token {
		changed, err := c.renew()
		if err != nil {
			failure = &waitError{err: err}
		}
		if changed { // the token was renewed in its file
			w.stats.failed(failure.err)
			return w.ctx.Err() == nil
		}
	}
	return w.pause(failure)
}

func (w *Writer) pause(failure *waitError) bool {
	if w.ctx.Err() != nil {
		return false
	}
	n := w.stats.failed(failure.err)
	if n == patience {
		w.options.Log.Warn("InfluxDB takes no points, trying again and again", "url", w.options.URL, "error", failure.err)
	}
	timer := time.NewTimer(max(backOff(w.options.pauses, n, w.options.Jitter()), failure.after))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.ending: // one more try, if there is time
		select {
		case <-timer.C:
			return true
		case <-w.ctx.Done():
			return false
		}
	}
}

// backOff is how long to wait after the n-th failure in a row: twice as long each time, less up to a half of it by chance.
func backOff(pauses [2]time.Duration, n int, jitter float64) time.Duration {
	pause := pauses[1]
	if n < 16 {
		pause = min(pauses[0]<<max(n-1, 0), pauses[1])
	}
	return pause - time.Duration(jitter*float64(pause/2))
}

// Close takes what was offered before, sends as much as can be sent in two seconds, leaves the rest to the spool, and ends.
func (w *Writer) Close() {
	w.once.Do(func() {
		limit := farewell
		if w.options.Spool != "" {
			limit = farewellSpooled
		}
		timer := time.AfterFunc(limit, w.abandon)
		defer timer.Stop()
		close(w.ending)
		w.gather.Wait()
		w.drain()
		w.abandon()
		w.send.Wait()
		lost, err := w.store.close()
		if lost > 0 {
			w.options.Log.Warn("points for InfluxDB are lost: it did not take them before the end, and there is no spool", "points", lost)
		}
		if err != nil {
			w.options.Log.Warn("the spool was not closed well", "error", err)
		}
	})
}

// drain waits until nothing waits, or the time is over.
func (w *Writer) drain() {
	for w.ctx.Err() == nil {
		if x := w.stats.status(); x.BufferedPoints+x.SpooledPoints == 0 {
			return
		}
		select {
		case <-w.ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}
