package eventlog

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func testConfig() node.Config {
	return node.Config{
		Seed: [32]byte{1, 2, 3}, Counter: hw.Frequency{Hertz: 1e9, ErrorPPB: 12.5}, Granularity: 1, DriftBound: 50e-6, MaxSlew: 5e-4,
		MaxBound: 0.1, Heartbeat: 1, Lifetime: 30, MaxFalse: -1, Rate: 1.0 / 3e6, RateStd: 1e-7,
		Sources: []node.SourceConfig{{ID: 1, Name: "a", Address: "192.0.2.1:123", ReferenceID: 7, Poll: 1, Burst: 4, BurstSpacing: 0.1,
			Timeout: 1, Interleaved: true, MaxServerError: 1}},
	}
}

// script is a life of a node: it starts, its request is sent, a bad answer comes, time passes, the host is suspended.
func script() []node.Event {
	return []node.Event{
		{Kind: node.EventStart, Now: 1000, Realtime: virtualclock.Unix(1_700_000_000_123_456_789, 12345)},
		{Kind: node.EventSent, Now: 2000, Source: 1, Sequence: 1, Stamp: hw.Stamp{At: 1900, Error: 3, Kind: hw.StampKernel}},
		{Kind: node.EventPacket, Now: 3000, Source: 1, Stamp: hw.Stamp{At: 2990, Kind: hw.StampUser}, Packet: []byte("not NTP")},
		{Kind: node.EventTimer, Now: 1_100_000_000},
		{Kind: node.EventUnreachable, Now: 1_200_000_000, Source: 1, Reason: reason.SourceUnreachable},
		{Kind: node.EventDisruption, Now: 1_300_000_000, Reason: reason.HostSuspended},
		{Kind: node.EventTimer, Now: 9_300_000_000},
	}
}

// record writes the script's run to a file and returns its path and the node's actions.
func record(t *testing.T, limit int64, events []node.Event) (path string, actions int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "events")
	w, err := Create(path, limit, Header{Clockd: "test", Counter: "manual", Config: testConfig()})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		w.Event(&e)
		for _, a := range n.Step(e) {
			w.Action(&a)
			actions++
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path, actions
}

func replayFile(t *testing.T, path string) (Result, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	return Replay(f)
}

func TestReplayDecidesTheSame(t *testing.T) {
	testkit.NoLeaks(t)
	path, actions := record(t, 1<<20, script())
	r, err := replayFile(t, path)
	if err != nil || r.Difference != nil {
		t.Fatalf("%v, %v", err, r.Difference)
	}
	if r.Events != uint64(len(script())) || r.Actions != uint64(actions) || actions < 10 || r.End != EndClosed || r.Header.Clockd != "test" {
		t.Errorf("%d events, %d actions of %d, end %q", r.Events, r.Actions, actions, r.End)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record has mode %v: it holds the seed of the nonces (%v)", info.Mode(), err)
	}
}

// Whatever line is changed, left out or doubled, the replay says which.
func TestReplayFindsTheFirstDifference(t *testing.T) {
	path, _ := record(t, 1<<20, script())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	for i := 1; i < len(lines)-1; i++ {
		if !strings.HasPrefix(lines[i], `{"action"`) {
			continue
		}
		without := strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")
		doubled := strings.Join(append(append([]string{}, lines[:i+1]...), lines[i:]...), "")
		changed := strings.Join(append(append(append([]string{}, lines[:i]...), strings.Replace(lines[i], `"kind":"`, `"kind":"x`, 1)), lines[i+1:]...), "")
		for name, c := range map[string]struct {
			text string
			line int
		}{"without": {without, 0}, "doubled": {doubled, 0}, "changed": {changed, i + 1}} {
			r, err := Replay(strings.NewReader(c.text))
			if err != nil || r.Difference == nil {
				t.Fatalf("line %d %s: no difference, %v", i+1, name, err)
			}
			// A line that equals its neighbour shifts the place where the difference shows, but never before the change.
			if r.Difference.Line < i+1 || c.line != 0 && r.Difference.Line != c.line {
				t.Errorf("line %d %s: difference found at line %d", i+1, name, r.Difference.Line)
			}
			if !strings.Contains(r.Difference.String(), "recorded: ") {
				t.Errorf("the difference reads %q", r.Difference)
			}
		}
	}
}

func TestRecordOfAKilledDaemonIsReplayedAsFarAsItGoes(t *testing.T) {
	path, _ := record(t, 1<<20, script())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header := bytes.IndexByte(b, '\n') + 1
	for cut := header; cut < len(b); cut += 13 {
		r, err := Replay(bytes.NewReader(b[:cut]))
		if err != nil || r.Difference != nil {
			t.Fatalf("cut at byte %d: %v, %v", cut, err, r.Difference)
		}
	}
}

