package influx

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const base = int64(1_800_000_000_000_000_000)

// testExchange is the n-th of a life.
func testExchange(n int) *Exchange {
	return &Exchange{
		At:    Instant{UnixNano: base + int64(n)*1_000_000_007, ClockSet: true, Status: virtualclock.Synchronised, Bound: 1e-4},
		Party: "ntp.example.org", Kind: "basic", Reason: reason.OK, Offset: 1e-6 * float64(n%100), RawOffset: 0.25, HalfWidth: 2e-4, Delay: 3e-4, ServerErr: 1e-5,
		T1: base + int64(n)*1_000_000_007 - 300_000, T2: base, T3: base + 1, T4: base + int64(n)*1_000_000_007, DepartError: 1e-8, ArriveError: 2e-8,
		TransmitStamp: "kernel", ReceiveStamp: "kernel", Stratum: 2,
	}
}

// quick are pauses for a test.
var quick = [2]time.Duration{20 * time.Millisecond, 200 * time.Millisecond}

// wait waits until a writer has written so many points.
func wait(t *testing.T, w *Writer, points int) {
	t.Helper()
	testkit.WaitFor(t, time.Minute, fmt.Sprintf("%d points to be written", points), func() bool { return w.Status().Written >= uint64(points) })
}

// One real server for all, since each start of it takes seconds: points come back, an outage loses nothing, refusals have reasons.
func TestInfluxDB(t *testing.T) {
	testkit.NoLeaks(t)
	i := testkit.StartInfluxd(t, testkit.InfluxdOptions{User: "u", Password: "p", MaxBody: 20_000})
	to := Target{URL: i.URL(), Bucket: testkit.InfluxdDatabase, TokenFile: filepath.Join(t.TempDir(), "token")}
	t.Run("points come back", func(t *testing.T) { pointsComeBack(t, i, to) })
	t.Run("outage", func(t *testing.T) { outage(t, i, to) })
	t.Run("refusals", func(t *testing.T) { refusals(t, i, to) })
}

