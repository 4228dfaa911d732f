package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// variableReader holds the path of the page that a reader process reads.
const variableReader = "CLOCKD_E2E_READER"

// readPageUntilTold is the main function of a reader process: it reads the page until SIGTERM, checks each look against the truth,
// and prints a line for each change of status, for each untruth, and at the end.
func readPageUntilTold() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	r, err := virtualclock.OpenPage(os.Getenv(variableReader))
	if err != nil {
		fmt.Println("cannot open:", err)
		return
	}
	n, last := newTally(), ""
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	for {
		for range watchBurst {
			wrong, sound := n.wrong, n.lastSound
			s := truth{}.look(r)
			n.add(&s)
			if n.wrong > wrong {
				fmt.Println("wrong:", s.wrong())
			}
			state := fmt.Sprintf("%s %s epoch %d", s.reading.Interval.Status, s.why.String(), s.reading.Interval.Epoch)
			if state != last {
				last = state
				fmt.Printf("at %d: %s; last sound %d\n", s.before, state, sound)
			}
		}
		select {
		case <-pause.C:
		case <-stop:
			fmt.Println("end:", &n)
			return
		}
	}
}

// kills is how often the daemon dies.
const kills = 6

// The daemon is killed with -9 under four readers in this process and one in another, again and again. None of them ever reads a
// wrong or torn interval; all see it void in time; and all see the clock of the next daemon, in a higher epoch, without opening
// the page anew.
func TestKilledUnderReaders(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 1)
	const lifetime = 400 * time.Millisecond
	h := newShippedHost(t)
	// It publishes as often as it can, so that it is often killed while it does.
	h.configure(strings.Replace(fastSource(server.Address()), "100ms", "10ms", 1), fmt.Sprintf("[clock]\nheartbeat = \"10ms\"\nlifetime = \"%v\"\n", lifetime))
	h.run()
	h.reach(virtualclock.Synchronised)
	readers := startReaders(t, h, 4)
	readers.await("a sound clock", func(n *tally) bool { return n.sound > 0 })
	readers.awaitProcess("synchronised ok epoch %d;", readers.epoch())
	page, err := os.Stat(h.page)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 4))
	for range kills {
		epoch := readers.epoch()
		time.Sleep(time.Duration(rng.Int64N(int64(50 * time.Millisecond))))
		// Kill returns when the process is gone, so nothing is published after this.
		h.Kill()
		killed := truth{}.now()
		readers.await("a void clock", func(n *tally) bool { return n.void && n.lastLook > killed })
		readers.awaitProcess("unsynchronised page_void epoch %d;", epoch)
		h.start()
		readers.await("the next daemon's clock", func(n *tally) bool { return n.sound > 0 && n.epochs[len(n.epochs)-1] > epoch })
		readers.awaitProcess("synchronised ok epoch %d;", readers.epoch())
		readers.check(epoch, killed, lifetime)
	}
	if again, err := os.Stat(h.page); err != nil || !os.SameFile(page, again) {
		t.Errorf("the page was replaced instead of taken over: %v", err)
	}
	h.terminate()
	readers.await("a page that says that its daemon has gone", func(n *tally) bool { return n.void })
	readers.end()
}

// readers are several readers of one page.
type readers struct {
	t       *testing.T
	process *testkit.Process
	stop    chan struct{}
	running sync.WaitGroup

	mu   sync.Mutex
	each []tally
	// lasts holds, for each reader and epoch, when its last sound look in that epoch began.
	lasts []map[virtualclock.Epoch]int64
}

// startReaders starts n readers in goroutines and one in a process of its own.
func startReaders(t *testing.T, h *host, n int) *readers {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), variableReader+"="+h.page)
	x := &readers{t: t, process: testkit.StartProcess(t, command), stop: make(chan struct{}), each: make([]tally, n), lasts: make([]map[virtualclock.Epoch]int64, n)}
	for i := range n {
		x.each[i], x.lasts[i] = newTally(), map[virtualclock.Epoch]int64{}
		r := h.open()
		x.running.Go(func() { x.read(i, r) })
	}
	t.Cleanup(x.end)
	return x
}

func (x *readers) read(i int, r *virtualclock.Reader) {
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	for {
		x.mu.Lock()
		for k := range watchBurst {
			var s sight
			if k%2 == 0 {
				s = truth{}.look(r)
			} else {
				s = truth{}.glance(r)
			}
			n := &x.each[i]
			n.add(&s)
			if !n.void {
				x.lasts[i][s.reading.Interval.Epoch] = s.before
			}
		}
		x.mu.Unlock()
		select {
		case <-pause.C:
		case <-x.stop:
			return
		}
	}
}

// await waits until something holds for each reader in this process, and the reader process lives.
func (x *readers) await(what string, ok func(*tally) bool) {
	x.t.Helper()
	testkit.WaitFor(x.t, patience, what+" at every reader", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		for i := range x.each {
			if !ok(&x.each[i]) {
				return false
			}
		}
		return true
	})
}

// awaitProcess waits until the reader process has said what it saw in an epoch: it may get the processor later than this one does.
func (x *readers) awaitProcess(format string, epoch virtualclock.Epoch) {
	x.t.Helper()
	line := fmt.Sprintf(format, epoch)
	testkit.WaitFor(x.t, patience, "the reader process to say "+line, func() bool { return strings.Contains(x.process.Output(), line) })
}

func (x *readers) epoch() virtualclock.Epoch {
	x.mu.Lock()
	defer x.mu.Unlock()
	last := virtualclock.Epoch(0)
	for i := range x.each {
		for _, e := range x.each[i].epochs {
			last = max(last, e)
		}
	}
	return last
}

// check says whether somebody read the dead daemon's clock as sound for longer than its publication may live. The deadline is in
// ticks of the counter and the last publication was before the kill, so however slow this machine is, a look that began later
// must find nothing.
func (x *readers) check(epoch virtualclock.Epoch, killed int64, lifetime time.Duration) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, last := range x.lasts {
		if late := time.Duration(last[epoch] - killed); late > lifetime+lifetime/1000 {
			x.t.Errorf("reader %d read epoch %d as sound %v after its daemon's death; what is published lives %v", i, epoch, late, lifetime)
		}
	}
}

// end ends the readers and checks what they say.
func (x *readers) end() {
	select {
	case <-x.stop:
		return
	default:
	}
	close(x.stop)
	x.running.Wait()
	_ = x.process.Stop(patience)
	said := x.process.Output()
	if !strings.Contains(said, "end: ") || strings.Contains(said, "wrong:") || !strings.Contains(said, " 0 wrong, 0 times backwards") {
		x.t.Errorf("the reader process says:\n%s", said)
	}
	for i := range x.each {
		n := &x.each[i]
		if n.wrong > 0 || n.backwards > 0 {
			x.t.Errorf("reader %d: %s\nfirst: %s", i, n, n.first)
		}
		for _, code := range []reason.Code{reason.PageMagic, reason.PageVersion, reason.PageSize, reason.PageCounter, reason.PageMissing} {
			if n.whys[code] > 0 {
				x.t.Errorf("reader %d saw %v", i, code)
			}
		}
		x.t.Logf("reader %d: %s", i, n)
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	x.t.Logf("the reader process: %s", lines[len(lines)-1])
}
