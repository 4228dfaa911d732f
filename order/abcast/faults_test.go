package abcast

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// joinerWithSnapshot adds a process that needs a snapshot, takes one out, and lets one that lost its disk come back under a new ID.
func joinerWithSnapshot(t *testing.T, e engine) {
	c := newCluster(t, e, 3, func(c *Config) {
		c.Tuning.Retain = 1 << 10
		c.Tuning.SnapshotEvery = 8 << 10
		c.Wal.SegmentSize = 4 << 10
	})
	c.inView(1, 2, 3)
	sent := 0
	say := func(id ID, n int) {
		for range n {
			c.processes[id].broadcast(fmt.Sprintf("message %d %s", sent, strings.Repeat("x", 200)))
			sent++
		}
	}
	say(1, 200)
	eventually(t, "the log to be cut", func() bool { return c.processes[1].log.First() > 1 })

	c.address(4)
	p := c.start(4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.processes[2].AddMember(ctx, 4, c.addresses[4]); err != nil {
		t.Fatal(err)
	}
	c.inView(1, 2, 3, 4)
	if p.restored == 0 {
		t.Error("the new member got no snapshot")
	}
	say(4, 10)
	c.same(sent, 1, 2, 3, 4)
	if got := c.processes[3].Members(); len(got) != 4 || got[4] != c.addresses[4] {
		t.Errorf("the members are %v", got)
	}

	// It comes back with its disk, from the snapshot on it.
	p.kill()
	say(1, 5)
	p = c.start(4)
	c.inView(1, 2, 3, 4)
	if p.restored == 0 {
		t.Error("the new member did not begin with its snapshot")
	}
	c.same(sent, 1, 2, 3, 4)

	// Process 3 loses its disk: it is taken out, and comes back as 5.
	c.processes[3].kill()
	if err := os.RemoveAll(filepath.Join(c.dir, "3")); err != nil {
		t.Fatal(err)
	}
	say(2, 5)
	// With its old ID the others do not hear it.
	impostor := c.start(3)
	eventually(t, "the refusal", func() bool { return c.processes[1].Metrics().Transport.Refused[reason.LinkDisk] > 0 })
	say(2, 5)
	if impostor.Status().InView {
		t.Error("a process without its disk is in the view")
	}
	impostor.kill()
	if err := c.processes[1].RemoveMember(ctx, 3); err != nil {
		t.Fatal(err)
	}
	c.address(5)
	c.start(5)
	if err := c.processes[1].AddMember(ctx, 5, c.addresses[5]); err != nil {
		t.Fatal(err)
	}
	c.inView(1, 2, 4, 5)
	say(5, 5)
	got := c.same(sent, 1, 2, 4, 5)
	for i, text := range got {
		if !strings.HasPrefix(text, fmt.Sprintf("message %d ", i)) {
			t.Fatalf("message %d is %.20q", i, text)
		}
	}
}

// removedMemberStops: a process that was taken out stops with the reason.
func removedMemberStops(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	c.inView(1, 2, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.processes[1].RemoveMember(ctx, 3); err != nil {
		t.Fatal(err)
	}
	c.inView(1, 2)
	c.processes[1].broadcast("without 3")
	c.same(1, 1, 2)
	p := c.processes[3]
	// It may not hear of it any more; if it does it stops.
	select {
	case <-p.Done():
		if err := p.Err(); !errors.Is(err, reason.BroadcastRemoved) {
			t.Errorf("it stopped because of %v", err)
		}
	case <-time.After(2 * time.Second):
		if n := len(p.payloads()); n != 0 {
			t.Errorf("a removed process delivered %d messages", n)
		}
	}
}

// partition: a minority blocks and says so, the majority goes on, and nothing differs afterwards.
func partition(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	c.inView(1, 2, 3)
	c.processes[3].broadcast("before")
	c.network.part(true, []ID{1, 2}, []ID{3})
	c.inView(1, 2)
	ctx, cancel := context.WithCancel(t.Context())
	lonely := make(chan error, 2)
	go func() {
		_, err := c.processes[3].Broadcast(ctx, []byte("alone"))
		lonely <- err
	}()
	go func() { lonely <- c.processes[3].Read(ctx) }()
	for i := range 20 {
		c.processes[ID(i%2+1)].broadcast(fmt.Sprint("majority ", i))
	}
	c.same(21, 1, 2)
	select {
	case err := <-lonely:
		t.Errorf("a process alone has an answer: %v", err)
	default:
	}
	if n := len(c.processes[3].payloads()); n > 1 {
		t.Errorf("a process alone delivered %d messages", n)
	}
	c.network.part(false, []ID{1, 2}, []ID{3})
	for range 2 {
		if err := <-lonely; err != nil {
			t.Errorf("after the partition: %v", err)
		}
	}
	cancel()
	c.inView(1, 2, 3)
	got := c.same(22, 1, 2, 3)
	if got[0] != "before" || !slices.Contains(got, "alone") {
		t.Errorf("delivered %q", got)
	}
	// One way only: 1 does not hear 2.
	c.network.block(2, 1, true)
	c.processes[3].broadcast("one way")
	c.network.block(2, 1, false)
	c.processes[1].broadcast("both ways")
	c.same(24, 1, 2, 3)
}

// rollingRestart restarts all in order, while others broadcast: no broadcast of a process that is up fails.
func rollingRestart(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	c.inView(1, 2, 3)
	sent := 0
	for round := range 3 {
		id := ID(round + 1)
		other := c.processes[id%3+1]
		var stop atomic.Bool
		var all sync.WaitGroup
		all.Go(func() {
			for !stop.Load() {
				other.broadcast(fmt.Sprint("message ", sent))
				sent++
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := c.processes[id].Leave(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		c.processes[id].kill()
		c.start(id)
		c.inView(1, 2, 3)
		stop.Store(true)
		all.Wait()
	}
	got := c.same(sent, 1, 2, 3)
	for i, text := range got {
		if text != fmt.Sprint("message ", i) {
			t.Fatalf("message %d is %q", i, text)
		}
	}
}

// fullDisk is the machine's file system until it is full.
type fullDisk struct {
	wal.Disk
	full *atomic.Bool
}

type fullFile struct {
	wal.File
	full *atomic.Bool
}

func (d fullDisk) Open(name string, flag int) (wal.File, error) {
	f, err := d.Disk.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return fullFile{f, d.full}, nil
}

func (f fullFile) Write(b []byte) (int, error) {
	if !f.full.Load() {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:len(b)/2])
	return n, errors.Join(err, syscall.ENOSPC)
}

func fullDiskStopsOneMember(t *testing.T, e engine) {
	var full atomic.Bool
	c := newCluster(t, e, 3, func(c *Config) {
		if c.ID == 2 {
			c.Wal.FS = fullDisk{full: &full}
		}
	})
	c.inView(1, 2, 3)
	p := c.processes[2]
	p.broadcast("before")
	full.Store(true)
	if _, err := p.Broadcast(t.Context(), []byte("too much")); err != nil && (!errors.Is(err, syscall.ENOSPC) || !errors.Is(err, reason.BroadcastMaybe)) {
		t.Errorf("a broadcast to a full disk: %v", err)
	}
	<-p.Done()
	if err := p.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("it stopped because of %v", err)
	}
	if _, err := p.Broadcast(t.Context(), []byte("later")); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, reason.BroadcastMaybe) {
		t.Errorf("a broadcast after the disk was full: %v", err)
	}
	c.processes[1].broadcast("the others go on")
	p.kill()
	full.Store(false)
	c.start(2)
	c.inView(1, 2, 3)
	c.processes[2].broadcast("after")
	c.processes[1].read()
	got := c.processes[1].payloads()
	if n := len(got); n < 3 || got[0] != "before" || got[n-1] != "after" {
		t.Errorf("delivered %q", got)
	}
	c.same(len(got), 1, 2, 3)
}

func damagedDiskIsRefused(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	for i := range 10 {
		c.processes[1].broadcast(fmt.Sprint("message ", i))
	}
	c.processes[3].kill()
	name := filepath.Join(c.dir, "3", "log", "0000000000000001.wal")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	whole := slices.Clone(b)
	b[len(b)/2] ^= 4
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var corrupt *wal.CorruptError
	if _, err := c.try(3); !errors.As(err, &corrupt) || corrupt.Offset == 0 {
		t.Errorf("a damaged log: %v", err)
	}
	// A torn end is no damage.
	if err := os.WriteFile(name, append(whole, whole[40:60]...), 0o600); err != nil {
		t.Fatal(err)
	}
	p := c.start(3)
	if !p.log.Recovery().Torn {
		t.Error("the torn end was not seen")
	}
	c.inView(1, 2, 3)
	c.same(10, 1, 2, 3)
	p.kill()
	if err := os.WriteFile(filepath.Join(c.dir, "3", "incarnation"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.try(3); !errors.As(err, &corrupt) {
		t.Errorf("a damaged counter of incarnations: %v", err)
	}
}

// skewed is a clock that is wrong by a constant.
type skewed time.Duration

func (s skewed) Now() virtualclock.Interval {
	t := virtualclock.FromTime(time.Now().Add(time.Duration(s)))
	return virtualclock.Interval{Earliest: t.Add(-time.Millisecond), Latest: t.Add(time.Millisecond),
		Standing: virtualclock.Standing{Status: virtualclock.Synchronised, Kind: virtualclock.External}}
}

// lost is a clock that does not know the time.
type lost struct{}

func (lost) Now() virtualclock.Interval {
	return virtualclock.Interval{Earliest: virtualclock.MinTime(), Latest: virtualclock.MaxTime()}
}

func wrongClocks(t *testing.T, e engine) {
	c := newCluster(t, e, 3, func(c *Config) {
		switch c.ID {
		case 2:
			c.Clock = skewed(-time.Hour)
		case 3:
			c.Clock = lost{}
		}
	})
	c.inView(1, 2, 3)
	for i := range 10 {
		c.processes[ID(i%2+1)].broadcast(fmt.Sprint("message ", i))
	}
	if _, err := c.processes[3].Broadcast(t.Context(), []byte("x")); !errors.Is(err, reason.BroadcastUnsynchronised) || errors.Is(err, reason.BroadcastMaybe) {
		t.Errorf("a broadcast without a clock: %v", err)
	}
	got := c.same(10, 1, 2, 3)
	for i, text := range got {
		if text != fmt.Sprint("message ", i) {
			t.Errorf("message %d is %q", i, text)
		}
	}
}

// slowConsumer: a consumer that does not consume costs bounded memory, and broadcasts wait for it in the end.
func slowConsumer(t *testing.T, e engine) {
	const window, unconsumed, size = 64 << 10, 64 << 10, 4 << 10
	c := newCluster(t, e, 3, func(c *Config) {
		c.Tuning.MaxPayload, c.Tuning.Window, c.Tuning.Unconsumed, c.Tuning.EvictAfter = size, window, unconsumed, time.Hour
	})
	c.inView(1, 2, 3)
	slow := c.processes[3]
	slow.state.mu.Lock() // its next apply waits
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var done atomic.Int64
	const callers, each = 8, 20
	for k := range callers {
		all.Go(func() {
			for i := range each {
				if _, err := c.processes[1].Broadcast(ctx, []byte(strings.Repeat(fmt.Sprint(k), size-1-i))); err != nil {
					t.Errorf("a broadcast: %v", err)
				}
				done.Add(1)
			}
		})
	}
	eventually(t, "broadcasts to wait", func() bool { return c.processes[1].Metrics().Blocked > 0 })
	m := slow.Metrics()
	if m.Held > 4*window || m.Queued > 2*unconsumed/(size-each) {
		t.Errorf("the slow process holds %d bytes, and %d items wait", m.Held, m.Queued)
	}
	slow.state.mu.Unlock()
	all.Wait()
	cancel()
	if done.Load() != callers*each {
		t.Errorf("%d broadcasts", done.Load())
	}
	c.same(callers*each, 1, 2, 3)
}

func keysAndSizes(t *testing.T, e engine) {
	c := newCluster(t, e, 3, func(c *Config) { c.Tuning.MaxPayload = 1000 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		for id := ID(1); id <= 3; id++ {
			if _, err := c.processes[id].BroadcastKey(ctx, Key{7}, []byte("once")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.processes[1].Broadcast(ctx, make([]byte, 1001)); !errors.Is(err, reason.BroadcastTooLong) || errors.Is(err, reason.BroadcastMaybe) {
		t.Errorf("a payload that is too long: %v", err)
	}
	c.processes[1].broadcast(strings.Repeat("y", 1000))
	c.processes[1].broadcast("")
	got := c.same(3, 1, 2, 3)
	if len(got) != 3 || got[0] != "once" || len(got[1]) != 1000 || got[2] != "" {
		t.Errorf("delivered %q", got)
	}
}

// consumersComeAndGo: a loop that ends is followed by another, which goes on where it ended; two at once take turns.
func consumersComeAndGo(t *testing.T, e engine) {
	c := newCluster(t, e, 1, nil)
	p := c.processes[1]
	p.cancel()
	<-p.over
	var got []string
	begun := len(p.payloads())
	for i := range 10 {
		p.broadcast(fmt.Sprint(i))
	}
	for len(got) < 10 {
		for d := range p.Deliveries(t.Context()) {
			if d.Kind == Message {
				got = append(got, string(d.Payload))
				break
			}
		}
	}
	if begun != 0 || !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}) {
		t.Errorf("%d, then %q", begun, got)
	}
	p.read()
}

func earlyAndTimeTriggered(t *testing.T, e engine) {
	const delta = 100 * time.Millisecond
	c := newCluster(t, e, 3, func(c *Config) { c.Tuning.Early, c.Tuning.Delta = true, delta })
	c.inView(1, 2, 3)
	for i := range 5 {
		begun := time.Now()
		c.processes[1].broadcast(fmt.Sprint(i))
		if d := time.Since(begun); d < delta {
			t.Errorf("delivered after %v, not before %v was wanted", d, delta)
		}
	}
	got := c.same(5, 1, 2, 3)
	for _, p := range c.processes {
		p.state.mu.Lock()
		if !slices.Equal(p.early, got) {
			t.Errorf("early: %q", p.early)
		}
		p.state.mu.Unlock()
	}
}

func configurationsThatAreRefused(t *testing.T, e engine) {
	c := newCluster(t, e, 1, nil)
	for name, change := range map[string]func(*Config){
		"no ID":               func(c *Config) { c.ID = 0 },
		"no directory":        func(c *Config) { c.Dir = "" },
		"not among the first": func(c *Config) { c.Bootstrap = []ID{1, 3} },
		"no address":          func(c *Config) { c.Members = nil },
		"half of snapshots":   func(c *Config) { c.Restore = nil },
		"no such durability":  func(c *Config) { c.Durability = 9 },
		"no certificates":     func(c *Config) { c.Security = nil },
		"an address in use":   func(c *Config) { c.Members = map[ID]string{2: c.Members[1]} },
		"a directory in use":  func(x *Config) { x.Dir = filepath.Join(c.dir, "1") },
		"a negative time":     func(c *Config) { c.Tuning.Bump = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c.change = change
			if _, ok := c.addresses[2]; !ok {
				c.address(2)
			}
			if p, err := c.try(2); err == nil {
				p.kill()
				t.Error("it was opened")
			}
		})
	}
}
