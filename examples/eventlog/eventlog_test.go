package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// called runs the program with a directory for its files, which it must leave empty.
func called(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return o.String(), e.String(), code
}

func ownDirectory(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "et-")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%v is left behind, %v", left, err)
		}
		_ = os.RemoveAll(dir)
	})
}

// TestTheMergedLogTellsNothingWrong: three hosts with real clocks, two of them wrong by 2 ms; some pairs nobody can tell, and they are shown.
func TestTheMergedLogTellsNothingWrong(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	out, errs, code := called(t, "demo", "--events", "120", "--seed", fmt.Sprint(testkit.Seed(t)))
	if code != exitOK {
		t.Fatalf("exit code %d, %s\n%s", code, errs, out)
	}
	var events, hosts, pairs, told, wrong, untold, byChance int
	tail := out[strings.Index(out, "\n\n")+2:]
	if _, err := fmt.Sscanf(strings.ReplaceAll(tail, "\n", " "), "%d events on %d hosts. Of %d pairs the log tells the order of %d, and of %d of these wrongly. "+
		"Of %d pairs it says that it cannot tell. %d of those", &events, &hosts, &pairs, &told, &wrong, &untold, &byChance); err != nil {
		t.Fatalf("%v in %q", err, tail)
	}
	if events != 120 || hosts != 3 || pairs != 120*119/2 || told+untold != pairs || wrong != 0 || untold < 10 || !strings.Contains(out, " #") {
		t.Errorf("%s", tail)
	}
}

// TestAForgedBoundTellsWrongOrders, and the observer sees it.
func TestAForgedBoundTellsWrongOrders(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	out, errs, code := called(t, "demo", "--events", "300", "--forge-bound", "0.01", "--delay", "20ms", "--seed", fmt.Sprint(testkit.Seed(t)))
	if code != exitWrong || !strings.Contains(errs, "wrong order") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out[max(0, len(out)-300):])
	}
}

func randomEvent(r *rand.Rand, sequence uint64) event {
	at := 1_800_000_000_000_000_000 + r.Int64N(40)
	e := event{
		Node: order.Node(1 + r.IntN(3)), Sequence: sequence, Earliest: virtualclock.Unix(at, uint32(r.IntN(2))<<31),
		Latest: virtualclock.Unix(at+1+r.Int64N(8), 0), Epoch: 1, Kind: "EXTERNAL", Text: "x",
	}
	return e
}

// TestMergeAgainstItsSlowTwin: the pairs that nobody can tell are exactly those whose intervals overlap, whatever the kinds.
func TestMergeAgainstItsSlowTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	for k := range 500 {
		m := newMerger()
		for n := range 2 + r.IntN(20) {
			e := randomEvent(r, uint64(n+1))
			switch {
			case k%3 == 1:
				e.Kind, e.Group = "INTERNAL", 4
			case k%3 == 2 && r.IntN(3) == 0:
				e.Kind, e.Group = "INTERNAL", uint64(r.IntN(2))
			}
			if r.IntN(10) == 0 {
				e.Epoch = 2
			}
			m.add(e)
		}
		got := m.merge()
		newest := map[order.Node]virtualclock.Epoch{}
		for _, e := range m.events {
			newest[e.Node] = max(newest[e.Node], e.Epoch)
		}
		for i := range got.lines {
			x := got.lines[i].stamp()
			if got.lines[i].Doubtful != (x.Epoch < newest[x.Node]) {
				t.Fatalf("%+v is doubtful: %v", got.lines[i].event, got.lines[i].Doubtful)
			}
			for j := range got.lines {
				y := got.lines[j].stamp()
				own := x.Node == y.Node && x.Epoch == y.Epoch
				why := x.Why(&y)
				if slices.Contains(got.lines[i].Unordered, j+1) != (!own && why == reason.IntervalsOverlap) {
					t.Fatalf("%+v and %+v: %v; %+v", x, y, why, got.lines[i])
				}
				if slices.Contains(got.lines[i].Apart, j+1) != (!own && (why == reason.IntervalKind || why == reason.IntervalGroup)) {
					t.Fatalf("%+v and %+v: %v; %+v", x, y, why, got.lines[i])
				}
				if i < j && x.Compare(&y) == order.After {
					t.Fatalf("%+v stands before %+v", x, y)
				}
			}
		}
	}
}

func TestLogsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := write("a", `{"node":1,"sequence":1,"earliest":"1000000000","latest":"1000002000","epoch":1,"kind":"EXTERNAL","text":"first\u001b[2J"}
`)
	b := write("b", `{"node":2,"sequence":1,"earliest":"1000001000.5","latest":"1000003000","epoch":1,"kind":"EXTERNAL","text":"second"}

{"node":2,"sequence":2,"earliest":"2000000000","latest":"2000003000","epoch":2,"kind":"EXTERNAL","text":"third"}
`)
	out, errs, code := called(t, "merge", b, a)
	for _, want := range []string{"#1  1970-01-01T00:00:01.000000000Z    0.002 ms  1     first.[2J", "#2\n", "#1 DOUBTFUL", "#3  1970"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("it does not say %q: %d, %s\n%s", want, code, errs, out)
		}
	}
	out, _, code = called(t, "merge", "--json", a, b)
	var l line
	if err := json.Unmarshal([]byte(strings.SplitAfter(out, "\n")[0]), &l); err != nil || code != exitOK || l.Number != 1 || !slices.Equal(l.Unordered, []int{2}) {
		t.Errorf("%v: %s", err, out)
	}
	for name, text := range map[string]string{
		"no JSON": "x\n", "no node": "{}\n", "inverted": `{"node":1,"sequence":1,"earliest":"5","latest":"4","kind":"EXTERNAL"}` + "\n",
		"no kind": `{"node":1,"sequence":1,"kind":"x"}` + "\n", "long": strings.Repeat("x", maxLine+1),
	} {
		if _, errs, code := called(t, "merge", write("bad", text)); code != exitFailed || !strings.Contains(errs, "bad") {
			t.Errorf("%s: %d, %q", name, code, errs)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"unknown"}, {"merge"}, {"merge", "--x"}, {"write"}, {"write", "--node", "1", "--log", "x"}, {"demo", "x"}, {"demo", "--events", "1"},
	} {
		if _, errs, code := called(t, args...); code != exitUsage || !strings.Contains(errs, "usage:") {
			t.Errorf("%v: %d, %q", args, code, errs)
		}
	}
	for _, args := range [][]string{{"help"}, {"demo", "--help"}} {
		if out, _, code := called(t, args...); code != exitOK || !strings.Contains(out, "usage:") {
			t.Errorf("%v: %d, %q", args, code, out)
		}
	}
	if _, errs, code := called(t, "write", "--page", "/nonexistent", "--node", "1", "--log", filepath.Join(t.TempDir(), "l"), "x"); code != exitFailed {
		t.Errorf("%d, %q", code, errs)
	}
	if _, _, code := called(t, "merge", "/nonexistent"); code != exitFailed {
		t.Errorf("a log that is not there: %d", code)
	}
}

// FuzzEvent: whatever is called a log, reading and merging it never panics.
func FuzzEvent(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		e := randomEvent(r, 1)
		b, _ := json.Marshal(&e)
		f.Add(b)
	}
	f.Add([]byte(`{"node":1,"sequence":1,"earliest":"-9223372036854775808","latest":"9223372036854775807.9","kind":"INTERNAL"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEvent(b)
		if err != nil {
			return
		}
		m := newMerger()
		m.add(e)
		m.add(randomEvent(rand.New(rand.NewPCG(3, 4)), 1))
		var out bytes.Buffer
		if err := m.merge().text(&out); err != nil || strings.ContainsAny(out.String(), "\x1b\x07\r") {
			t.Fatalf("%v, %q", err, out.String())
		}
		again, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseEvent(again); err != nil || back != e {
			t.Fatalf("%s became %+v, %v", again, back, err)
		}
	})
}
