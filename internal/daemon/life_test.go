package daemon

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// recorded reads the events of an event log in their order, and which request has which transmit nonce.
func recorded(t *testing.T, path string) (events []node.Event, sends map[string]uint32) {
	t.Helper()
	sends = map[string]uint32{}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Event  *node.Event
			Action *struct {
				Kind     string
				Sequence uint32
				Packet   []byte
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Event != nil {
			events = append(events, *l.Event)
		}
		if l.Action != nil && l.Action.Kind == "send" {
			sends[string(l.Action.Packet[40:48])] = l.Action.Sequence
		}
	}
	return events, sends
}

// The promises that the node rests on: Now never decreases; a departure is told in user space at once; the kernel's stamp of a
// request comes before the answer.
func TestEventsComeInOrder(t *testing.T) {
	testkit.NoLeaks(t)
	probe, err := hw.ProbeStamps(hw.StampOptions{Counter: skewed(t, 0), Kernel: true})
	if err != nil {
		t.Fatal(err)
	}
	reference := launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	path := filepath.Join(dir, "events")
	document := followerDocument(reference.served[0].String(), fmt.Sprintf("interleaved = false\n[log]\nevents = %q\n", path))
	follower := launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, 8)})
	testkit.WaitFor(t, patience20, "thirty exchanges", func() bool { return follower.sources().Sources[0].Received >= 30 })
	follower.stop()
	events, sends := recorded(t, path)
	kind := map[uint32]hw.StampKind{}
	var last hw.Ticks
	packets, kernel := 0, 0
	for i, e := range events {
		if i > 0 && e.Now.Before(last) {
			t.Fatalf("event %d is before the one before it", i)
		}
		last = e.Now
		switch e.Kind {
		case node.EventSent:
			if kind[e.Sequence] == hw.StampNone && e.Stamp.Kind != hw.StampUser {
				t.Errorf("the first stamp of request %d is %v", e.Sequence, e.Stamp.Kind)
			}
			kind[e.Sequence] = max(kind[e.Sequence], e.Stamp.Kind)
			if e.Now.Before(e.Stamp.NotBefore()) {
				t.Errorf("request %d is told of before it left", e.Sequence)
			}
		case node.EventPacket:
			// On a busy machine an answer may come after its request was given up and the next one sent.
			request, known := sends[string(e.Packet[24:32])]
			if !known {
				t.Errorf("event %d answers no request", i)
			}
			packets++
			if kind[request] >= hw.StampKernel {
				kernel++
			}
		}
	}
	if packets < 30 || len(sends) < packets {
		t.Fatalf("%d sends, %d packets", len(sends), packets)
	}
	// Where a busy machine makes a kernel stamp wider than the user's, the user's stands: not often.
	if probe.Capabilities.Transmit >= hw.StampKernel && 10*kernel < 9*packets {
		t.Errorf("only %d of %d answers came after their request's kernel stamp", kernel, packets)
	}
}

// What was learnt of the oscillator is used at the next start, and a file that is no state is not.
func TestRateIsRememberedAcrossRestarts(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	document := followerDocument(reference.served[0].String(), "")
	first := launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, 41)})
	testkit.WaitFor(t, patience20, "the rate", func() bool {
		s := first.status()
		return s.Status == virtualclock.Synchronised && s.RatePPM != nil && math.Abs(*s.RatePPM+41) < 5
	})
	epoch := first.status().Epoch
	first.stop()
	second := launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, 41)})
	if !strings.Contains(second.log.String(), "remembered rate") {
		t.Error("nothing is said of the remembered rate")
	}
	if s := second.status(); s.RatePPM == nil || math.Abs(*s.RatePPM+41) > 6 {
		t.Errorf("at the start the rate is %v", s.RatePPM)
	}
	second.reach(virtualclock.Synchronised)
	if s := second.status(); s.Epoch <= epoch {
		t.Errorf("after a restart the epoch is %d, it was %d: readers would take the clock for undisturbed", s.Epoch, epoch)
	}
	second.stop()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(`{"format":1,"counter":"skewed(tsc`), 0o600); err != nil {
		t.Fatal(err)
	}
	third := launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, 41)})
	third.reach(virtualclock.Synchronised)
	if !strings.Contains(third.log.String(), "the state file is corrupt") {
		t.Error("nothing is said of the corrupt state")
	}
}

func TestStateThatCannotBeSavedIsTold(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	c := parse(t, t.TempDir(), followerDocument(reference.served[0].String(), "[state]\npath = \"/proc/nowhere/state.json\"\n"))
	follower := launch(t, Options{Config: c, Counter: skewed(t, 1)})
	testkit.WaitFor(t, 90*time.Second, "the status to tell", func() bool {
		s := follower.status()
		return len(s.Trouble) == 1 && strings.Contains(s.Trouble[0], "the state file: ") || s.UptimeS > 70
	})
	if s := follower.status(); len(s.Trouble) != 1 {
		t.Errorf("trouble %v", s.Trouble)
	}
}

