package promexport

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

const document = "../../docs/metrics.md"

func TestDocumentIsCurrent(t *testing.T) {
	if *update {
		if err := os.WriteFile(document, []byte(Document()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil || string(got) != Document() {
		t.Fatalf("%s is not what the code says (%v): run go generate ./metrics/prometheus", document, err)
	}
}

func pointer[T any](x T) *T { return &x }

// unknowing is a daemon that has just started: nothing is known.
func unknowing() *control.Snapshot {
	return &control.Snapshot{
		Status: &control.Status{Status: virtualclock.Unsynchronised, Reason: reason.NeverSynchronised, Kind: control.KindExternal, MaxBoundS: 0.1},
		Sources: &control.Sources{Sources: []control.Source{{Name: "a", Reason: reason.SourceWaiting, PollS: 16, NextPollS: -1,
			TransmitStamp: "none", ReceiveStamp: "none"}}},
	}
}

// full is a daemon of which all is known, with n sources and n peers.
func full(n int) *control.Snapshot {
	s := unknowing()
	t := s.Status
	t.Status, t.Reason, t.BoundS, t.RatePPM, t.RateStdPPM = virtualclock.Holdover, reason.Stale, pointer(0.002), pointer(-3.0), pointer(0.5)
	t.Stratum, t.Epoch, t.Steps, t.LastSampleAgeS, t.Slewing, t.SlewLeftS, t.UptimeS = pointer(uint8(2)), 3, 1, pointer(40.0), true, -0.001, 7
	t.Reports, t.Counter.Hertz = map[string]uint64{"stale": 2}, 1e9
	t.Sources = control.SourceCount{Configured: n, Answering: n, Used: n - 1, False: 1, MaxFalse: 1}
	t.Server = &control.Server{Requests: 9, Answers: 7, InterleavedAnswers: 2, AuthenticatedAnswers: 1, Rejected: map[string]uint64{"request_rate": 2},
		NTSAnswers: 3, NTS: &control.NTSServer{Exchanges: 2, Rejected: map[string]uint64{"key_exchange_rate": 1}}}
	t.Influx = &control.Influx{Written: 70, Retries: 2, Dropped: map[string]uint64{"export_buffer": 3}, BufferedPoints: 5, SpooledBytes: 6, LastWriteAgeS: pointer(8.0),
		LastErrorAgeS: pointer(9.0)}
	t.SystemClock = &control.SystemClock{State: control.SystemClockFollowing, OffsetS: pointer(-2e-6), SlewPPM: pointer(0.5), FrequencyPPM: pointer(-12.0),
		MaxErrorS: pointer(3e-4), EstErrorS: pointer(5e-6), Updates: 40, Steps: 1, SteppedS: -2.5}
	t.Leap = &control.Leap{ExpiresNS: pointer(int64(1_782_604_800e9)), TAIOffsetS: pointer(int32(37)), NextNS: pointer(int64(1_767_225_600e9)), Sign: 1}
	s.CorrectionS, s.KernelStamps, s.RateBound, s.GroupName = pointer(1.5), true, pointer(6e-5), "0a1b2c3d"
	s.Promised = &agreement.Guarantee{Contraction: 0.5, Convergence: 1e-4, Precision: 2e-4, EnvelopeRate: 1e-5, Accuracy: 1e-3}
	t.Group = &control.Group{Status: agreement.Sync, Members: n + 1, Faults: 1, Margin: -1, Rounds: 5, Skipped: 1, SpreadS: pointer(1e-4),
		PrecisionBoundS: pointer(2e-4), ToUTCS: pointer(1e-3), EpsilonS: pointer(5e-5), AdjustmentS: 1e-6, Reason: reason.TooFewPeers}
	s.Sources.Sources = nil
	for i := range n {
		s.Sources.Sources = append(s.Sources.Sources, control.Source{
			Name: fmt.Sprintf("source%d.example", i), Reach: 0b1011, PollS: 16, NextPollS: 3, Weight: 1 / float64(n), Selected: i == 0, Stratum: pointer(uint8(1)),
			OffsetS: pointer(1e-5), OffsetStdS: pointer(1e-6), LowS: pointer(-0.25), HighS: pointer(0.5), RatePPM: pointer(1.0), DelayS: pointer(1e-3),
			MinDelayS: pointer(9e-4), JitterS: pointer(1e-5), ServerErrorS: pointer(1e-5), DistanceS: pointer(0.1), LastSampleAgeS: pointer(2.0), Interleaved: true,
			Key: "identity", NTS: &control.NTS{Exchanges: 1, Cookies: 8}, TransmitStamp: "kernel", ReceiveStamp: "hardware", Sent: 8, Received: 7, LastRejection: reason.PacketLate,
			Rejections: map[string]uint64{"packet_late": 1, "packet_origin": 4}, Reason: map[bool]reason.Code{true: reason.SourceFalseticker}[i == n-1],
		})
		t.Group.Peers = append(t.Group.Peers, control.Peer{
			Name: fmt.Sprintf("peer%d", i), Reason: map[bool]reason.Code{true: reason.PeerSilent}[i == n-1], Used: i != n-1, OffsetS: pointer(1e-5), ErrorS: pointer(1e-5), DelayS: pointer(1e-3),
			JitterS: pointer(1e-6), Reach: 1, PollS: 1, Key: "k", TransmitStamp: "kernel", ReceiveStamp: "kernel", Sent: 3, Received: 2, Status: pointer(agreement.Sync),
			LastRejection: reason.PeerOutlier, Rejections: map[string]uint64{"peer_outlier": 3},
		})
	}
	return s
}

// scrape returns what Prometheus is told.
func scrape(t testing.TB, s *control.Snapshot, err error) (int, string) {
	t.Helper()
	h := Handler(func(context.Context) (*control.Snapshot, error) { return s, err }, "1.2", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestAllThatIsKnownIsShown(t *testing.T) {
	code, text := scrape(t, full(4), nil)
	if code != http.StatusOK {
		t.Fatal(code, text)
	}
	for _, m := range families() {
		if m.name != "" && !strings.Contains(text, "\n"+m.name+"{") && !strings.Contains(text, "\n"+m.name+" ") && !strings.HasPrefix(text, m.name) {
			t.Errorf("%s is nowhere", m.name)
		}
	}
	for _, line := range []string{
		`clockd_clock_status{status="holdover"} 1`, `clockd_clock_status{status="synchronised"} 0`, `clockd_clock_bound_seconds 0.002`,
		`clockd_clock_rate_correction_ratio -3e-06`, `clockd_clock_reason{reason="stale"} 1`, `clockd_clock_holdover_age_seconds 40`,
		`clockd_source_half_width_seconds{source="source1.example"} 0.375`, `clockd_source_reach{source="source0.example"} 3`,
		`clockd_source_rejections_total{source="source0.example",reason="packet_origin"} 4`, `clockd_source_reason{source="source3.example",reason="source_falseticker"} 1`,
		`clockd_source_used{source="source3.example"} 0`, `clockd_source_stamp_info{source="source0.example",transmit="kernel",receive="hardware"} 1`,
		`clockd_peer_last_rejection{peer="peer1",reason="peer_outlier"} 1`, `clockd_group_used_members 4`, `clockd_group_margin -1`,
		`clockd_ntp_drops_total{reason="request_rate"} 2`, `clockd_property_granularity_seconds 1e-09`, `clockd_property_convergence_bound_seconds 0.0001`,
		`clockd_influx_points_total 70`, `clockd_influx_dropped_points_total{reason="export_buffer"} 3`, `clockd_influx_waiting_points{place="memory"} 5`,
		`clockd_influx_waiting_bytes{place="spool"} 6`, `clockd_influx_last_write_age_seconds 8`,
		`clockd_system_clock_state{state="following"} 1`, `clockd_system_clock_state{state="refused"} 0`, `clockd_system_clock_offset_seconds -2e-06`,
		`clockd_system_clock_max_error_seconds 0.0003`, `clockd_system_clock_stepped_seconds -2.5`, `clockd_leap_tai_offset_seconds 37`,
		`clockd_leap_table_expiry_timestamp_seconds 1.7826048e+09`, `clockd_leap_next_timestamp_seconds 1.7672256e+09`,
		`clockd_sources{state="false"} 1`, `clockd_clock_next_poll_seconds 3`, `clockd_group_info{group="0a1b2c3d"} 1`,
		`clockd_source_rejections_total{source="source0.example",reason="kiss_rate"} 0`, `clockd_clock_reports_total{reason="no_majority"} 0`,
		`clockd_peer_interleaved{peer="peer0"} 0`, `clockd_ntp_drops_total{reason="request_denied"} 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if !strings.Contains(text, "go_goroutines") || !strings.Contains(text, "process_open_fds") {
		t.Error("the process and the Go runtime are missing")
	}
}

func TestWhatIsNotKnownHasNoSeries(t *testing.T) {
	_, text := scrape(t, unknowing(), nil)
	for _, absent := range []string{
		"clockd_clock_bound_seconds ", "clockd_clock_rate", "clockd_clock_correction", "clockd_clock_slew_remaining", "clockd_clock_last_sample", "clockd_clock_holdover_age",
		"clockd_clock_stratum", "clockd_property_precision", "clockd_property_accuracy", "clockd_property_reading_error", "clockd_property_convergence", "clockd_group_s", "clockd_group_m", "clockd_ntp_", "clockd_peer_", "clockd_influx_", "clockd_system_clock_", "clockd_leap_",
		"clockd_source_offset", "clockd_source_half_width", "clockd_source_delay", "clockd_source_jitter", "clockd_source_stratum", "clockd_source_stamp", "clockd_source_interleaved",
		"clockd_source_last_rejection", "clockd_property_rate", "clockd_source_rate", "clockd_source_server_error", "NaN", "+Inf",
	} {
		if strings.Contains(text, "\n"+absent) {
			t.Errorf("%s is shown by a daemon that knows nothing", absent)
		}
	}
	for _, present := range []string{`clockd_clock_status{status="unsynchronised"} 1`, `clockd_source_reason{source="a",reason="source_waiting"} 1`,
		`clockd_source_requests_total{source="a"} 0`, `clockd_clock_reason{reason="never_synchronised"} 1`} {
		if !strings.Contains(text, present) {
			t.Errorf("there is no %s", present)
		}
	}
	if !strings.Contains(text, `clockd_source_rejections_total{source="a",reason="packet_late"} 0`) || !strings.Contains(text, `clockd_group_info{group="none"} 1`) {
		t.Error("what is known to be 0 or none is missing")
	}
	// An INTERNAL clock proves nothing against true time, and a group whose model does not hold promises nothing.
	s := full(1)
	s.Status.Kind, s.Promised.Contraction = control.KindInternal, 1
	if _, text := scrape(t, s, nil); strings.Contains(text, "\nclockd_property_accuracy") || strings.Contains(text, "\nclockd_property_convergence") {
		t.Error("accuracy or convergence is claimed where nothing is known")
	}
}

func TestAFailedSnapshotFailsTheScrape(t *testing.T) {
	if code, text := scrape(t, nil, errors.New("busy")); code != http.StatusInternalServerError || strings.Contains(text, "go_goroutines") {
		t.Errorf("%d %s", code, text)
	}
}

func TestAStrangeNameDoesNotCostTheScrape(t *testing.T) {
	s := full(3)
	s.Sources.Sources[0].Name, s.Sources.Sources[1].Name, s.Sources.Sources[2].Name = "a\xff\"\n", "a\xff\"\n", "a?\"\n#2"
	code, text := scrape(t, s, nil)
	if code != http.StatusOK || strings.Count(text, "\nclockd_source_weight_ratio{") != 3 {
		t.Errorf("%d %s", code, text)
	}
}

// A registry that checks everything finds nothing wrong, and the same series as the quick way.
func TestAPedanticRegistryAgrees(t *testing.T) {
	for name, s := range map[string]*control.Snapshot{"full": full(5), "unknowing": unknowing()} {
		c := NewCollector(func(context.Context) (*control.Snapshot, error) { return s, nil }, "1.2")
		r := prometheus.NewPedanticRegistry()
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
		checked, err := r.Gather()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		quick, done, err := c.Gather()
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		if a, b := lines(t, checked), lines(t, quick); !slices.Equal(a, b) {
			t.Errorf("%s: the registry has %d lines, the quick way %d:\n%v\n%v", name, len(a), len(b), a, b)
		}
	}
}

// lines are the exposition's, sorted.
func lines(t *testing.T, list []*dto.MetricFamily) []string {
	t.Helper()
	b := &bytes.Buffer{}
	for _, f := range list {
		for _, m := range f.GetMetric() {
			slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
		}
		if _, err := expfmt.MetricFamilyToText(b, f); err != nil {
			t.Fatal(err)
		}
	}
	out := strings.Split(b.String(), "\n")
	slices.Sort(out)
	return out
}

// A page is used again: nothing of the scrape before may be on it, and it must not grow with all the sources that ever were.
func TestNothingOfTheScrapeBeforeIsLeft(t *testing.T) {
	s := full(3)
	c := NewCollector(func(context.Context) (*control.Snapshot, error) { return s, nil }, "1.2")
	text := func() []string {
		list, done, err := c.Gather()
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		return lines(t, list)
	}
	first := text()
	for i := range 40 {
		s = full(3)
		for j := range s.Sources.Sources {
			s.Sources.Sources[j].Name = fmt.Sprintf("gone%d-%d", i, j)
		}
		text()
	}
	if p := c.idle[0]; len(c.idle) != 1 || len(p.known) > 2*p.written {
		t.Errorf("%d pages; %d series are kept for a scrape of %d", len(c.idle), len(p.known), p.written)
	}
	s = unknowing()
	fresh := NewCollector(func(context.Context) (*control.Snapshot, error) { return s, nil }, "1.2")
	want, done, err := fresh.Gather()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if got := text(); !slices.Equal(got, lines(t, want)) {
		t.Error("a daemon that has begun anew shows what it showed before")
	}
	if s = full(3); !slices.Equal(text(), first) {
		t.Error("the same snapshot gives other series")
	}
}

// Scrapes at a time do not share a page, and a failed one does not lose its.
func TestScrapesAtATime(t *testing.T) {
	s := full(20)
	fail := false
	read := func(context.Context) (*control.Snapshot, error) {
		if fail {
			return nil, errors.New("busy")
		}
		return s, nil
	}
	h := Handler(read, "1.2", nil)
	get := func() string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		a, _, _ := strings.Cut(w.Body.String(), "# HELP go_")
		return a
	}
	want := get()
	fail = true
	if got := get(); strings.Contains(got, "clockd_clock_status{") {
		t.Error(got)
	}
	fail = false
	var all sync.WaitGroup
	for range maxScrapes {
		all.Go(func() {
			for range 10 {
				if got := get(); got != want {
					t.Error("two scrapes of one snapshot differ")
				}
			}
		})
	}
	all.Wait()
}

func TestSeriesAreBoundedByTheConfiguration(t *testing.T) {
	count := func(n int) int {
		_, text := scrape(t, full(n), nil)
		return strings.Count(text, "\nclockd_")
	}
	a, b, c := count(2), count(3), count(4)
	if c-b != b-a || b-a > 2*int(partyCount)+len(newCodes().source)+len(newCodes().peer) {
		t.Errorf("%d, %d and %d series for 2, 3 and 4 sources and peers", a, b, c)
	}
}

func TestPromtoolHasNothingToSay(t *testing.T) {
	promtool := testkit.RequireTool(t, "promtool")
	for name, s := range map[string]*control.Snapshot{"full": full(3), "unknowing": unknowing()} {
		_, text := scrape(t, s, nil)
		c := exec.Command(promtool, "check", "metrics")
		c.Stdin = strings.NewReader(text)
		if out, err := c.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// BenchmarkScrape100 is one scrape of a host with 100 sources.
func BenchmarkScrape100(b *testing.B) {
	s := full(100)
	s.Status.Group = nil
	h := Handler(func(context.Context) (*control.Snapshot, error) { return s, nil }, "1.2", nil)
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
	// On a busy machine the wall time is the others'.
	b.ReportMetric(float64(processorTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
}

func processorTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
