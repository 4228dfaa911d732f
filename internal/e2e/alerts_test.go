package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// town is a master, a group of four that follows it, and four clients, all scraped by one Prometheus.
type town struct {
	*prometheus
	t      *testing.T
	master *citizen
	group  []*citizen
	// cut has a poor oscillator and loses its source; jumper's source jumps; torn has three sources that part; bare gets a kernel
	// without packet stamps.
	cut, jumper, torn, bare *citizen
	// store takes the points of the group's first member.
	store *testkit.Influxd
}

// citizen is a host, what it is scraped as, and the cables to its sources.
type citizen struct {
	*host
	port   int
	cables []*testkit.Proxy
	parts  []string
}

func (c *citizen) instance() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

// settle configures and starts it.
func (c *citizen) settle(parts ...string) {
	c.t.Helper()
	c.parts = append(parts, fmt.Sprintf("[http]\nlisten = [\"127.0.0.1:%d\"]\n", c.port))
	c.configure(c.parts...)
	c.start()
}

// again starts it anew as it was.
func (c *citizen) again() {
	c.t.Helper()
	c.configure(c.parts...)
	c.start()
}

func newCitizen(t *testing.T) *citizen {
	t.Helper()
	return &citizen{host: newShippedHost(t), port: testkit.FreeUDPPort(t)}
}

// client is one with that many sources, each at the end of a cable of its own.
func newClient(t *testing.T, master string, sources int, more ...string) *citizen {
	t.Helper()
	c := newCitizen(t)
	for range sources {
		cable := testkit.ShiftProxy(t, master, 0)
		c.cables = append(c.cables, cable)
		more = append(more, fastSource(cable.Address()))
	}
	c.settle(more...)
	return c
}

// townGroup is what the members have in common. Busy machines read each other badly: the promise is wide.
const townGroup = "[agreement]\nperiod = \"800ms\"\nreading_error = \"5ms\"\npoll = \"100ms\"\ntimeout = \"90ms\"\ndrift_bound = \"400ppm\"\n" +
	"gain = 0.25\nexternal_error = \"20ms\"\n"

// member is the configuration of the i-th member: with its own counter, if one is given.
func member(hosts []*citizen, publics, addresses []string, master string, i int, counter string) []string {
	parts := []string{
		fmt.Sprintf("[counter]\nsource = %q\ndrift_bound = \"100ppm\"\n[identity]\nkey_file = %q\n", counter, filepath.Join(hosts[i].dir, "identity")),
		listening(addresses[i]), townGroup, fastSource(master),
	}
	for j := range hosts {
		if j != i {
			parts = append(parts, fmt.Sprintf("[[peer]]\nname = \"h%d\"\naddress = %q\npublic_key = %q\n", j+1, addresses[j], publics[j]))
		}
	}
	return parts
}

// newTown builds it and waits until all is well.
func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t, master: newCitizen(t)}
	ntp := freeAddress(t, 1)
	w.master.settle("[local]\nstratum = 3\n", listening(ntp))
	w.master.up()
	w.settleGroup(ntp)
	w.cut = newClient(t, ntp, 1, "[counter]\ndrift_bound = \"5000ppm\"\n[clock]\nmax_bound = \"60ms\"\n")
	w.jumper, w.torn, w.bare = newClient(t, ntp, 1), newClient(t, ntp, 3), newClient(t, ntp, 1)
	var ports []int
	for _, c := range w.all() {
		c.up()
		c.reach(virtualclock.Synchronised)
		ports = append(ports, c.port)
	}
	w.prometheus = startPrometheus(t, ports...)
	testkit.WaitFor(t, patience, "all clocks to be seen, all well", func() bool {
		return len(w.query(`clockd_clock_status{status="synchronised"} == 1`, "status")) == len(ports) && len(w.firing()) == 0 &&
			len(w.query("instance:clockd_bound_of_limit:ratio", "")) == len(ports) && len(w.query("clockd_uptime_seconds > 6", "")) == len(ports)
	})
	return w
}

// ill is what the last member's counter becomes: five percent fast, where a hundredth of a percent is promised.
const ill = "skewed(auto,ppm=50000)"

func (w *town) settleGroup(ntp string) {
	w.t.Helper()
	var publics, addresses []string
	for i := range 4 {
		c := newCitizen(w.t)
		key := c.command("keygen", "--out", filepath.Join(c.dir, "identity"))
		if key.code != exitOK {
			w.t.Fatalf("clockd keygen: %s%s", key.out, key.err)
		}
		w.group, publics, addresses = append(w.group, c), append(publics, strings.TrimSpace(key.out)), append(addresses, freeAddress(w.t, byte(2+i)))
	}
	w.store = testkit.StartInfluxd(w.t, testkit.InfluxdOptions{})
	for i, c := range w.group {
		parts := member(w.group, publics, addresses, ntp, i, fmt.Sprintf("skewed(auto,ppm=%d)", 20*i-30))
		if i == 0 {
			parts = append(parts, fmt.Sprintf("[influx]\nurl = %q\nbucket = %q\nevery = \"1s\"\n", w.store.URL(), testkit.InfluxdDatabase))
		}
		c.settle(parts...)
	}
}

