package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/query"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// replayed is what clockd replay --json prints.
type replayed struct {
	Same            bool
	Events, Actions uint64
	End             *string
	Line            int
	Recorded        string
	Replayed        string
}

// replay runs clockd replay --json on a record.
func (h *host) replay(code int, path string) (r replayed) {
	h.t.Helper()
	h.commandJSON(code, &r, "replay", path)
	return r
}

// A real run with a real chronyd, a death of the server and a reload is recorded, and replays to the same decisions byte for byte.
// A byte that was changed in the record is noticed, with its line.
func TestRecordReplays(t *testing.T) {
	t.Parallel()
	server, other := chronyServer(t, 1), chronyServer(t, 1)
	h := newHost(t)
	events := filepath.Join(h.dir, "events.jsonl")
	record := fmt.Sprintf("[log]\nevents = %q\n", events)
	h.configure(fastSource(server.Address(), `timeout = "50ms"`), record)
	h.run()
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	h.configure(fastSource(server.Address(), `timeout = "50ms"`), fastSource(other.Address()), record)
	h.reload()
	h.await("samples of both", func() bool { return h.source(other.Address()).Samples > 10 })
	server.Kill()
	h.await("the death of one to be noticed", func() bool { return h.source(server.Address()).Reach&7 == 0 })
	if s := h.status(); s.EventLog == nil || s.EventLog.Path != events || s.EventLog.Bytes == 0 || s.EventLog.Ended != "" {
		t.Errorf("the status of the event log: %+v", s.EventLog)
	}
	h.terminate()

	r := h.replay(exitOK, events)
	if !r.Same || r.Events < 100 || r.Actions < r.Events/2 || r.End == nil || *r.End != "closed" {
		t.Errorf("the replay: %+v", r)
	}
	t.Logf("%d events and %d actions replay alike", r.Events, r.Actions)
	if text := h.command("replay", events); text.code != exitOK || !strings.Contains(text.out, "all the same") {
		t.Errorf("clockd replay: %+v", text)
	}
	checkDamage(t, h, events)
	if r := h.command("replay", h.program); r.code != exitError || !strings.Contains(r.err, "event log") {
		t.Errorf("a replay of something else: %+v", r)
	}
	if r := h.command("replay", events+".none"); r.code != exitError {
		t.Errorf("a replay of nothing: %+v", r)
	}
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

// checkDamage flips bits of a record. What is in an action is compared byte for byte, so that any flip there must be found in its
// own line; what is in an event may only show later, in what is decided by it.
func checkDamage(t *testing.T, h *host, events string) {
	t.Helper()
	whole, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 8))
	lines := bytes.SplitAfter(whole, []byte("\n"))
	damaged := filepath.Join(h.dir, "damaged")
	try := func(line int, column int, bit byte) (found int) {
		b := slices.Concat(lines[:line]...)
		at := len(b) + column
		b = slices.Clone(whole)
		b[at] ^= bit
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := h.command("replay", damaged)
		if r.code == exitOK {
			return 0
		}
		m := lineNumber.FindStringSubmatch(r.out + r.err)
		if r.code != exitError || m == nil {
			t.Fatalf("line %d is damaged, and replay ended with %d and named no line: %s%s", line+1, r.code, r.out, r.err)
		}
		found, _ = strconv.Atoi(m[1])
		return found
	}
	unseen, inEvents := 0, 0
	for range 60 {
		line := 1 + rng.IntN(len(lines)-3)
		column := rng.IntN(len(lines[line]) - 1)
		bit := byte(1) << rng.IntN(8)
		found := try(line, column, bit)
		if bytes.HasPrefix(lines[line], []byte(`{"action"`)) {
			if found != line+1 {
				t.Errorf("line %d, an action, is damaged at column %d by %#x; replay says line %d", line+1, column+1, bit, found)
			}
			continue
		}
		inEvents++
		switch {
		case found == 0:
			unseen++
			t.Logf("a flip of %#x in column %d of this event makes no difference: %.300s", bit, column+1, lines[line])
		case found < line+1:
			t.Errorf("line %d is damaged; replay says line %d", line+1, found)
		}
	}
	t.Logf("%d of %d flips in events made no difference to any decision", unseen, inEvents)
	if unseen*2 > inEvents {
		t.Errorf("most flips in events go unnoticed")
	}
}

// A record of a daemon that was killed is cut off somewhere, and replays as far as it goes.
func TestRecordOfAKilledDaemonReplays(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	events := filepath.Join(h.dir, "events.jsonl")
	h.configure(fastSource(chronyServer(t, 1).Address()), fmt.Sprintf("[log]\nevents = %q\n", events))
	h.run()
	h.watch(truth{})
	h.await("something to be on the disk", func() bool {
		info, err := os.Stat(events)
		return err == nil && info.Size() > 20000
	})
	h.Kill()
	if r := h.replay(exitOK, events); !r.Same || r.Events == 0 || r.End != nil {
		t.Errorf("the replay: %+v", r)
	}
	h.start()
	h.reach(virtualclock.Synchronised)
	h.terminate()
	if r := h.replay(exitOK, events); !r.Same || r.End == nil {
		t.Errorf("the replay of the next daemon's record: %+v", r)
	}
	if r := h.replay(exitOK, events+".1"); !r.Same {
		t.Errorf("the record before was not kept: %+v", r)
	}
}

