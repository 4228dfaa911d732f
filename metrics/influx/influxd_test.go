package influx

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
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

func target(i *testkit.Influxd) Target { return Target{URL: i.URL(), Bucket: testkit.InfluxdDatabase} }

// wait waits until a writer has written so many points.
func wait(t *testing.T, w *Writer, points int) {
	t.Helper()
	testkit.WaitFor(t, time.Minute, fmt.Sprintf("%d points to be written", points), func() bool { return w.Status().Written >= uint64(points) })
}

// Numbers, texts, truths and nanoseconds come back from a real server as they were, and what is not known is not there.
func TestPointsComeBackFromInfluxDB(t *testing.T) {
	testkit.NoLeaks(t)
	i := testkit.StartInfluxd(t, testkit.InfluxdOptions{User: "u", Password: "p"})
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("u:wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := target(i)
	to.TokenFile = token
	w := New(Options{Target: to, Host: `a host, with "all" = \`, Flush: 10 * time.Millisecond})
	defer w.Close()
	x := testExchange(7)
	x.Party, x.Delay, x.HalfWidth, x.T2 = "näme, with = signs \n", math.NaN(), math.Inf(1), 0
	w.Exchange(x)
	testkit.WaitFor(t, time.Minute, "the wrong password to be told", func() bool { return w.Status().Retries > 0 })
	if s := w.Status(); s.Written != 0 || len(s.Dropped) != 0 || s.BufferedPoints != 1 {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(token, []byte("u:p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
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

// The server goes away, points come meanwhile, the writer's program ends and another goes on: all points are there, once.
func TestNothingIsLostOverAnOutage(t *testing.T) {
	testkit.NoLeaks(t)
	i := testkit.StartInfluxd(t, testkit.InfluxdOptions{})
	for _, spooled := range []bool{false, true} {
		t.Run(fmt.Sprintf("spool %t", spooled), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(testkit.Seed(t), 1))
			o := Options{Target: target(i), Host: fmt.Sprint(spooled), Flush: 10 * time.Millisecond, Batch: 100, pauses: quick, Jitter: rng.Float64}
			if spooled {
				o.Spool = filepath.Join(t.TempDir(), "spool")
			}
			w := New(o)
			n := 0
			more := func(count int) {
				for range count {
					w.Exchange(testExchange(n))
					if n++; n%500 == 0 {
						time.Sleep(20 * time.Millisecond)
					}
				}
			}
			more(1000)
			wait(t, w, 1000)
			i.Kill()
			more(3000)
			testkit.WaitFor(t, time.Minute, "the outage to be told", func() bool { return w.Status().Trouble != "" })
			if spooled {
				w.Close()
				if s := w.Status(); s.SpooledPoints != 3000 || len(s.Dropped) != 0 {
					t.Fatalf("%+v", s)
				}
				w = New(o)
				more(1000)
			}
			i.Start()
			testkit.WaitFor(t, 2*time.Minute, "all to be written", func() bool {
				s := w.Status()
				return s.BufferedPoints+s.SpooledPoints == 0 && i.Count(MeasurementExchange, "status") >= 0 && countHost(t, i, o.Host) >= int64(n)
			})
			w.Close()
			if s := w.Status(); len(s.Dropped) != 0 || s.Trouble != "" {
				t.Errorf("%+v", s)
			}
			want := map[string]bool{}
			for k := range n {
				want[fmt.Sprint(testExchange(k).At.UnixNano)] = true
			}
			rows := i.Query(fmt.Sprintf("SELECT status FROM clockd_exchange WHERE host = '%t'", spooled))[0].Rows
			for _, row := range rows {
				delete(want, row["time"].(json.Number).String())
			}
			if len(rows) != n || len(want) != 0 {
				t.Errorf("%d points were taken, %d are there, %d are missing", n, len(rows), len(want))
			}
		})
	}
}

func countHost(t *testing.T, i *testkit.Influxd, host string) int64 {
	t.Helper()
	r := i.Query(fmt.Sprintf("SELECT count(status) FROM clockd_exchange WHERE host = '%s'", host))
	if len(r) == 0 {
		return 0
	}
	n, err := r[0].Rows[0]["count"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What a real server refuses is dropped with its reason, and takes nothing else with it.
func TestARealServerRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	i := testkit.StartInfluxd(t, testkit.InfluxdOptions{MaxBody: 20_000})
	w := New(Options{Target: target(i), Host: "h", Flush: 10 * time.Millisecond})
	defer w.Close()
	i.Query("CREATE DATABASE other")
	c, err := newClient(Target{URL: i.URL(), Bucket: "clockd"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if d, err := c.deliver(t.Context(), fmt.Appendf(nil, "clockd_exchange,host=x offset_s=\"a text\" %d\n", base)); err != nil || d.written != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	for n := range 500 { // 400 bytes each: more than one request may have
		w.Exchange(testExchange(n))
	}
	testkit.WaitFor(t, time.Minute, "all to be dealt with", func() bool { s := w.Status(); return s.Written+total(s.Dropped) == 500 })
	// offset_s is a text by now: every point that has one is refused.
	if s := w.Status(); s.Dropped["export_refused"] != 500 || s.LastError == "" {
		t.Errorf("%+v", s)
	}
	i.Query("DROP MEASUREMENT clockd_exchange")
	for n := range 500 {
		w.Exchange(testExchange(n))
	}
	wait(t, w, 500)
	w.Close()
	if n := countHost(t, i, "h"); n != 500 {
		t.Errorf("%d points of 500", n)
	}
	// A data base that is not there is waited for.
	missing, err := newClient(Target{URL: i.URL(), Bucket: "missing"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer missing.close()
	if _, err := missing.deliver(t.Context(), []byte("m f=1 1\n")); err == nil {
		t.Error("a data base that is not there takes points")
	}
}
