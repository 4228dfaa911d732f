package daemon

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/eventlog"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/metrics/influx"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// measurements reads what an event log says was measured.
func measurements(t *testing.T, path string) (list []node.Measurement) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Action struct{ Measurement *node.Measurement }
		}
		if strings.Contains(lines.Text(), `"measured"`) {
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatal(err)
			}
			list = append(list, *l.Action.Measurement)
		}
	}
	return list
}

// A real InfluxDB takes a real daemon's points, dies, and is back after the daemon itself was restarted: it has every exchange that
// the daemon's event log has, to the nanosecond, and none twice. The clock did not notice.
func TestInfluxDBHasEveryExchange(t *testing.T) {
	testkit.NoLeaks(t)
	server := testkit.StartInfluxd(t, testkit.InfluxdOptions{})
	reference := launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	events, spool := filepath.Join(dir, "events"), filepath.Join(dir, "spool")
	document := followerDocument(reference.served[0].String(), fmt.Sprintf(
		"[log]\nevents = %q\n[influx]\nurl = %q\nbucket = \"clockd\"\nhost = \"h\"\nevery = \"1s\"\nflush = \"50ms\"\nspool = %q\n", events, server.URL(), spool))
	options := Options{Config: parse(t, dir, document), Counter: skewed(t, 25)}
	first := launch(t, options)
	first.reach(virtualclock.Synchronised)
	testkit.WaitFor(t, time.Minute, "points to be written", func() bool { x := first.status().Influx; return x.Written > 40 && x.SpooledPoints < 20 })
	server.Kill()
	testkit.WaitFor(t, time.Minute, "the outage to be told", func() bool {
		s := first.status()
		return len(s.Trouble) == 1 && strings.HasPrefix(s.Trouble[0], "InfluxDB: ") && s.Influx.SpooledPoints > 20
	})
	if s := first.status(); s.Status != virtualclock.Synchronised || len(s.Influx.Dropped) > 0 {
		t.Errorf("the clock is %v, %+v", s.Status, s.Influx)
	}
	first.stop()
	log := measurements(t, events)
	second := launch(t, options)
	second.reach(virtualclock.Synchronised)
	server.Start()
	testkit.WaitFor(t, 2*time.Minute, "what waits to be written", func() bool { x := second.status().Influx; return x.Written > 60 && x.SpooledPoints < 20 })
	if s := second.status(); len(s.Trouble) != 0 {
		t.Errorf("trouble %v", s.Trouble)
	}
	second.stop()
	log = append(log, measurements(t, events)...)
	drain(t, server, spool)
	record, err := os.Open(events)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := eventlog.Replay(record); err != nil || r.Difference != nil {
		t.Errorf("the record is not replayed: %+v, %v", r, err)
	}
	_ = record.Close()
	compare(t, log, server.Query(`SELECT offset_s, status, kind, reason FROM clockd_exchange WHERE source != ''`)[0].Rows)
	for _, m := range []string{influx.MeasurementClock, influx.MeasurementProperties, influx.MeasurementSource, influx.MeasurementEvent} {
		if len(server.Query("SELECT * FROM "+m)) == 0 {
			t.Errorf("there is no %s", m)
		}
	}
	if n := len(server.Query(`SELECT bound_s, text FROM clockd_event WHERE topic = 'clock' AND reason = 'ok' AND time_from = 'virtual_clock'`)); n == 0 {
		t.Error("nothing says that the clock was synchronised")
	}
}

// drain sends what a daemon left in its spool.
func drain(t *testing.T, server *testkit.Influxd, spool string) {
	t.Helper()
	w := influx.New(influx.Options{Target: influx.Target{URL: server.URL(), Bucket: testkit.InfluxdDatabase}, Spool: spool})
	defer w.Close()
	testkit.WaitFor(t, time.Minute, "the rest", func() bool {
		files, err := filepath.Glob(filepath.Join(spool, "*.lp"))
		return err == nil && len(files) == 0 && w.Status().SpooledPoints == 0
	})
}

