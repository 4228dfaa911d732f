package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// ownDirectory makes the daemons' files go where the test can see that they are gone afterwards.
func ownDirectory(t *testing.T) (dir string) {
	t.Helper()
	// Not t.TempDir: its paths are long, and a control socket's must be short.
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	return dir
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// strictly decodes a line that may have no key that is not documented.
func strictly(t *testing.T, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in the line %s", err, text)
	}
}

// TestClocksThatDriftApartAreHeldTogether is the promise of `make run`: real daemons, real packets, the true counter.
func TestClocksThatDriftApartAreHeldTogether(t *testing.T) {
	testkit.NoLeaks(t)
	dir := ownDirectory(t)
	var out bytes.Buffer
	got, err := Run(context.Background(), Options{For: 13 * time.Second, JSON: true, Seed: testkit.Seed(t), Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("these files were left behind: %v", left)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last Summary
	strictly(t, lines[len(lines)-1], &last)
	if last.Kind != KindSummary || last.Samples != got.Samples || *last.AccuracyS != *got.AccuracyS {
		t.Errorf("the last line is not the summary that Run returned: %s", lines[len(lines)-1])
	}
	var seconds []Second
	for _, l := range lines[:len(lines)-1] {
		var s Second
		strictly(t, l, &s)
		if s.Kind != KindSecond || len(s.Hosts) != DefaultHosts {
			t.Fatalf("not a line of a second: %s", l)
		}
		seconds = append(seconds, s)
	}
	if len(seconds) < 6 {
		t.Fatalf("%d lines in 13 s", len(seconds))
	}
	if got.BoundViolations != 0 {
		t.Errorf("%d claims were violated: %s", got.BoundViolations, lines[len(lines)-1])
	}
	if got.Samples <= 500 || got.SynchronisedAfterS == nil || got.TimeTo100usS == nil || *got.TimeTo100usS < *got.SynchronisedAfterS {
		t.Errorf("too few samples, or never synchronised, or never close: %s", lines[len(lines)-1])
	}
	if *got.PrecisionS > 2**got.AccuracyS {
		t.Errorf("the precision %g is more than twice the accuracy %g, which the triangle forbids", *got.PrecisionS, *got.AccuracyS)
	}
	for i, h := range got.Hosts {
		var errs []float64
		for _, s := range seconds[len(seconds)-5:] {
			if e := s.Hosts[i].MaxErrorS; e != nil {
				errs = append(errs, *e)
			}
		}
		slices.Sort(errs)
		if len(errs) < 3 || errs[len(errs)/2] >= closeEnough {
			t.Errorf("the largest errors of %s in the last five seconds are %v", h.Name, errs)
		}
		// Without synchronisation it would have got here; that it did not is the whole point.
		if least := (leastPPM - sinePPM - 1) * 1e-6 * seconds[len(seconds)-1].ElapsedS; math.Abs(h.LeftAloneS) < least {
			t.Errorf("%s would have got only %g s off by itself, not %g s at least", h.Name, h.LeftAloneS, least)
		}
	}
	t.Logf("%s", lines[len(lines)-1])
}

// TestAnOscillatorBeyondItsDriftBoundIsCaught: the observer has teeth.
func TestAnOscillatorBeyondItsDriftBoundIsCaught(t *testing.T) {
	testkit.NoLeaks(t)
	dir := ownDirectory(t)
	var out bytes.Buffer
	o := Options{Hosts: 2, For: 5 * time.Second, Poll: time.Second, Out: &out}
	o.oscillator = func(i int) hw.Skew { return hw.Skew{PPM: []float64{20, 600}[i]} }
	got, err := Run(context.Background(), o)
	if !errors.Is(err, ErrViolated) {
		t.Fatalf("Run returned %v", err)
	}
	if honest, broken := got.Hosts[0], got.Hosts[1]; honest.BoundViolations != 0 || broken.BoundViolations == 0 || broken.WorstViolationS == nil {
		t.Errorf("violations of the honest host: %d, of the broken one: %d", honest.BoundViolations, broken.BoundViolations)
	}
	log, err := os.ReadFile(got.Logs)
	if err != nil || !strings.HasPrefix(got.Logs, dir) || !bytes.Contains(log, []byte("host=host2")) {
		t.Errorf("the daemons' logs cannot be read at %q: %v", got.Logs, err)
	}
	for _, want := range []string{"! host2: true time was outside of the claimed interval", got.Logs} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
}

func TestAnInterruptEndsWithTheSummary(t *testing.T) {
	testkit.NoLeaks(t)
	dir := ownDirectory(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out := &watcher{want: "after ", found: cancel}
	got, err := Run(ctx, Options{Hosts: 1, Out: out})
	if err != nil || got == nil || got.Samples == 0 || got.DurationS > 50 {
		t.Fatalf("Run returned %v, %v", got, err)
	}
	if !strings.Contains(out.String(), "0 violations of a claim in ") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the output is\n%s", out)
	}
	// One host has nobody to be apart from.
	if got.PrecisionS != nil || got.PrecisionBoundS != nil || got.AccuracyS == nil {
		t.Errorf("precision %v, accuracy %v", got.PrecisionS, got.AccuracyS)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("these files were left behind: %v", left)
	}
}

// watcher calls found when want has been written.
type watcher struct {
	written bytes.Buffer
	want    string
	found   func()
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.written.Write(p)
	if strings.Contains(w.written.String(), w.want) {
		w.found()
	}
	return n, err
}

func (w *watcher) String() string { return w.written.String() }

// brokenPipe fails from its second write on.
type brokenPipe struct{ writes int }

var errBroken = errors.New("nobody reads this")

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.writes++; b.writes > 1 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestAnOutputThatFailsEndsTheRun(t *testing.T) {
	testkit.NoLeaks(t)
	for _, asJSON := range []bool{true, false} {
		dir := ownDirectory(t)
		out := &brokenPipe{}
		_, err := Run(context.Background(), Options{Hosts: 1, JSON: asJSON, Out: out})
		if !errors.Is(err, errBroken) || !errors.Is(err, errOutput) || out.writes != 2 {
			t.Errorf("JSON %v: Run returned %v after %d writes", asJSON, err, out.writes)
		}
		if left := files(t, dir); len(left) != 0 {
			t.Errorf("these files were left behind: %v", left)
		}
	}
}

func TestADaemonThatCannotRunIsToldWithItsLogs(t *testing.T) {
	testkit.NoLeaks(t)
	dir := ownDirectory(t)
	// No node accepts this drift bound.
	_, err := Run(context.Background(), Options{Out: &bytes.Buffer{}, driftBound: 0.5})
	if err == nil || !strings.Contains(err.Error(), "host1") || !strings.Contains(err.Error(), "drift_bound") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("Run returned %v", err)
	}
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("the directory of the logs holds %v", left)
	}
}

