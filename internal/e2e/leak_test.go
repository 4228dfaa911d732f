package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// cycles is how many reloads and reconnections a daemon must live through without holding more than before.
const cycles = 200

// A daemon is reloaded 200 times, between two configurations with different sources and servers, while one of its sources is dead,
// so that its socket is made anew again and again, and while every reload is asked for by a new control connection. It then has as
// many file descriptors, threads and goroutines as a daemon that has just started.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	one, two := chronyServer(t, 1), chronyServer(t, 1)
	dead := freeAddress(t, 1)
	quick := func(address string) string {
		return strings.Replace(fastSource(address, `timeout = "10ms"`), "100ms", "10ms", 1)
	}
	small := quick(one.Address()) + quick(dead)
	large := quick(one.Address()) + fastSource(two.Address()) + quick(dead) + listening(freeAddress(t, 1))
	fresh, old := newHost(t), newHost(t)
	fresh.configure(small)
	old.configure(small)
	old.run()
	old.reach(virtualclock.Synchronised)
	old.watch(truth{})
	before := residentMemory(t, old.PID())
	for i := range cycles {
		if i%2 == 0 {
			old.configure(large)
		} else {
			old.configure(small)
		}
		if s := old.reload(); s.Config.Error != "" || s.Config.Reloads != uint64(i)+1 {
			t.Fatalf("reload %d: %+v", i+1, s.Config)
		}
	}
	// Eight unanswered requests make a new socket.
	old.await("the dead source's socket to be renewed 200 times", func() bool { return old.source(dead).Sent > 8*cycles })
	if s := old.status(); s.Epoch != 1 || s.Status != virtualclock.Synchronised {
		t.Errorf("in the end: %+v", s)
	}
	fresh.run()
	fresh.reach(virtualclock.Synchronised)
	want := descriptors(t, fresh.PID())
	var got map[string]int
	old.await("sockets that were given up to be closed", func() bool {
		got = descriptors(t, old.PID())
		return total(got) <= total(want)+2
	})
	t.Logf("descriptors: fresh %v, after %d cycles %v; resident memory %s, was %s", want, cycles, got, residentMemory(t, old.PID()), before)
	fewer, more := goroutines(t, fresh), goroutines(t, old)
	t.Logf("goroutines: fresh %d, after %d cycles %d", fewer, cycles, more)
	if more > fewer+2 {
		t.Errorf("after %d cycles there are %d goroutines, a fresh daemon has %d:\n%s", cycles, more, fewer, old.Output())
	}
}

// descriptors counts a process's open files by kind.
func descriptors(t *testing.T, pid int) map[string]int {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range list {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed since
		}
		kind, _, _ := strings.Cut(to, ":")
		kinds[kind]++
	}
	return kinds
}

func total(kinds map[string]int) (n int) {
	for _, k := range kinds {
		n += k
	}
	return n
}

// goroutineHead begins each goroutine's stack; the state in brackets begins with GC for the runtime's own workers, which come and
// go.
var goroutineHead = regexp.MustCompile(`(?m)^goroutine [1-9]\d* [^\[]*\[[^G]`)

// goroutines ends the daemon with SIGQUIT, which makes it show its goroutines, and counts them.
func goroutines(t *testing.T, h *host) int {
	t.Helper()
	h.crash = true
	if err := h.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.Done():
	case <-time.After(patience):
		t.Fatal("SIGQUIT does not end the daemon")
	}
	n := len(goroutineHead.FindAllString(h.Output(), -1))
	if n == 0 {
		t.Fatalf("there are no goroutines in the daemon's last words:\n%s", h.Output())
	}
	return n
}
