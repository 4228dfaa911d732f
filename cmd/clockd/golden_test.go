package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

func pointer[T any](x T) *T { return &x }

// host is what a daemon would answer.
type host struct {
	status  control.Status
	sources control.Sources
	peers   *control.Group
}

// goodHost follows four servers, one of them by a key.
func goodHost() *host {
	h := &host{status: control.Status{
		Version: "1.0", PID: 4711, UptimeS: 7322, Status: virtualclock.Synchronised, Mode: "external", Kind: control.KindExternal, Source: pointer("ntp1.example"),
		Stratum: pointer(uint8(2)), Epoch: 1, Steps: 1, TimeNS: pointer(int64(1795403669333801931)), BoundS: pointer(33.4e-6), MaxBoundS: 0.1, RatePPM: pointer(-0.046),
		RateStdPPM: pointer(0.031), LastSampleAgeS: pointer(0.448), Sources: control.SourceCount{Configured: 4, Answering: 4, Used: 4, MaxFalse: 1},
		Counter: control.Counter{Spec: "tsc", Hertz: 2e9, DriftBoundPPM: 50}, Page: "/run/clockd/page", Config: control.Config{Path: "/etc/clockd/clockd.toml"},
		Server: &control.Server{Listening: []string{"[::]:123"}, Requests: 120, Answers: 118, InterleavedAnswers: 60},
	}}
	for i := range 4 {
		h.sources.Sources = append(h.sources.Sources, control.Source{
			Name: fmt.Sprintf("ntp%d.example", i+1), Address: pointer(fmt.Sprintf("192.0.2.%d:123", i+1)), Selected: i == 0, Weight: []float64{0.62, 0.2, 0.178, 0.002}[i],
			Reach: 0xff, PollS: 16, NextPollS: 3, Stratum: pointer(uint8(1)), ReferenceID: pointer("GPS"), Interleaved: i == 0, OffsetS: pointer(float64(i-1) * 1.3e-6),
			LowS: pointer(float64(i-1)*1.3e-6 - 40e-6), HighS: pointer(float64(i-1)*1.3e-6 + 60e-6), DelayS: pointer(115e-6), LastSampleAgeS: pointer(0.448 + float64(i)),
			TransmitStamp: "kernel", ReceiveStamp: "kernel", Sent: 90, Received: 90, Samples: 90, Authentication: []string{"nts", "key", "none", "none"}[i],
		})
	}
	return h
}

func (h *host) fault(i int, why reason.Code) *control.Source {
	x := &h.sources.Sources[i]
	x.Reason, x.Weight, x.Selected = why, 0, false
	return x
}

func (h *host) unsound(s virtualclock.Status, why reason.Code) {
	h.status.Status, h.status.Reason, h.status.BoundS, h.status.TimeNS, h.status.Stratum, h.status.Source = s, why, nil, nil, nil, nil
	h.status.Sources.Used = 0
	for i := range h.sources.Sources {
		h.sources.Sources[i].Weight, h.sources.Sources[i].Selected = 0, false
	}
}

// member is a host of a group of four.
func member() *host {
	h := goodHost()
	h.status.Mode, h.status.Kind, h.status.Source, h.status.Server = "internal", control.KindInternal, nil, nil
	h.status.Sources, h.sources.Sources, h.status.BoundS = control.SourceCount{}, nil, pointer(90e-6)
	h.peers = &control.Group{Status: agreement.Sync, Round: 4711, Members: 4, Faults: 1, Margin: 1, Rounds: 4700, SpreadS: pointer(90e-6), PrecisionBoundS: pointer(424e-6),
		EpsilonS: pointer(20e-6)}
	for i, name := range []string{"b.example", "c.example", "d.example"} {
		h.peers.Peers = append(h.peers.Peers, control.Peer{Name: name, Address: pointer(fmt.Sprintf("192.0.2.%d:123", i+2)), Status: pointer(agreement.Sync), Used: true,
			OffsetS: pointer(float64(i-1) * 3e-6), ErrorS: pointer(15e-6), DelayS: pointer(80e-6), Reach: 0xff, Received: 900, TransmitStamp: "kernel", ReceiveStamp: "kernel"})
	}
	return h
}