// A daemon whose socket cannot be made keeps the clock, and readers have it from the page.
func TestLivesWithoutItsSocket(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	c := parse(t, dir, "[local]\n[control]\ngroup = \"no-such-group\"\n")
	d := launch(t, Options{Config: c, Counter: skewed(t, 0)})
	reader, err := virtualclock.OpenPage(c.Page.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	testkit.WaitFor(t, patience20, "the page", func() bool { return reader.Now().Sound() })
	if !strings.Contains(d.log.String(), "no-such-group") {
		t.Error("nothing is said of the socket")
	}
	d.stop()
	if i, why := reader.NowReason(); i.Sound() || why != reason.PageVoid {
		t.Errorf("after the end the page says %v, %v", i, why)
	}
}

func TestFullEventLogIsTold(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	path := filepath.Join(dir, "events")
	c := parse(t, dir, followerDocument(reference.served[0].String(), fmt.Sprintf("[log]\nevents = %q\n", path)))
	c.Log.EventsLimit = 10_000 // less than a file may ask for
	follower := launch(t, Options{Config: c, Counter: skewed(t, 0)})
	testkit.WaitFor(t, patience20, "the log to be full", func() bool {
		s := follower.status()
		return s.EventLog != nil && s.EventLog.Ended == "size limit reached" && len(s.Trouble) == 1
	})
	follower.reach(virtualclock.Synchronised)
	follower.stop()
	if info, err := os.Stat(path); err != nil || info.Size() > 10_200 {
		t.Errorf("the log has %d bytes: %v", info.Size(), err)
	}
}

// A server that is not synchronised says so, and whom it follows nobody.
func TestUnsynchronisedServerIsNotFollowed(t *testing.T) {
	testkit.NoLeaks(t)
	nowhere := fmt.Sprintf("127.0.0.1:%d", testkit.FreeUDPPort(t))
	lost := launch(t, Options{Counter: skewed(t, 0), Config: parse(t, t.TempDir(),
		followerDocument(nowhere, fmt.Sprintf("[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 1000\nburst = 1000\n", testkit.FreeUDPPort(t))))})
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(lost.served[0].String(), "")), Counter: skewed(t, 0)})
	testkit.WaitFor(t, patience20, "the server to be refused", func() bool {
		return follower.sources().Sources[0].Rejections[reason.ServerUnsynchronised.String()] > 3
	})
	if s := follower.status(); s.Status != virtualclock.Unsynchronised || s.Sources.Used != 0 || s.TimeNS != nil {
		t.Errorf("status %+v", s)
	}
	if s := lost.status().Server; s.Answers == 0 {
		t.Errorf("the server answered nobody: %+v", s)
	}
}

func TestDeniedClientIsNotAnswered(t *testing.T) {
	testkit.NoLeaks(t)
	server := launch(t, Options{Counter: skewed(t, 0), Config: parse(t, t.TempDir(),
		fmt.Sprintf("[local]\n[server]\nlisten = [\"127.0.0.1:%d\"]\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.1\"]\n", testkit.FreeUDPPort(t)))})
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(server.served[0].String(), "timeout = \"50ms\"\n")), Counter: skewed(t, 0)})
	testkit.WaitFor(t, patience20, "requests to be refused", func() bool {
		return server.status().Server.Rejected[reason.RequestDenied.String()] > 3
	})
	if s := server.status().Server; s.Answers != 0 {
		t.Errorf("%d answers to one who is denied", s.Answers)
	}
	testkit.WaitFor(t, patience20, "the silence to be noticed", func() bool {
		return follower.sources().Sources[0].Reason == reason.SourceUnreachable
	})
}

// Of four servers one is 50 ms off: it is named with its distance and has no weight.
func TestFalsetickerIsNamed(t *testing.T) {
	testkit.NoLeaks(t)
	document := ""
	for i := range 4 {
		server := launchReference(t, testkit.FreeUDPPort(t))
		address := server.served[0].String()
		if i == 3 {
			address = testkit.ShiftProxy(t, address, 50*time.Millisecond).Address()
		}
		document += followerDocument(address, "")
	}
	follower := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, -12)})
	testkit.WaitFor(t, patience20, "the liar to be named", func() bool {
		x := follower.sources().Sources[3]
		return x.Reason == reason.SourceFalseticker && x.DistanceS != nil && math.Abs(*x.DistanceS-0.05) < 0.01 && x.Weight == 0
	})
	follower.reach(virtualclock.Synchronised)
	s := follower.status()
	if s.Sources.Used != 3 || s.Sources.False != 1 || s.Sources.MaxFalse != 1 {
		t.Errorf("sources %+v", s.Sources)
	}
	x := follower.sources().Sources[3]
	if x.OffsetS == nil || math.Abs(*x.OffsetS-0.05) > 0.005 {
		t.Errorf("the liar's offset is %v", x.OffsetS)
	}
}
