//go:build linux

package clockbound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// ErrBusy: another clockd writes to the segment.
var ErrBusy = errors.New("another clockd writes to it")

// Options say what a Writer writes.
type Options struct {
	Path    string
	Counter hw.Counter
	// Slew is by how much others may slew CLOCK_REALTIME beyond the rate that the kernel is programmed to at the moment.
	Slew float64
	Log  *slog.Logger
}

// Writer keeps a segment. It may be used from any goroutine.
type Writer struct {
	options Options
	mu      sync.Mutex
	file    *os.File
	words   *[Size / 8]atomic.Uint64
	mapped  []byte
	// generation is the last even one.
	generation uint16
	last       virtualclock.Coefficients
	has, told  bool
	read       func(c hw.Counter) (readings, error)
	// setting tells, by the end of a read, that CLOCK_REALTIME was set.
	setting *os.File
	watched sync.WaitGroup
}

// Create makes the file, or goes on in the one that is there: programs that have it mapped go on reading. Its directory is made. A file
// that is no segment is left alone, with an error.
func Create(o Options) (*Writer, error) {
	w := &Writer{options: o, read: readClocks}
	err := os.MkdirAll(filepath.Dir(o.Path), 0o755)
	if err == nil {
		err = w.open()
	}
	if err != nil {
		return nil, fmt.Errorf("clockbound: %s: %w", o.Path, err)
	}
	w.mu.Lock()
	s := unknown(Unknown, 0)
	w.store(&s)
	w.mu.Unlock()
	w.watch()
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.options.Path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	if err := w.take(f); err != nil {
		return errors.Join(err, f.Close())
	}
	w.file = f
	return nil
}

func (w *Writer) take(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file: %w", reason.PageMagic)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	head := make([]byte, headerSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n > 0 && !isSegment(head) {
		return fmt.Errorf("there is a file that is no segment of ClockBound; remove it or choose another path: %w", reason.PageMagic)
	}
	if info.Size() < Size { // never shorter: who has it mapped would be ended
		if err := f.Truncate(Size); err != nil {
			return err
		}
	}
	if w.mapped, err = unix.Mmap(int(f.Fd()), 0, Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping it: %w", err)
	}
	w.words = (*[Size / 8]atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(w.mapped)))
	if n > 0 {
		w.generation = binary.NativeEndian.Uint16(head[offsetVersion+2:]) &^ 1
	}
	return nil
}

// store writes a segment: w.mu is held.
func (w *Writer) store(s *Segment) {
	w.head(w.generation | 1)
	b := s.appendTo(make([]byte, 0, Size-headerSize))
	for i := 0; i < len(b); i += 8 {
		w.words[(headerSize+i)/8].Store(binary.NativeEndian.Uint64(b[i:]))
	}
	if w.generation += 2; w.generation == 0 {
		w.generation = 2 // 0 would say that nothing was ever written
	}
	w.head(w.generation)
}

func (w *Writer) head(generation uint16) {
	order := binary.NativeEndian
	b := order.AppendUint32(order.AppendUint32(nil, magicFirst), magicSecond)
	w.words[0].Store(order.Uint64(b))
	b = order.AppendUint32(b[:0], Size)
	b = order.AppendUint16(order.AppendUint16(b, version), generation)
	w.words[1].Store(order.Uint64(b))
}

// Publish writes what coefficients say of the system's clock now.
func (w *Writer) Publish(k *virtualclock.Coefficients) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.has = *k, true
	w.refresh()
}

// refresh reads the clocks again: w.mu is held.
func (w *Writer) refresh() {
	if !w.has || w.mapped == nil {
		return
	}
	r, err := w.read(w.options.Counter)
	s := unknown(Unknown, r.asOf)
	if err == nil {
		s = describe(&w.last, &r, w.options.Slew)
	}
	if told := err != nil; told != w.told { // once, not at each publication
		if w.told = told; told && w.options.Log != nil {
			w.options.Log.Warn("ClockBound's readers are told nothing", "error", err)
		}
	}
	w.store(&s)
}

// Close tells readers that nothing is known any more, and leaves the file.
func (w *Writer) Close() error {
	if w.setting != nil {
		_ = w.setting.Close()
	}
	w.watched.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mapped == nil {
		return nil
	}
	s := unknown(Unknown, 0)
	w.store(&s)
	err := errors.Join(unix.Munmap(w.mapped), w.file.Close())
	w.mapped, w.words = nil, nil
	if err != nil {
		return fmt.Errorf("clockbound: %s: %w", w.options.Path, err)
	}
	return nil
}

// watch writes anew when somebody has set the system's clock, which the kernel tells those who wait for a time on it.
func (w *Writer) watch() {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err == nil {
		err = armForSetting(fd)
	}
	if err != nil {
		if w.options.Log != nil {
			w.options.Log.Warn("ClockBound: a set system clock is seen late, at the next publication", "error", err)
		}
		return
	}
	w.setting = os.NewFile(uintptr(fd), "timerfd")
	w.watched.Go(func() {
		var b [8]byte
		for {
			_, err := w.setting.Read(b[:])
			if !errors.Is(err, unix.ECANCELED) {
				return // closed
			}
			w.mu.Lock()
			w.refresh()
			w.mu.Unlock()
			if w.rearm() != nil {
				return
			}
		}
	})
}

// rearm holds the file open meanwhile.
func (w *Writer) rearm() error {
	raw, err := w.setting.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = armForSetting(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func armForSetting(fd int) error {
	never := int64(math.MaxInt64) // nanoseconds since 1970
	if math.MaxInt == math.MaxInt32 {
		never = math.MaxInt32 * int64(time.Second) // all that the kernel's structure holds there
	}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &unix.ItimerSpec{Value: unix.NsecToTimespec(never)}, nil)
}

// readClocks reads them all, the narrowest of a few tries.
func readClocks(c hw.Counter) (readings, error) {
	r := readings{frequency: c.Frequency()}
	var err error
	if r.rate, err = programmedRate(); err != nil {
		return r, err
	}
	var t unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		return r, fmt.Errorf("clockbound: clock_getres: %w", err)
	}
	r.coarse = t.Nano()
	const tries = 4
	found := false
	for range tries {
		var coarse, real unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &coarse); err != nil {
			return r, fmt.Errorf("clockbound: clock_gettime: %w", err)
		}
		low := c.Read()
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &real); err != nil {
			return r, fmt.Errorf("clockbound: clock_gettime: %w", err)
		}
		high := c.Read()
		if !high.Before(low) && (!found || high-low < r.high-r.low) {
			found, r.low, r.high, r.realtime, r.asOf = true, low, high, real.Nano(), coarse.Nano()
		}
	}
	if !found {
		return r, fmt.Errorf("clockbound: %w", reason.CounterBackwards)
	}
	return r, nil
}

// programmedRate is by how much the kernel is told to run CLOCK_REALTIME faster than its counter's nominal frequency.
func programmedRate() (float64, error) {
	var t unix.Timex // modes 0: read only
	if _, err := unix.Adjtimex(&t); err != nil {
		return 0, fmt.Errorf("clockbound: the kernel does not tell the rate of the system's clock: %w", err)
	}
	const tick = 10_000 // microseconds, of USER_HZ
	return float64(t.Tick)/tick - 1 + float64(t.Freq)/65536*1e-6, nil
}
