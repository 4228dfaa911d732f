package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// writer writes new keys through one member until it is told to stop, and remembers those that were acknowledged.
type writer struct {
	m       *member
	stop    atomic.Bool
	mu      sync.Mutex
	acked   []string
	last    time.Time     // of the last acknowledgement
	longest time.Duration // between two
	running sync.WaitGroup
}

func (c *cluster) write(id int) *writer {
	w := &writer{m: c.members[id], last: time.Now()}
	w.running.Go(func() {
		for n := 0; !w.stop.Load(); n++ {
			key := fmt.Sprintf("w%d-%d", id, n)
			if !w.m.put(20*time.Second, key, key) {
				time.Sleep(5 * time.Millisecond)
				continue
			}
			w.mu.Lock()
			w.acked = append(w.acked, key)
			w.longest = max(w.longest, time.Since(w.last))
			w.last = time.Now()
			w.mu.Unlock()
		}
	})
	return w
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// more waits for so many acknowledgements more, and returns the longest time without one meanwhile.
func (w *writer) more(n int) time.Duration {
	w.m.c.t.Helper()
	w.mu.Lock()
	from := len(w.acked)
	w.last, w.longest = time.Now(), 0
	w.mu.Unlock()
	testkit.WaitFor(w.m.c.t, 2*time.Minute, "acknowledged writes", func() bool { return w.count() >= from+n })
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.longest.Round(time.Millisecond)
}

func (w *writer) end() []string {
	w.stop.Store(true)
	w.running.Wait()
	return w.acked
}

// hold checks that all members agree, and that each has every acknowledged write.
func (c *cluster) hold(acked []string, ids ...int) {
	c.t.Helper()
	c.agree(ids...)
	for _, id := range ids {
		for i, key := range acked {
			if i%7 != id%7 && len(acked) > 300 {
				continue // each key at one member at least, as long as there are seven or fewer; all at all would take long
			}
			if code, text, err := c.members[id].do(20*time.Second, http.MethodGet, "/kv/"+key, ""); err != nil || code != http.StatusOK || text != key {
				c.t.Fatalf("member %d: the acknowledged write %s is lost: %d %q %v", id, key, code, text, err)
			}
		}
	}
}

// TestCrashAndPause: members are killed, the coordinator of the views among them, and stopped; the others are back soon, and nothing is lost.
func TestCrashAndPause(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 0, nil)
	var acked []string
	for id := 1; id <= 3; id++ {
		m := c.members[id]
		w := c.write(id%3 + 1)
		w.more(20)
		m.process.Kill()
		t.Logf("kill -9 of member %d: no write is acknowledged for %v", id, w.more(40))
		m.start()
		m.ready()
		c.whole(id%3+1, 3)
		m.signal(syscall.SIGSTOP)
		t.Logf("SIGSTOP of member %d: no write is acknowledged for %v", id, w.more(40))
		m.signal(syscall.SIGCONT)
		m.ready()
		c.whole(id%3+1, 3)
		acked = append(acked, w.end()...)
	}
	c.hold(acked, 1, 2, 3)
}

// TestPartitionAndHeal cuts off a minority, and then everybody from everybody.
func TestPartitionAndHeal(t *testing.T) {
	t.Parallel()
	testkit.RequireTool(t, "nft")
	c := newCluster(t, 3, 0, nil)
	w := c.write(1)
	w.more(20)
	c.net.Partition([]int{0, 1}, []int{2})
	t.Logf("cut off from member 3, no write is acknowledged for %v", w.more(40))
	if c.members[3].put(time.Second, "lonely", "x") {
		t.Error("a member alone acknowledged a write")
	}
	if code, text, err := c.members[3].do(time.Second, http.MethodGet, "/kv/w1-0", ""); err == nil && code == http.StatusOK {
		t.Errorf("a member alone answered a read: %q", text)
	}
	c.net.Partition([]int{0}, []int{1}, []int{2})
	before := w.count()
	time.Sleep(2 * time.Second)
	if n := w.count() - before; n > 1 {
		t.Errorf("%d writes were acknowledged by a member alone", n)
	}
	c.net.Heal()
	t.Logf("after all were cut off for 2 s, no write is acknowledged for %v", w.more(20))
	for id := 1; id <= 3; id++ {
		c.members[id].ready()
	}
	c.hold(w.end(), 1, 2, 3)
}