func TestRecordEndsVisiblyAtItsLimit(t *testing.T) {
	events := script()
	for i := range 500 {
		events = append(events, node.Event{Kind: node.EventTimer, Now: hw.Ticks(20_000_000_000 + i*1_000_000_000)})
	}
	const limit = 20_000
	path, _ := record(t, limit, events)
	info, err := os.Stat(path)
	if err != nil || info.Size() > limit+200 {
		t.Errorf("the record has %d bytes, the limit is %d (%v)", info.Size(), limit, err)
	}
	r, err := replayFile(t, path)
	if err != nil || r.Difference != nil || r.End != EndSize || r.Events >= uint64(len(events)) || r.Events < 10 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRecordBeforeIsKept(t *testing.T) {
	path, _ := record(t, 1<<20, script())
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Create(path, 1<<20, Header{Config: testConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path + ".1")
	if err != nil || !bytes.Equal(kept, before) {
		t.Errorf("the record before is not kept: %v", err)
	}
	if bytes, ended := w.Status(); bytes == 0 || ended != EndClosed {
		t.Errorf("status %d, %q", bytes, ended)
	}
	w.Event(&node.Event{Kind: node.EventTimer}) // nothing happens any more
	if err := w.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestDiskThatRefusesEndsTheRecordOnly(t *testing.T) {
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "events")
	w, err := Create(path, 1<<30, Header{Config: testConfig()})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.file.Close() // every write fails from here on
	e := node.Event{Kind: node.EventPacket, Packet: make([]byte, 4096)}
	for range 200 {
		w.Event(&e)
	}
	if err := w.Close(); err == nil {
		t.Error("Close does not tell that the record was lost")
	}
	if _, ended := w.Status(); !strings.Contains(ended, "cannot be written") && ended != EndClosed {
		t.Errorf("the record ended with %q", ended)
	}
}

func TestCreateNeedsADirectory(t *testing.T) {
	if _, err := Create(filepath.Join(t.TempDir(), "no", "events"), 1, Header{Config: testConfig()}); err == nil {
		t.Error("a record without a directory")
	}
}

func TestReplayRefusesWhatIsNoRecord(t *testing.T) {
	header, err := json.Marshal(Header{Format: Format, Config: testConfig()})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, says string }{
		"empty":       {"", "empty"},
		"text":        {"hello\n", "not the header"},
		"format":      {`{"format":99,"clockd":"9.9"}` + "\n", "replay it with clockd 9.9"},
		"no node":     {`{"format":1}` + "\n", "line 1"},
		"no event":    {string(header) + "\n{}\n", "line 2 is neither"},
		"bad event":   {string(header) + "\n{\"event\":{\"kind\":\"zap\"}}\n", "no event is called"},
		"endless":     {strings.Repeat("x", maxLine+70_000), "longer than"},
		"not a line":  {string(header) + "\n5\n", "line 2"},
		"lone action": {string(header) + "\n{\"action\":{}}\n", ""},
	} {
		r, err := Replay(strings.NewReader(c.text))
		if c.says == "" {
			if err != nil || r.Difference == nil || r.Difference.Line != 2 {
				t.Errorf("%s: %+v, %v", name, r.Difference, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", name, err, c.says)
		}
	}
}

func TestInfiniteFiguresAreWritten(t *testing.T) {
	for _, x := range []float64{math.Inf(1), math.Inf(-1), math.NaN()} {
		b, err := encodeAction(&node.Action{Kind: node.ActionReport, Report: node.Report{Topic: "clock", Value: x}})
		if err != nil || !json.Valid(b) {
			t.Errorf("%v: %s, %v", x, b, err)
		}
	}
}

func FuzzReplay(f *testing.F) {
	header, err := json.Marshal(Header{Format: Format, Config: testConfig()})
	if err != nil {
		f.Fatal(err)
	}
	text := string(header) + "\n"
	for _, e := range script() {
		b, err := encodeEvent(&e)
		if err != nil {
			f.Fatal(err)
		}
		text += string(b) + "\n"
	}
	f.Add([]byte(text))
	f.Add([]byte(string(header) + "\n" + `{"event":{"kind":"start","now":5}}` + "\n" + `{"action":{"kind":"wake"}}` + "\n{\"end\":\"closed\"}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Replay(bytes.NewReader(b))
		if err == nil && r.Difference == nil && r.Actions > 0 && r.Events == 0 {
			t.Errorf("actions without events are the same as a node's: %+v", r)
		}
	})
}
