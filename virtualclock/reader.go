//go:build linux

package virtualclock

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// Reader reads the shared page of a clockd. It may be used from any goroutine. Reading takes no lock, no system call (where the
// counter needs none) and no memory.
//
// A Reader finds a restarted daemon by itself: most take their page over in place; if instead the page was replaced, the first
// void reading, and then one in every 100 ms, looks whether there is a new file at the path, and opens it.
//
// The file must not be made shorter while it is mapped, or reading ends the process with SIGBUS; clockd never does.
type Reader struct {
	view atomic.Pointer[mappedView]
	path string
	open func(spec string) (hw.Counter, error)
	// vmclock is the path of the device.
	vmclock string
	// checked is the counter reading at which the path was looked at last.
	checked atomic.Uint64
	mu      sync.Mutex
	closed  bool
}

// mappedView is a view of a file. The mapping ends when nobody can reach the mappedView any more.
type mappedView struct {
	view
	spec string
	info fs.FileInfo
	// recheck is how many ticks the path is left alone.
	recheck uint64
}

// OpenPage opens the page at path, and the counter that it is made for. That the page is void at the moment is no error.
//
// Errors wrap a reason.Code: PageMissing, PageMagic, PageVersion, PageSize, PageCounter (this process cannot read that counter),
// PageVoid (the page was left by a daemon that ran before the last boot).
func OpenPage(path string) (*Reader, error) { return openPage(path, hw.Open) }

func openPage(path string, open func(string) (hw.Counter, error)) (*Reader, error) {
	return openPageBeside(path, open, hw.VMClockPath)
}

// openPageBeside is openPage with another VMClock device.
func openPageBeside(path string, open func(string) (hw.Counter, error), vmclock string) (*Reader, error) {
	r := &Reader{path: path, open: open, vmclock: vmclock}
	v, err := r.openView(nil)
	if err != nil {
		return nil, err
	}
	r.view.Store(v)
	return r, nil
}