// TestFullDisk fills one member's disk: it stops with the reason, the others go on, and it comes back when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	testkit.RequireRoot(t)
	c := newCluster(t, 3, 0, func(m *member) []string {
		if m.id == 2 {
			if err := os.MkdirAll(m.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", m.dir, "tmpfs", 0, "size=2m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				m.process.Kill()
				if err := syscall.Unmount(m.dir, 0); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	})
	m := c.members[2]
	w := c.write(1)
	w.more(20)
	junk := filepath.Join(m.dir, "junk")
	if err := os.WriteFile(junk, make([]byte, 4<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	select {
	case <-m.process.Done():
	case <-time.After(time.Minute):
		t.Fatal("the member with a full disk goes on")
	}
	if out := m.process.Output(); !strings.Contains(out, "no space left on device") {
		t.Errorf("it does not say why: %s", out)
	}
	w.more(20)
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.ready()
	w.more(20)
	c.hold(w.end(), 1, 2, 3)
}

// TestSlowDiskAndWrongClock: a disk that is slow, and a clock that is an hour late, cost neither writes nor much time.
func TestSlowDiskAndWrongClock(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"slow disk":            {"--slow-disk", "100ms"},
		"a clock an hour late": {"--shift-clock", "-1h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, 0, func(m *member) []string {
				if m.id == 3 {
					return flags
				}
				return nil
			})
			var acked []string
			for _, id := range []int{1, 3} {
				w := c.write(id)
				begun := time.Now()
				w.more(30)
				t.Logf("member %d: a write takes %v", id, (time.Since(begun) / 30).Round(100*time.Microsecond))
				acked = append(acked, w.end()...)
			}
			c.hold(acked, 1, 2, 3)
		})
	}
}

// TestClockAhead: a member whose clock is an hour early cannot have its own writes acknowledged, for nobody follows its clock, but the others can.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 0, func(m *member) []string {
		if m.id == 3 {
			return []string{"--shift-clock", "1h"}
		}
		return nil
	})
	w, ahead := c.write(1), c.write(3)
	t.Logf("with a member that is an hour early, no write of another is acknowledged for %v at the longest", w.more(300))
	c.members[3].process.Kill()
	acked := append(w.end(), ahead.end()...)
	t.Logf("%d writes of the early member were acknowledged", ahead.count())
	c.members[3].flags = nil
	c.members[3].start()
	c.members[3].ready()
	c.hold(acked, 1, 2, 3)
}

// TestMembersComeAndGo restarts all members in order while somebody writes, lets a new one in, and takes an old one out.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 1, func(*member) []string { return []string{"--snapshot-every", "20000", "--segment-size", "10000"} })
	w := c.write(1)
	w.more(50)
	for _, id := range []int{2, 3} {
		m := c.members[id]
		if err := m.process.Stop(time.Minute); err != nil {
			t.Errorf("member %d: %v", id, err)
		}
		m.start()
		m.ready()
		c.whole(1, 3)
	}
	w.mu.Lock()
	t.Logf("rolling restart: at the longest %v between two acknowledged writes", w.longest.Round(time.Millisecond))
	w.mu.Unlock()
	w.more(300)
	c.members[4].start()
	if code, text, err := c.members[2].do(time.Minute, http.MethodPost, "/members?add=4&address="+c.members[4].address(), ""); err != nil || code != http.StatusNoContent {
		t.Fatalf("add: %d %s %v", code, text, err)
	}
	c.members[4].ready()
	c.whole(1, 4)
	c.members[2].process.Kill()
	if code, text, err := c.members[4].do(time.Minute, http.MethodPost, "/members?remove=2", ""); err != nil || code != http.StatusNoContent {
		t.Fatalf("remove: %d %s %v", code, text, err)
	}
	w.more(20)
	c.hold(w.end(), 1, 3, 4)
}

// whole waits until n members are in the view of a member.
func (c *cluster) whole(id, n int) {
	c.t.Helper()
	testkit.WaitFor(c.t, time.Minute, fmt.Sprintf("a view of %d", n), func() bool {
		r, err := c.members[id].status()
		return err == nil && len(r.Members) == n
	})
}

// TestForeignBytes sends rubbish to a member's port while it works.
func TestForeignBytes(t *testing.T) {
	t.Parallel()
	seed := testkit.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	c := newCluster(t, 3, 0, nil)
	w := c.write(2)
	for i := range 100 {
		b := make([]byte, r.IntN(2000))
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		if i%3 == 0 {
			b = slices.Concat([]byte("GET / HTTP/1.1\r\n\r\n"), b)
		}
		conn, err := c.members[1].dial()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(b)
		_ = conn.Close()
	}
	w.more(20)
	s, err := c.members[1].status()
	if err != nil || s.Refused["link_foreign"] < 90 {
		t.Errorf("refused: %v, %v", s.Refused, err)
	}
	c.hold(w.end(), 1, 2, 3)
}