// compare finds each measurement among the points, and the other way round.
func compare(t *testing.T, log []node.Measurement, rows []map[string]any) {
	t.Helper()
	want, last := map[string]int{}, map[string][2]int64{}
	offsets := 0
	for _, m := range log {
		// One event can end two exchanges for one reason, at one reading: their points are put one nanosecond apart (docs/influxdb.md).
		at, series := m.Time.UnixNano(), fmt.Sprintln(m.Kind, m.Reason.String())
		given := at
		if x := last[series]; x[0] <= at && at <= x[1] {
			given = x[1] + 1
		}
		last[series] = [2]int64{at, given}
		if m.OffsetKnown {
			offsets++
		}
		want[fmt.Sprintln(given, m.Kind, m.Reason.String(), m.Status)]++
	}
	for _, row := range rows {
		if row["offset_s"] != nil {
			offsets--
		}
		key := fmt.Sprintln(row["time"], row["kind"], row["reason"], row["status"])
		if want[key]--; want[key] < 0 {
			t.Errorf("the point %s is there and should not be", key)
		}
	}
	for key, n := range want {
		if n > 0 {
			t.Errorf("the point %s is missing", key)
		}
	}
	if len(rows) != len(log) || len(log) < 80 || offsets != 0 {
		t.Errorf("%d exchanges were measured, InfluxDB has %d; %d offsets are missing", len(log), len(rows), offsets)
	}
	t.Logf("%d exchanges, all of them in InfluxDB, at their nanosecond", len(log))
}

// A reload begins, changes and ends it.
func TestInfluxFollowsTheConfiguration(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	document := "[local]\nstratum = 3\n"
	r := launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, 0)})
	if r.status().Influx != nil {
		t.Error("nobody asked for it")
	}
	section := func(bucket string) func() (*config.Config, error) {
		c := parse(t, dir, document+fmt.Sprintf("[influx]\nurl = \"http://127.0.0.1:%d\"\nbucket = %q\nspool = %q\nevery = \"1s\"\n",
			testkit.FreeUDPPort(t), bucket, filepath.Join(dir, "spool")))
		return func() (*config.Config, error) { return c, nil }
	}
	a := section("a")
	r.reloadWith(a)
	testkit.WaitFor(t, patience20, "points to wait", func() bool { x := r.status().Influx; return x != nil && x.SpooledPoints > 0 })
	before := r.status().Influx
	r.reloadWith(a)
	if x := r.status().Influx; x.Retries < before.Retries || x.SpooledPoints < before.SpooledPoints {
		t.Errorf("a section that stays is begun anew: %+v, %+v", before, x)
	}
	r.reloadWith(section("b"))
	testkit.WaitFor(t, patience20, "the spool to be taken over", func() bool {
		x := r.status().Influx
		return x.Bucket == "b" && x.SpooledPoints > 0 && !strings.Contains(x.Trouble, "another daemon")
	})
	r.reloadWith(func() (*config.Config, error) { return parse(t, dir, document), nil })
	if r.status().Influx != nil {
		t.Error("it goes on")
	}
}

// sending is a daemon of which nothing runs but the writer.
func sending(t testing.TB) *daemon {
	t.Helper()
	c := config.Influx{URL: "http://127.0.0.1:1", Bucket: "b", Every: config.Duration(time.Hour), Host: "h", Flush: config.Duration(10 * time.Millisecond)}
	d := &daemon{config: &config.Config{Influx: &c}, counter: skewed(t, 0)}
	o, err := Options{Config: d.config}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d.log = o.Log
	d.openInflux()
	t.Cleanup(d.influx.writer.Close)
	return d
}

func someMeasurement() *node.Measurement {
	s := hw.Stamp{At: 1000, Error: 3, Kind: hw.StampKernel}
	at := virtualclock.Unix(1_800_000_000_000_000_000, 0)
	return &node.Measurement{Source: 1, Kind: node.MeasuredInterleaved, Reason: reason.OK, Time: at, ClockSet: true, Status: virtualclock.Synchronised, Bound: 1e-4,
		Known: true, RawOffset: 0.1, HalfWidth: 1e-4, Delay: 1e-4, OffsetKnown: true, Depart: s, Arrive: s, DepartTime: at, ArriveTime: at, Receive: at, Transmit: at, Stratum: 1}
}

// What the loop does for an exchange allocates nothing, whether there is room or not.
func TestSendingAnExchangeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d, m := sending(t), someMeasurement()
	// The writer's own goroutine takes them meanwhile: what it allocates for a batch is not much either.
	if n := testing.AllocsPerRun(20000, func() { d.sendExchange(m) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkSendExchange(b *testing.B) {
	d, m := sending(b), someMeasurement()
	b.ReportAllocs()
	for b.Loop() {
		d.sendExchange(m)
	}
}