func (h *host) losePeer(i int, why reason.Code) {
	p := &h.peers.Peers[i]
	p.Used, p.Reason, p.OffsetS, p.ErrorS = false, why, nil, nil
	if why == reason.PeerSilent {
		p.Reach = 0
	}
}

// stories are the cases that a person must be able to tell apart in five seconds.
func stories() map[string]*host {
	all := map[string]*host{"good": goodHost(), "internal": member()}

	h := goodHost()
	h.status.Status, h.status.Reason, h.status.BoundS, h.status.LastSampleAgeS = virtualclock.Holdover, reason.Stale, pointer(2.13e-3), pointer(42.0)
	h.status.Sources.Answering, h.status.Sources.Used = 0, 0
	for i := range h.sources.Sources {
		h.fault(i, reason.SourceUnreachable).Reach = 0
	}
	all["holdover"] = h

	h = goodHost()
	h.unsound(virtualclock.Unsynchronised, reason.NeverSynchronised)
	h.status.UptimeS, h.status.Epoch, h.status.Steps, h.status.RatePPM, h.status.RateStdPPM, h.status.LastSampleAgeS = 0.8, 0, 0, nil, nil, nil
	h.status.Sources.Answering, h.status.Sources.Used = 0, 0
	for i := range h.sources.Sources {
		x := h.fault(i, reason.SourceWaiting)
		*x = control.Source{Name: x.Name, Address: x.Address, Reason: x.Reason, PollS: x.PollS}
	}
	all["start"] = h

	h = goodHost()
	x := h.fault(3, reason.SourceFalseticker)
	x.DistanceS, x.OffsetS, x.LowS, x.HighS = pointer(0.05), pointer(0.0501), pointer(0.05006), pointer(0.05015)
	h.status.Sources.Used, h.status.Sources.False = 3, 1
	all["falseticker"] = h

	h = goodHost()
	h.unsound(virtualclock.Unsynchronised, reason.NoMajority)
	h.status.Sources.False, h.status.Sources.Used, h.status.Trouble = 0, 0, []string{"the state file: no space left on device"}
	y := h.fault(2, reason.SourceResolve)
	y.Detail, y.Address, y.Reach, y.OffsetS, y.LowS = "no such host", nil, 0, nil, nil
	all["contradiction"] = h

	h = goodHost()
	h.unsound(virtualclock.Disrupted, reason.HostSuspended)
	all["disrupted"] = h

	h = member()
	h.losePeer(0, reason.PeerSilent)
	h.losePeer(2, reason.PeerEquivocates)
	h.status.Status, h.status.Reason, h.peers.Status, h.peers.Reason, h.peers.Margin = virtualclock.Holdover, reason.TooFewPeers, agreement.Holdover, reason.TooFewPeers, -1
	all["too-few-peers"] = h

	h = goodHost()
	h.status.Mode, h.peers = "hybrid", member().peers
	h.losePeer(1, reason.PeerJoining)
	h.peers.ToUTCS = pointer(1.2e-3)
	all["hybrid"] = h

	h = goodHost()
	h.status.Mode, h.status.Source, h.status.BoundS, h.status.LastSampleAgeS = "local", nil, pointer(0.0), nil
	h.status.Sources, h.sources.Sources = control.SourceCount{}, nil
	all["reference"] = h
	return all
}

