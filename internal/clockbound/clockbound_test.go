//go:build linux

package clockbound

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// TestLayout holds the bytes against docs/PROTOCOL.md of ClockBound, field by field at offsets counted in its picture.
func TestLayout(t *testing.T) {
	s := Segment{AsOf: 5_000_000_007, VoidAfter: -1, Bound: 1 << 40, Marker: 77, DisruptionSupport: true, MaxDriftPPB: 50_000, Status: FreeRunning}
	b := segment(&s, 4)
	order := binary.NativeEndian
	for name, x := range map[string][2]uint64{
		"magic":        {uint64(order.Uint32(b)), 0x414d5a4e},
		"more magic":   {uint64(order.Uint32(b[4:])), 0x43420200},
		"size":         {uint64(order.Uint32(b[8:])), 80},
		"version":      {uint64(order.Uint16(b[12:])), 2},
		"generation":   {uint64(order.Uint16(b[14:])), 4},
		"as of":        {order.Uint64(b[16:]), 5},
		"as of, ns":    {order.Uint64(b[24:]), 7},
		"void":         {order.Uint64(b[32:]), math.MaxUint64},
		"void, ns":     {order.Uint64(b[40:]), 999_999_999},
		"bound":        {order.Uint64(b[48:]), 1 << 40},
		"marker":       {order.Uint64(b[56:]), 77},
		"drift":        {uint64(order.Uint32(b[64:])), 50_000},
		"status":       {uint64(order.Uint32(b[68:])), 2},
		"support":      {uint64(b[72]), 1},
		"whole length": {uint64(len(b)), 80},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: %#x, want %#x", name, x[0], x[1])
		}
	}
	if got, generation, err := Parse(b); got != s || generation != 4 || err != nil {
		t.Errorf("%+v %d %v", got, generation, err)
	}
}

func segment(s *Segment, generation uint16) []byte {
	order := binary.NativeEndian
	b := order.AppendUint32(order.AppendUint32(nil, magicFirst), magicSecond)
	b = order.AppendUint16(order.AppendUint16(order.AppendUint32(b, Size), version), generation)
	return s.appendTo(b)
}