func TestADaemonThatEndsDuringTheRunEndsIt(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	f := smallFleet(t)
	var out bytes.Buffer
	r := &run{options: f.options, base: f.base, start: f.base.Read(), random: deterministic(), fleet: f, picture: &jsonPicture{&out}}
	f.ended <- errDaemon
	if err := r.play(context.Background()); !errors.Is(err, errDaemon) {
		t.Errorf("play returned %v", err)
	}
	if err := f.close(false); err != nil {
		t.Error(err)
	}
}

func smallFleet(t *testing.T) *fleet {
	t.Helper()
	counter, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFleet(Options{Hosts: 1, Out: &bytes.Buffer{}}.WithDefaults(), counter)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.start(context.Background()); err != nil {
		_ = f.close(false)
		t.Fatal(err)
	}
	return f
}

// TestReadersOfThePageSeeTheSameCounter: the observer evaluates what a page says by its own image of the true counter; a
// program that opens the page makes its image from the page's text.
func TestReadersOfThePageSeeTheSameCounter(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	f := smallFleet(t)
	defer func() {
		if err := f.close(false); err != nil {
			t.Error(err)
		}
	}()
	h := f.hosts[0]
	theirs, ok := h.page.Counter().(*hw.Skewed)
	if !ok {
		t.Fatalf("the page's counter is %s", h.page.Counter().Spec())
	}
	start := h.skewed.Skew().Start
	for i := range int64(1000) {
		c := start.Add(i * 1234567891)
		if a, b := theirs.At(c), h.skewed.At(c); a != b {
			t.Fatalf("at %d the page's counter reads %d and the host's %d", c, a, b)
		}
	}
	if k, _ := f.truth().Coefficients(); k.Status != virtualclock.Synchronised {
		t.Errorf("the master's clock is %v", k.Status)
	}
}

func TestARunThatIsOverBeforeItBegins(t *testing.T) {
	testkit.NoLeaks(t)
	dir := ownDirectory(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out bytes.Buffer
	if _, err := Run(ctx, Options{Out: &out}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("these files were left behind: %v", left)
	}
}

func TestADirectoryThatCannotBeMade(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	if _, err := Run(context.Background(), Options{Out: &bytes.Buffer{}}); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("Run returned %v", err)
	}
}