// openView maps what is at the path now. The counter of the view before is kept if it is the same.
func (r *Reader) openView(before *mappedView) (*mappedView, error) {
	v, err := r.mapView()
	if err != nil {
		return nil, fmt.Errorf("virtualclock: page %s: %w", r.path, err)
	}
	h, err := parseHeader(v.words)
	if err != nil {
		return nil, fmt.Errorf("virtualclock: page %s: %w", r.path, err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("virtualclock: page %s: %w", r.path, err)
	}
	if boot != h.boot {
		return nil, fmt.Errorf("virtualclock: page %s: it was left by a daemon that ran before this host's last boot; start clockd: %w",
			r.path, reason.PageVoid)
	}
	v.spec = h.spec
	if before != nil && before.spec == h.spec {
		v.counter = before.counter
	} else if v.counter, err = r.open(h.spec); err != nil {
		return nil, fmt.Errorf("virtualclock: page %s is made for the counter %s: %w: %w", r.path, h.spec, reason.PageCounter, err)
	}
	v.kind = kindOf(v.counter)
	// Most hosts have none, and some let only root look: then the daemon is the one who notices.
	if before != nil && before.marker != nil {
		v.marker = before.marker
	} else if m, err := hw.OpenVMClock(r.vmclock); err == nil {
		v.marker = m
	}
	v.follow = func() *view { return r.follow(v) }
	if hertz := v.counter.Frequency().Hertz; hertz > 0 && hertz < 1e18 {
		v.recheck = uint64(hertz * recheckSeconds)
	}
	return v, nil
}

const recheckSeconds = 0.1

// mapView maps the file, whose size must be right.
func (r *Reader) mapView() (*mappedView, error) {
	f, info, err := openRegular(r.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() != pageSize {
		return nil, fmt.Errorf("it has %d bytes, not %d: %w", info.Size(), pageSize, reason.PageSize)
	}
	mapped, words, err := mapPage(f, unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	v := &mappedView{view: view{words: words}, info: info}
	runtime.AddCleanup(v, func(b []byte) { _ = unix.Munmap(b) }, mapped)
	return v, nil
}

// Now returns the interval in which true time was when the counter was read during this call. An interval that is not sound
// reaches from MinTime to MaxTime; NowReason tells why.
func (r *Reader) Now() (i Interval) {
	var worth packed
	i.Earliest, i.Latest, i.Epoch, worth, _ = r.view.Load().now()
	i.Standing = worth.standing()
	return
}

// NowReason is Now with the reason why the status is below Synchronised, OK if it is not:
//
//	Holdover        Stale, or the writer's reason
//	Unsynchronised  PageVoid: no news from the daemon for too long, or it was shut down
//	                PageTorn: the daemon died while it wrote; PageRetired: the page was replaced and the new one cannot be read
//	                PageMissing: the Reader is closed; or the writer's reason
//	Disrupted       CounterBackwards: the counter was reset; HostPaused: the hypervisor tells of a migration or a restored snapshot
//	                (hw.VMClock) that the daemon has not dealt with yet; or the writer's reason
func (r *Reader) NowReason() (i Interval, why reason.Code) {
	var worth packed
	i.Earliest, i.Latest, i.Epoch, worth, why = r.view.Load().now()
	i.Standing = worth.standing()
	return
}

// Read returns the virtual clock and the interval at one counter reading.
func (r *Reader) Read() Reading { reading, _ := r.view.Load().read(); return reading }

// ReadReason is Read with the reason of NowReason.
func (r *Reader) ReadReason() (Reading, reason.Code) { return r.view.Load().read() }

// follow returns the view to read after v gave nothing: another one if the page was replaced. It looks at the file at most once
// in 100 ms of the counter.
func (r *Reader) follow(v *mappedView) *view {
	now, last := uint64(v.counter.Read()), r.checked.Load()
	if last != 0 && now-last < v.recheck || !r.checked.CompareAndSwap(last, now|1) {
		return &r.view.Load().view
	}
	if info, err := os.Stat(r.path); err == nil && !os.SameFile(info, v.info) {
		_ = r.Reopen() // if it cannot, the old page goes on to tell why there is nothing
	}
	return &r.view.Load().view
}

// Reopen opens whatever is at the path now. If it cannot, the error says why (as OpenPage's) and the Reader stays with what it
// has.
func (r *Reader) Reopen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("virtualclock: page %s: the reader is closed: %w", r.path, reason.PageMissing)
	}
	v, err := r.openView(r.view.Load())
	if err != nil {
		return err
	}
	r.view.Store(v)
	return nil
}

// Close gives the page up; readings after it are void with reason PageMissing. It does not wait for readings that are under way,
// and does them no harm.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.view.Store(&mappedView{view: *deadView(reason.PageMissing)})
	return nil
}

// Coefficients returns a copy of what the page holds, to evaluate it for many counter readings; void coefficients and the reason
// if there is nothing.
func (r *Reader) Coefficients() (Coefficients, reason.Code) { return r.view.Load().coefficients() }

// Instance returns the number that the page's present writer was given; not ok if the page cannot be read.
func (r *Reader) Instance() (instance uint64, ok bool) {
	var k content
	_, why := r.view.Load().load(&k)
	return k.instance, why == reason.OK
}

// Counter returns the counter that the page is made for, to take readings for Duration; nil after Close.
func (r *Reader) Counter() hw.Counter { return r.view.Load().counter }

// Duration measures the time between two readings of Counter with the difference clock; see Coefficients.Duration. Not ok also if
// the page cannot be read.
func (r *Reader) Duration(from, to hw.Ticks) (Elapsed, bool) {
	k, why := r.Coefficients()
	if why != reason.OK {
		return Elapsed{}, false
	}
	return k.Duration(from, to)
}

// Bound returns the largest error of the virtual clock at this moment in seconds, +Inf if the clock is not sound.
func (r *Reader) Bound() float64 { reading := r.Read(); return reading.Bound() }

// After reports that t has certainly passed; see the function After.
func (r *Reader) After(t Time) bool { return r.Now().After(t) }

// Before reports that t has certainly not come yet; see the function Before.
func (r *Reader) Before(t Time) bool { return r.Now().Before(t) }

// Since returns the least and the most time that can have passed since t; not ok if the clock is not sound.
func (r *Reader) Since(t Time) (least, most time.Duration, ok bool) { return r.Now().Since(t) }

// CommitWait waits until t has certainly passed; see the function CommitWait.
func (r *Reader) CommitWait(ctx context.Context, t Time) error { return CommitWait(ctx, r, t) }