// FuzzParse: no bytes make it panic, and what it takes gives no inverted interval.
func FuzzParse(f *testing.F) {
	good := segment(&Segment{AsOf: 1e9, VoidAfter: 9e9, Bound: 1000, MaxDriftPPB: 500, Status: Synchronised}, 2)
	f.Add(good, int64(2e18), int64(2e9))
	f.Add(good[:79], int64(0), int64(0))
	f.Add(segment(&Segment{Bound: math.MaxInt64, MaxDriftPPB: 999_999_999, Status: FreeRunning}, 3), int64(math.MaxInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, b []byte, real, mono int64) {
		s, generation, err := Parse(b)
		if err != nil {
			var code reason.Code
			if !errors.As(err, &code) {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		if generation&1 != 0 || s.Bound < 0 {
			t.Fatalf("%+v %d", s, generation)
		}
		if early, late, _, err := s.At(real, mono); err == nil && (early > real || late < real) {
			t.Fatalf("%+v at %d, %d: %d to %d", s, real, mono, early, late)
		}
	})
}

// TestBoundContainsTrueTime: true time, a counter with a wrong rate, and a system clock that the kernel runs at a programmed rate and that
// others slew within what is vouched for: whatever a reader computes at any later moment contains true time.
func TestBoundContainsTrueTime(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	var trusted, tight int
	for range 5000 {
		hertz := []float64{1e9, 2.6e9, 1e8}[r.IntN(3)]
		counterRate := (r.Float64() - 0.5) * 1e-4 // the counter against true time
		bound := r.Float64() * 1e-5               // by how much the rate is known better than that
		programmed := (r.Float64() - 0.5) * 1e-3
		slew := r.Float64() * 1e-3
		// All in ns since the reading; true time is base + tau.
		const base = int64(1.8e18)
		width := r.Float64() * 1e6
		k := virtualclock.Coefficients{
			At: 1000, Earliest: virtualclock.Unix(base, 0).AddSeconds(-r.Float64() * width * 1e-9), Latest: virtualclock.Unix(base, 0).AddSeconds(r.Float64() * width * 1e-9),
			Slow: virtualclock.PeriodOf(hertz * (1 + counterRate)).Scale(-bound), Fast: virtualclock.PeriodOf(hertz * (1 + counterRate)).Scale(bound),
			StaleAfter: 1 << 60, VoidAfter: 1 << 61, Status: virtualclock.Synchronised,
		}
		offset := (r.Float64() - 0.5) * 1e8 // of the system's clock, at At
		tau := r.Float64() * 1e9            // when the clocks are read
		rate := (1+programmed)*(1+counterRate) - 1
		ticks := func(tau float64) hw.Ticks { return 1000 + hw.Ticks(tau*hertz*(1+counterRate)*1e-9) }
		coarse := int64(4e6)
		in := readings{low: ticks(tau), high: ticks(tau+200) + 1, realtime: base + int64(math.Floor(tau*(1+rate)+offset+100)), coarse: coarse,
			asOf: 1e12 - r.Int64N(coarse), rate: programmed, frequency: hw.Frequency{Hertz: hertz}}
		s := describe(&k, &in, slew)
		// Later, others have slewed the clock all the time.
		extra := (2*r.Float64() - 1) * slew
		if r.IntN(2) == 0 {
			extra = math.Copysign(slew, extra)
		}
		later := r.Float64() * 1e11
		slewed := (1+programmed+extra)*(1+counterRate) - 1
		mono := int64(1e12) + int64(later*(1+slewed)) - r.Int64N(coarse)
		real := in.realtime + int64(math.Floor(later*(1+slewed)))
		early, late, status, err := s.At(real, mono)
		if err != nil || !status.Trusted() {
			continue
		}
		trusted++
		truth := base + int64(tau+100+later)
		if early > truth+60 || late < truth-60 { // 60: what floats of this size leave of nanoseconds, and the bracket
			t.Fatalf("true time is outside by %d or %d ns, %g s later: %+v", early-truth, truth-late, later*1e-9, s)
		}
		if float64(late-early) < 2*(math.Abs(offset+tau*rate)+2*width+later*4e-3+1e7) {
			tight++
		}
	}
	if trusted < 4000 || tight < 3000 {
		t.Errorf("only %d trusted, %d tight", trusted, tight)
	}
}

func TestStatusesAreTold(t *testing.T) {
	r := readings{low: 100, high: 101, realtime: 1e18, asOf: 5e9, frequency: hw.Frequency{Hertz: 1e9}}
	k := virtualclock.Coefficients{Earliest: virtualclock.Unix(1e18, 0), Latest: virtualclock.Unix(1e18, 0), Slow: virtualclock.PeriodOf(1e9), Fast: virtualclock.PeriodOf(1e9),
		StaleAfter: 1e9, VoidAfter: 2e9, Status: virtualclock.Synchronised}
	for name, c := range map[string]struct {
		change func()
		want   Status
	}{
		"synchronised":   {func() {}, Synchronised},
		"stale":          {func() { k.StaleAfter = 1 }, FreeRunning},
		"holdover":       {func() { k.Status = virtualclock.Holdover }, FreeRunning},
		"void":           {func() { k.VoidAfter = 1 }, Unknown},
		"unsynchronised": {func() { k.Status = virtualclock.Unsynchronised }, Unknown},
		"disrupted":      {func() { k.Status = virtualclock.Disrupted }, Disrupted},
		"of a group":     {func() { k.Kind = virtualclock.Internal }, Unknown},
		"wild rate":      {func() { r.rate = 0.9 }, Unknown},
	} {
		keep, keepReadings := k, r
		c.change()
		if s := describe(&k, &r, 0); s.Status != c.want || s.Status.Trusted() && s.VoidAfter < s.AsOf {
			t.Errorf("%s: %+v", name, s)
		}
		k, r = keep, keepReadings
	}
}

func clocks(t *testing.T) (real, mono int64) {
	t.Helper()
	var a, b unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &a), unix.ClockGettime(unix.CLOCK_MONOTONIC, &b)); err != nil {
		t.Fatal(err)
	}
	return a.Nano(), b.Nano()
}

// coefficientsNow say that true time is what the system's clock says now plus ahead, ± 1 ms.
func coefficientsNow(t *testing.T, c hw.Counter, ahead int64) *virtualclock.Coefficients {
	t.Helper()
	r, err := readClocks(c)
	if err != nil {
		t.Fatal(err)
	}
	period := virtualclock.PeriodOf(c.Frequency().Hertz)
	second := hw.Ticks(c.Frequency().Hertz)
	return &virtualclock.Coefficients{At: r.low, Earliest: virtualclock.Unix(r.realtime+ahead-1e6, 0), Latest: virtualclock.Unix(r.realtime+ahead+1e6, 0),
		Slow: period.Scale(-1e-4), Fast: period.Scale(1e-4), StaleAfter: r.low + 500*second, VoidAfter: r.low + 1000*second, Status: virtualclock.Synchronised}
}