func (w *town) all() []*citizen {
	return append(append([]*citizen{w.master}, w.group...), w.cut, w.jumper, w.torn, w.bare)
}

// fires waits until an alert fires on that host.
func (w *town) fires(c *citizen, alert string) {
	w.t.Helper()
	testkit.WaitFor(w.t, patience, alert+" to fire", func() bool { return slices.Contains(w.firing(), c.instance()+" "+alert) })
}

// clears waits until nothing fires on those hosts.
func (w *town) clears(list ...*citizen) {
	w.t.Helper()
	testkit.WaitFor(w.t, patience, "the alerts to clear", func() bool {
		for _, alert := range w.firing() {
			for _, c := range list {
				if strings.HasPrefix(alert, c.instance()+" ") {
					return false
				}
			}
		}
		return true
	})
}

// A real Prometheus scrapes nine real daemons. Each of the alerts fires when a daemon is brought into what it warns of, on that
// daemon and on no bystander, and clears when the daemon is out of it. Every query of every panel of the dashboards, with their variables
// filled in, is answered: all at once while all is well, those about trouble while there is some.
func TestAlertsFireAndPanelsShowThem(t *testing.T) {
	t.Parallel()
	testkit.RequireTool(t, "prometheus")
	testkit.RequireTool(t, "influxd")
	w := newTown(t)
	began := time.Now()
	s := &survey{p: w.prometheus}
	common := map[string]string{"job": "clockd", "__rate_interval": "4s", "__interval": "1s"}
	for name, host := range map[string]string{"fleet.json": ".+", "host.json": w.group[0].instance()} {
		common["host"], common["group"] = host, ".+"
		for _, q := range questions(t, name, common) {
			if q.trouble { // on whichever host
				q.expr = strings.ReplaceAll(q.expr, `instance=~"`+host+`"`, `instance=~".+"`)
			}
			s.open = append(s.open, q)
		}
	}
	asked := len(s.open)
	s.healthy(t)
	t.Logf("%d queries; of %d about trouble there is no answer while all is well (%v)", asked, len(s.open), time.Since(began))
	stop := make(chan struct{})
	fired := map[string]bool{}
	done := s.watch(stop, func() {
		for _, alert := range w.firing() {
			fired[alert] = true
		}
	})
	t.Run("troubles", func(t *testing.T) {
		for name, trouble := range map[string]func(*town){
			"bound too wide, unsynchronised": troubleCut, "disrupted": troubleJump, "falseticker majority": troubleTorn,
			"stamps degraded": troubleBare, "InfluxDB not written": troubleStore, "precision bound broken, too few peers, scrape gone": troubleGroup,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				own := *w
				own.prometheus, own.t = &prometheus{t, w.at}, t
				trouble(&own)
				t.Logf("after %v", time.Since(began))
			})
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fired in all: %v\nstill fire: %v\nthese do not answer: %v", slices.Sorted(maps.Keys(fired)), w.firing(), w.query("up == 0", ""))
		}
	})
	testkit.WaitFor(t, patience, "all to be well again", func() bool {
		return len(w.query("up == 1", "")) == len(w.all()) && len(w.firing()) == 0
	})
	close(stop)
	<-done
	for _, q := range s.silent(true) {
		t.Errorf("no answer, in all the trouble: %s", q)
	}
	w.blame(fired)
	http.DefaultClient.CloseIdleConnections()
}

// blame looks at all that ever fired: what a host's own trouble does not explain is a false alarm.
func (w *town) blame(fired map[string]bool) {
	const gone, unsynchronised, disrupted, majority, few = "ClockdScrapeGone", "ClockdUnsynchronised", "ClockdDisrupted", "ClockdFalsetickerMajority", "ClockdTooFewPeers"
	explained := map[*citizen][]string{
		w.cut: {"ClockdBoundTooWide", unsynchronised}, w.bare: {"ClockdStampsDegraded", gone},
		// What they proved is contradicted, so they begin anew.
		w.jumper: {disrupted, majority, unsynchronised, gone}, w.torn: {majority, disrupted, unsynchronised},
		w.group[0]: {few, "ClockdInfluxNotWritten"}, w.group[1]: {few}, w.group[2]: {gone, few},
		// Five percent are too much for the kernel's stamps too: they do not fit the counter.
		w.group[3]: {gone, few, "ClockdPrecisionBoundBroken", "ClockdStampsDegraded", disrupted, unsynchronised, majority, "ClockdBoundTooWide"},
	}
	for _, c := range w.all() {
		for alert := range fired {
			if at, name, _ := strings.Cut(alert, " "); at == c.instance() && !slices.Contains(explained[c], name) {
				w.t.Errorf("%s fired at %s, and nothing was wrong with it", name, filepath.Base(c.dir))
			}
		}
	}
}