// answer serves a story at a socket, as the daemon would.
func (h *host) answer(t *testing.T, path string) {
	t.Helper()
	h.status.Explanation, h.status.Group = h.status.Reason.Explain(), h.peers
	h.sources.Status, h.sources.Reason, h.sources.Count = h.status.Status, h.status.Reason, h.status.Sources
	l, err := control.Listen(path, "", 0o600, func(_ context.Context, command string) (any, error) {
		switch {
		case command == control.CommandStatus:
			return &h.status, nil
		case command == control.CommandSources:
			return &h.sources, nil
		case h.peers != nil:
			return h.peers, nil
		}
		return nil, fmt.Errorf("this host has no peers: its configuration has no [[peer]]")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// TestReportsForPeople: what people read of each story is kept in testdata/reports, and looked at when it changes:
//
//	go test ./cmd/clockd -run TestReportsForPeople -update
func TestReportsForPeople(t *testing.T) {
	testkit.NoLeaks(t)
	fresh := t.TempDir()
	write := func(name string, lines ...string) {
		if err := os.WriteFile(filepath.Join(fresh, name+".txt"), []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, h := range stories() {
		dir := t.TempDir()
		h.answer(t, filepath.Join(dir, "control"))
		var lines []string
		for _, command := range []string{"status", "sources", "peers"} {
			code, out, err := runLine(t, dir, command)
			if command == "peers" && h.peers == nil {
				continue
			}
			if code != cli.OK || err != "" {
				t.Errorf("%s of %s: exit %d, %s", command, name, code, err)
			}
			if strings.Contains(out, "\x1b[") {
				t.Errorf("%s of %s has colours where there is no terminal", command, name)
			}
			lines = append(lines, "$ clockd "+command+"\n", out, "\n")
		}
		write(name, lines...)
	}
	dir := "/nowhere"
	var lines []string
	for _, command := range []string{"status", "sources", "peers"} {
		code, out, err := runLine(t, dir, command)
		lines = append(lines, fmt.Sprintf("$ clockd %s\n%s%sexit code %d\n\n", command, out, err, code))
	}
	write("no-daemon", lines...)
	testkit.GoldenFiles(t, fresh, "testdata/reports", func(name string) bool { return strings.HasSuffix(name, ".txt") }, *update,
		"go test ./cmd/clockd -run TestReportsForPeople -update")
}

// Colours are for terminals; a sign and a word say the same without.
func TestColoursAreForTerminals(t *testing.T) {
	for name, want := range map[string]string{"good": "\x1b[32m✓ synchronised\x1b[0m  \x1b[1mthis clock is good\x1b[0m: true", "holdover": "\x1b[33m! holdover\x1b[0m",
		"contradiction": "\x1b[31m✗ unsynchronised\x1b[0m", "start": "\x1b[36m… unsynchronised\x1b[0m"} {
		var out buffer
		a := testApp("", &out, &buffer{})
		a.terminal = true
		h := stories()[name]
		a.showStatus(&h.status, h.sources.Sources)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s begins with %q", name, out.String()[:60])
		}
		if strings.Contains(out.String(), "`") {
			t.Errorf("%s has backquotes on a terminal: %s", name, out.String())
		}
	}
	t.Setenv("NO_COLOR", "1")
	if newApp("").terminal {
		t.Error("NO_COLOR is not obeyed")
	}
}

// What programs read does not change with what people read.
func TestJSONIsTheProtocols(t *testing.T) {
	for name, h := range stories() {
		dir := t.TempDir()
		h.answer(t, filepath.Join(dir, "control"))
		for command, want := range map[string]any{"status": &h.status, "sources": &h.sources} {
			b, err := json.MarshalIndent(want, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if code, out, _ := runLine(t, dir, command, "--json"); code != cli.OK || out != string(b)+"\n" {
				t.Errorf("%s --json of %s: exit %d\n%s", command, name, code, out)
			}
		}
	}
}

// --watch shows a report again and again, also that of a daemon that goes and comes back, until it is interrupted.
func TestWatch(t *testing.T) {
	testkit.NoLeaks(t)
	for _, json := range []bool{false, true} {
		dir := t.TempDir()
		var out, said buffer
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan int, 1)
		a := testApp(dir, &out, &said)
		a.terminal = !json
		args := []string{"status", "--watch"}
		if json {
			args = append(args, "--json")
		}
		go func() { done <- execute(ctx, a, args) }()
		testkit.WaitFor(t, time.Minute, "the missing daemon to be said", func() bool { return strings.Contains(out.String()+said.String(), "no daemon answers") })
		goodHost().answer(t, filepath.Join(dir, "control"))
		want := "this clock is good"
		if json {
			want = `"status":"synchronised"`
		}
		testkit.WaitFor(t, time.Minute, "two looks", func() bool { return strings.Count(out.String(), want) >= 2 })
		cancel()
		if code := <-done; code != cli.OK {
			t.Errorf("interrupted: exit %d, %s", code, said.String())
		}
		if text := out.String(); json == strings.Contains(text, "\x1b[H") || json && strings.Count(strings.Trim(text, "\n"), "\n") != strings.Count(text, want)-1 {
			t.Errorf("watched: %q", text)
		}
	}
}