func mustCreate(t *testing.T, path string, c hw.Counter) *Writer {
	t.Helper()
	w, err := Create(Options{Path: path, Counter: c, Slew: 500e-6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// TestReaderOfTheRealClocks: the system's clock is 3 s behind what is called true time; a reader gets an interval around it that
// contains true time. When somebody has set the clock, the next one is as wide as it has to be.
func TestReaderOfTheRealClocks(t *testing.T) {
	testkit.NoLeaks(t)
	c, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "clockbound", "shm0")
	w := mustCreate(t, path, c)
	if s, err := Read(path); err != nil || s.Status != Unknown {
		t.Fatalf("a new segment: %+v %v", s, err)
	}
	w.Publish(coefficientsNow(t, c, 3e9))
	check := func(ahead, least, most int64) {
		t.Helper()
		s, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		real, mono := clocks(t)
		early, late, status, err := s.At(real, mono)
		if err != nil || !status.Trusted() || early > real+ahead || late < real+ahead {
			t.Fatalf("%d to %d, %v, %v; true time is %d", early, late, status, err, real+ahead)
		}
		if s.Bound < least || s.Bound > most || s.MaxDriftPPB < 500_000 {
			t.Fatalf("%+v", s)
		}
	}
	check(3e9, 3e9, 31e8)
	// The same clocks, but CLOCK_REALTIME was set back by an hour in between; a test must not really do that.
	const hour = 3600e9
	w.mu.Lock()
	w.read = func(c hw.Counter) (readings, error) { r, err := readClocks(c); r.realtime -= hour; return r, err }
	w.refresh()
	w.mu.Unlock()
	s, err := Read(path)
	if err != nil || s.Bound < hour+3e9 || s.Bound > hour+31e8 {
		t.Fatalf("after a step: %+v %v", s, err)
	}
	w.mu.Lock()
	w.read = func(hw.Counter) (readings, error) { return readings{}, errors.New("no clocks") }
	w.refresh()
	w.mu.Unlock()
	if s, err := Read(path); err != nil || s.Status != Unknown {
		t.Fatalf("without clocks: %+v %v", s, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(path); err != nil || s.Status != Unknown {
		t.Fatalf("after the end: %+v %v", s, err)
	}
}

// TestSegmentIsTakenOver: the next daemon goes on in the same file, whatever state it was left in; the generation goes on and is never 0.
func TestSegmentIsTakenOver(t *testing.T) {
	c := hw.NewManual(hw.Frequency{Hertz: 1e9})
	path := filepath.Join(t.TempDir(), "shm0")
	torn := segment(&Segment{Status: Synchronised, Bound: 5}, 65533)
	if err := os.WriteFile(path, torn, 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	w := mustCreate(t, path, c)
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) || after.Size() != Size {
		t.Fatalf("%v %v", after, err)
	}
	generation := func() uint16 {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, g, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	if g := generation(); g != 65534 {
		t.Errorf("the generation is %d", g)
	}
	w.mu.Lock()
	s := unknown(Unknown, 0)
	w.store(&s)
	w.mu.Unlock()
	if g := generation(); g != 2 {
		t.Errorf("the generation goes over to %d", g)
	}
	if _, err := Create(Options{Path: path, Counter: c}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second writer: %v", err)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "diary")
	if err := os.WriteFile(path, []byte("dear diary, today"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(Options{Path: path, Counter: hw.NewManual(hw.Frequency{Hertz: 1e9})}); !errors.Is(err, reason.PageMagic) {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "dear diary, today" {
		t.Errorf("%q %v", b, err)
	}
	for path, want := range map[string]reason.Code{path: reason.PageMagic, path + "x": reason.PageMissing, filepath.Dir(path): reason.PageMagic} {
		if _, err := Read(path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// TestReadersOfABusyWriter: copies taken while a writer writes are of one publication.
func TestReadersOfABusyWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shm0")
	w := mustCreate(t, path, hw.NewManual(hw.Frequency{Hertz: 1e9}))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := int64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			w.mu.Lock()
			w.store(&Segment{AsOf: n, VoidAfter: n, Bound: n, Marker: uint64(n), Status: Synchronised})
			w.mu.Unlock()
			for range 2000 {
				_ = w.words[0].Load()
			}
		}
	}()
	good := 0
	for range 60 {
		s, err := Read(path)
		if err == nil && s.Bound > 0 {
			good++
			if s.AsOf != s.Bound || s.VoidAfter != s.Bound || s.Marker != uint64(s.Bound) {
				t.Fatalf("torn: %+v", s)
			}
		}
	}
	close(stop)
	<-done
	t.Logf("%d of 60 readings", good)
}