// troubleCut: the source falls silent, and the bound grows with the oscillator's promise.
func troubleCut(w *town) {
	w.cut.cables[0].Cut(true)
	w.fires(w.cut, "ClockdBoundTooWide")
	w.fires(w.cut, "ClockdUnsynchronised")
	if bound := w.query(fmt.Sprintf("clockd_clock_bound_seconds{instance=%q}", w.cut.instance()), ""); len(bound) != 0 {
		w.t.Errorf("a clock that guarantees nothing has a bound: %v", bound)
	}
	w.cut.cables[0].Cut(false)
	w.clears(w.cut)
}

// troubleJump: the source is set by 100 s, so that the clock must be set too. Its configuration is read again before.
func troubleJump(w *town) {
	if err := w.jumper.Signal(syscall.SIGHUP); err != nil {
		w.t.Error(err)
	}
	w.jumper.cables[0].SetShift(100 * time.Second)
	w.fires(w.jumper, "ClockdDisrupted")
	w.clears(w.jumper)
	// Then its counter leaves out two seconds, as after a pause of a virtual machine.
	w.jumper.terminate()
	w.jumper.parts = append([]string{"[counter]\nsource = \"skewed(auto,jump=2s@9s)\"\n"}, w.jumper.parts...)
	w.jumper.again()
	w.fires(w.jumper, "ClockdDisrupted")
	if out := w.jumper.Output(); !strings.Contains(out, reason.HostSuspended.String()) && !strings.Contains(out, reason.Contradiction.String()) {
		w.t.Error("it was not the counter that was seen to jump") // by the clock beside it, or by what a source proves: whichever is first
	}
	w.clears(w.jumper)
}

// troubleTorn: three sources part, by a second each.
func troubleTorn(w *town) {
	w.torn.cables[0].SetShift(time.Second)
	testkit.WaitFor(w.t, patience, "the false source to be named", func() bool {
		return len(w.query(fmt.Sprintf("clockd_source_falseticker_distance_seconds{instance=%q}", w.torn.instance()), "source")) == 1
	})
	w.torn.cables[1].SetShift(-time.Second)
	w.fires(w.torn, "ClockdFalsetickerMajority")
	for _, cable := range w.torn.cables {
		cable.SetShift(0)
	}
	w.clears(w.torn)
}

// troubleBare: the daemon comes up on a kernel that stamps no packets, and then on this one again.
func troubleBare(w *town) {
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	w.bare.terminate()
	w.bare.wrap = []string{"/usr/bin/env", variableStampless + "=1", self}
	w.bare.again()
	w.fires(w.bare, "ClockdStampsDegraded")
	w.bare.terminate()
	w.bare.wrap = nil
	w.bare.again()
	w.clears(w.bare)
}

// troubleStore: InfluxDB goes away, and comes back.
func troubleStore(w *town) {
	w.store.Kill()
	w.fires(w.group[0], "ClockdInfluxNotWritten")
	w.store.Start()
	testkit.WaitFor(w.t, patience, "the alert to clear", func() bool { return !slices.Contains(w.firing(), w.group[0].instance()+" ClockdInfluxNotWritten") })
}

// troubleGroup: a member comes back with an oscillator that breaks what is promised of it, and is cured; then two members are gone.
func troubleGroup(w *town) {
	last := w.group[3]
	last.terminate()
	healthy := last.parts
	sick := slices.Clone(healthy)
	sick[0] = strings.Replace(sick[0], "skewed(auto,ppm=30)", ill, 1)
	if sick[0] == healthy[0] {
		w.t.Fatal("its counter is not the one that was to be replaced")
	}
	last.parts = sick
	last.again()
	w.fires(last, "ClockdPrecisionBoundBroken")
	last.terminate()
	last.parts = healthy
	last.again()
	w.clears(w.group[3])
	for _, c := range w.group[2:] {
		c.terminate()
	}
	for _, c := range w.group[2:] {
		w.fires(c, "ClockdScrapeGone")
	}
	for _, c := range w.group[:2] {
		w.fires(c, "ClockdTooFewPeers")
	}
	for _, c := range w.group[2:] {
		c.again()
	}
	w.clears(w.group...)
}