func writeToken(t *testing.T, to Target, token string) {
	t.Helper()
	if err := os.WriteFile(to.TokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Numbers, texts and nanoseconds come back as they were, and what is not known is not there. A password that was wrong is read again.
func pointsComeBack(t *testing.T, i *testkit.Influxd, to Target) {
	writeToken(t, to, "u:wrong\n")
	w := New(Options{Target: to, Host: `a host, with "all" = \`, Flush: 10 * time.Millisecond, pauses: quick})
	defer w.Close()
	x := testExchange(7)
	x.Party, x.Delay, x.HalfWidth, x.T2 = "näme, with = signs \n", math.NaN(), math.Inf(1), 0
	w.Exchange(x)
	testkit.WaitFor(t, time.Minute, "the wrong password to be told", func() bool { return w.Status().Retries > 0 })
	if s := w.Status(); s.Written != 0 || len(s.Dropped) != 0 || s.BufferedPoints != 1 || !strings.Contains(s.LastError, "401") {
		t.Errorf("%+v", s)
	}
	writeToken(t, to, "u:p\n")
	wait(t, w, 1)
	r := i.Query(`SELECT * FROM clockd_exchange`)
	if len(r) != 1 || len(r[0].Rows) != 1 {
		t.Fatalf("%+v", r)
	}
	row := r[0].Rows[0]
	for name, want := range map[string]any{
		"time": json.Number(fmt.Sprint(x.At.UnixNano)), "host": `a host, with "all" = \ `, "source": "näme, with = signs  ", "kind": "basic", "reason": "ok",
		"offset_s": json.Number("0.000007"), "t1_ns": json.Number(fmt.Sprint(x.T1)), "t3_ns": json.Number(fmt.Sprint(x.T3)), "bound_s": json.Number("0.0001"),
		"time_from": FromClock, "status": "synchronised", "transmit_stamp": "kernel", "stratum": json.Number("2"),
	} {
		if row[name] != want {
			t.Errorf("%s is %v, want %v", name, row[name], want)
		}
	}
	for _, name := range []string{"delay_s", "half_width_s", "t2_ns", "group_bound_s"} {
		if v, there := row[name]; there && v != nil {
			t.Errorf("%s is %v, and was not known", name, v)
		}
	}
}

// The server goes away, points come meanwhile, one writer's program ends and another goes on, one keeps all in memory: all points are
// there, once.
func outage(t *testing.T, i *testkit.Influxd, to Target) {
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	jitter := []float64{rng.Float64(), rng.Float64()}
	options := func(host, spool string) Options {
		return Options{Target: to, Host: host, Flush: 10 * time.Millisecond, Batch: 30, pauses: quick, Spool: spool, Jitter: func() float64 { return jitter[len(spool)%2] }}
	}
	kept, spooled := options("memory", ""), options("disk", filepath.Join(t.TempDir(), "spool"))
	a, b := New(kept), New(spooled)
	n := 0
	more := func(count int) {
		for range count {
			a.Exchange(testExchange(n))
			b.Exchange(testExchange(n))
			if n++; n%200 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	more(1000)
	wait(t, a, 1000)
	wait(t, b, 1000)
	i.Kill()
	more(2000)
	testkit.WaitFor(t, time.Minute, "the outage to be told", func() bool { return a.Status().Trouble != "" && b.Status().Trouble != "" })
	b.Close()
	if s := b.Status(); s.SpooledPoints != 2000 || len(s.Dropped) != 0 {
		t.Fatalf("%+v", s)
	}
	b = New(spooled)
	more(1000)
	i.Start()
	wait(t, a, n)
	wait(t, b, 3000)
	a.Close()
	b.Close()
	for _, w := range []*Writer{a, b} {
		if s := w.Status(); len(s.Dropped) != 0 || s.Trouble != "" || s.BufferedPoints+s.SpooledPoints+s.SpooledBytes != 0 {
			t.Errorf("%+v", s)
		}
	}
	for _, host := range []string{"memory", "disk"} {
		want := map[string]bool{}
		for k := range n {
			want[fmt.Sprint(testExchange(k).At.UnixNano)] = true
		}
		rows := i.Query(fmt.Sprintf("SELECT status FROM clockd_exchange WHERE host = '%s'", host))[0].Rows
		for _, row := range rows {
			delete(want, row["time"].(json.Number).String())
		}
		if len(rows) != n || len(want) != 0 {
			t.Errorf("%s: %d points were taken, %d are there, %d are missing", host, n, len(rows), len(want))
		}
	}
}

// What a real server refuses is dropped with its reason, and takes nothing else with it; what is too long for it is cut.
func refusals(t *testing.T, i *testkit.Influxd, to Target) {
	c, err := newClient(to, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var l Lines
	for n := range 200 { // 40 kB, twice what a request may have
		l.Start("m")
		l.Float("x", float64(n))
		l.Text("long", strings.Repeat("x", 180))
		l.End(base + int64(n))
	}
	if d, err := c.deliver(t.Context(), l.Bytes()); err != nil || d.written != 200 || d.lost != 0 || i.Count("m", "x") != 200 {
		t.Errorf("%+v, %v", d, err)
	}
	// x is a number in this shard: a text is refused, whatever stands beside it.
	mixed := fmt.Appendf(nil, "m x=1 %d\nm x=\"text\" %d\nm x=2 %d\nm x=\"text\" %d\n", base+1000, base+1001, base+1002, base+1003)
	if d, err := c.deliver(t.Context(), mixed); err != nil || d.written != 2 || d.dropped[reason.ExportRefused] != 2 || i.Count("m", "x") != 202 {
		t.Errorf("%+v, %v", d, err)
	}
	// One point alone that is too long.
	long := fmt.Appendf(nil, "m x=3 %d\nm long=\"%s\" %d\n", base+2000, strings.Repeat("x", 30_000), base+2001)
	if d, err := c.deliver(t.Context(), long); err != nil || d.written != 1 || d.dropped[reason.ExportTooLarge] != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := c.deliver(t.Context(), fmt.Appendf(nil, "m x=4 %d\nthis is nothing\nm x=5 %d\n", base+3000, base+3001)); err != nil || d.written != 2 || d.lost != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	// A data base that is not there is waited for.
	to.Bucket = "missing"
	missing, err := newClient(to, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer missing.close()
	var wait *waitError
	if _, err := missing.deliver(t.Context(), []byte("m f=1 1\n")); !errors.As(err, &wait) || !strings.Contains(err.Error(), "there is no such bucket") {
		t.Errorf("a data base that is not there: %v", err)
	}
}

// How many points a second InfluxDB takes, and what the writer holds of memory.
func BenchmarkInfluxd(b *testing.B) {
	i := testkit.StartInfluxd(b, testkit.InfluxdOptions{})
	for _, spooled := range []bool{false, true} {
		b.Run(fmt.Sprintf("spool=%t", spooled), func(b *testing.B) {
			o := Options{Target: Target{URL: i.URL(), Bucket: testkit.InfluxdDatabase}, Host: fmt.Sprint(b.Name(), b.N), Flush: 10 * time.Millisecond}
			if spooled {
				o.Spool = filepath.Join(b.TempDir(), "spool")
			}
			w := New(o)
			defer w.Close()
			n := 0
			for b.Loop() {
				for len(w.queue) == cap(w.queue) || n%1000 == 0 && w.Status().BufferedPoints+w.Status().SpooledPoints > 8_000 {
					time.Sleep(100 * time.Microsecond)
				}
				w.Exchange(testExchange(n))
				n++
			}
			for w.Status().Written < uint64(n) {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "points/s")
			if s := w.Status(); len(s.Dropped) > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}