// clockd query measures a chronyd, for people and for programs, and says what is wrong with a host that does not answer.
func TestQuery(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 3)
	liar := testkit.ShiftProxy(t, server.Address(), -1500*time.Millisecond)
	dead := freeAddress(t, 1)
	h := newHost(t)
	var report query.Report
	h.commandJSON(exitOK, &report, "query", "--samples", "6", "--gap", "10ms", server.Address(), liar.Address())
	if len(report.Results) != 2 {
		t.Fatalf("the report: %+v", report)
	}
	for i, want := range []float64{0, -1.5} {
		x := report.Results[i]
		if x.Offset == nil || x.Error == nil || math.Abs(*x.Offset-want) > *x.Error || *x.Error > 0.01 || x.Stratum == nil || *x.Stratum != 3 || x.SamplesOK != 6 ||
			x.DelayMin == nil || x.Reason != nil {
			t.Errorf("host %d: %+v, want offset %g s", i, x, want)
		}
	}
	h.commandJSON(exitError, &report, "query", "--samples", "2", "--gap", "1ms", "--timeout", "200ms", server.Address(), dead)
	if x := report.Results[1]; x.Offset != nil || x.Reason == nil || *x.Reason != reason.SourceUnreachable || report.Results[0].Offset == nil {
		t.Errorf("beside a dead host: %+v", report.Results)
	}
	if r := h.command("query", "--samples", "3", "--gap", "1ms", server.Address()); r.code != exitOK || !strings.Contains(r.out, server.Address()) {
		t.Errorf("the table: %+v", r)
	}
	if r := h.command("query"); r.code != exitUsage {
		t.Errorf("query of nothing: %+v", r)
	}
}

// The differential test: the clients of clockd query (beevik/ntp) and of the daemon measure the same server, 60 times each, and agree
// within the sum of their errors each time. The server is off by an odd amount, so that two clients which both say nothing would
// not agree.
func TestTwoClientsAgree(t *testing.T) {
	t.Parallel()
	const shift = 1234567 * time.Microsecond
	server := testkit.ShiftProxy(t, chronyServer(t, 1).Address(), shift)
	h := newHost(t)
	h.configure(strings.Replace(fastSource(server.Address()), "100ms", "20ms", 1))
	h.run()
	h.reach(virtualclock.Synchronised)
	w := truth{shift}
	h.watch(w)
	reader := h.open()
	var worst, sum float64
	const measurements = 60
	for range measurements {
		report, err := query.Run(context.Background(), []string{server.Address()}, query.Options{Samples: 1, Gap: time.Millisecond})
		if err != nil || report.Results[0].Offset == nil {
			t.Fatalf("query: %v, %+v", err, report)
		}
		one := report.Results[0]
		low, high := daemonOffset(t, h, reader)
		apart := math.Abs(*one.Offset - (low+high)/2)
		limit := *one.Error + (high-low)/2
		worst, sum = max(worst, apart/limit), sum+apart
		if apart > limit {
			t.Errorf("query says %g ± %g s, the daemon %g to %g s: they are %g s apart", *one.Offset, *one.Error, low, high, apart)
		}
	}
	t.Logf("%d measurements: %.3f µs apart on average, at most %.3f of the sum of the errors", measurements, sum/measurements*1e6, worst)
}

// daemonOffset returns between which edges the server's time minus CLOCK_REALTIME is, by a sample of the daemon that is newer than
// the call: it knows the server's time minus its own clock, and the page tells that clock minus CLOCK_REALTIME.
func daemonOffset(t *testing.T, h *host, reader *virtualclock.Reader) (low, high float64) {
	t.Helper()
	before := h.source()
	x, asked := before, int64(0)
	testkit.WaitFor(t, patience, "another sample", func() bool {
		asked = truth{}.now()
		x = h.source()
		return x.Samples > before.Samples
	})
	if x.LowS == nil || x.HighS == nil {
		t.Fatalf("the daemon's measurement: %+v", x)
	}
	s := truth{}.look(reader)
	clock := s.reading.Time
	// Between the daemon's answer and this look the clock may have been steered, by max_slew of the time at the most.
	slewed := 500e-6 * float64(s.after-asked) * 1e-9
	return *x.LowS + clock.Seconds(virtualclock.Unix(s.after, 0)) - slewed, *x.HighS + clock.Seconds(virtualclock.Unix(s.before, 0)) + slewed
}
