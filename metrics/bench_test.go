package metrics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/clockd/clockd/hw"
)

// flow feeds all streaming estimators at once, as a laboratory would: clocks that are corrected now and then, phase, messages, readings.
type flow struct {
	r          *rand.Rand
	ensemble   *Ensemble
	stability  *Stability
	deliveries *Deliveries
	readings   ReadingErrors
	quantiles  Quantiles
	physical   PhysicalGranularity
	virtual    VirtualGranularity
	errors     []float64
	step       int
	messages   uint64
}

const flowClocks = 10

func newFlow(t testing.TB) *flow {
	f := &flow{r: rand.New(rand.NewPCG(1, 2)), stability: newStability(t, 0.01, 0), deliveries: newDeliveries(t, flowClocks, 0)}
	f.ensemble = newEnsemble(t, flowClocks, EnsembleOptions{CellSeconds: 1})
	return f
}

// next is one sample through everything: a clock's new segment, a look at all clocks, their phase, a delivery, a reading.
func (f *flow) next() error {
	at := seconds(float64(f.step) * 0.01)
	clock := f.step % flowClocks
	offset := (f.r.Float64() - 0.5) * 1e-4
	if f.step >= flowClocks {
		offset = f.errors[clock]
		offset += f.ensemble.members[clock].segment.Rate * 0.01 // errors are of the last sample
	}
	s := Segment{at, at.AddSeconds(offset), (f.r.Float64()-0.5)*1e-5 - offset*0.1, 1}
	if err := f.ensemble.Begin(clock, s); err != nil {
		return err
	}
	if err := f.ensemble.Sample(at); err != nil {
		return err
	}
	if f.step%100 == 99 {
		if err := f.ensemble.RoundEnds(at); err != nil {
			return err
		}
	}
	f.errors = f.ensemble.Errors(f.errors)
	f.stability.Add(f.errors[0])
	f.quantiles.Add(f.errors[clock])
	f.physical.Add(hw.Ticks(f.step) * 26)
	f.virtual.Add(hw.Ticks(f.step)*26, at)
	if clock == 0 {
		f.messages++
		if err := f.deliveries.Send(MessageID{0, f.messages}, Stamp{at, 1e-6}, flowClocks); err != nil {
			return err
		}
	}
	if err := f.deliveries.Deliver(MessageID{0, f.messages}, clock, Stamp{at.AddSeconds(f.r.ExpFloat64() * 1e-4), 1e-6}); err != nil {
		return err
	}
	f.step++
	return f.readings.Add(at, clock, 10e-6+f.r.ExpFloat64()*1e-5)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestBoundedMemory: a million samples later (or as many as CLOCKD_SOAK_SAMPLES says) there is hardly more in memory than after the first
// hundred thousand: what grows is one level for each octave.
func TestBoundedMemory(t *testing.T) {
	samples := 1_000_000
	if s := os.Getenv("CLOCKD_SOAK_SAMPLES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("CLOCKD_SOAK_SAMPLES: %v", err)
		}
		samples = n
	} else if testing.Short() || raceEnabled {
		samples = 200_000
	}
	empty := heap()
	f := newFlow(t)
	feed := func(until int) {
		t.Helper()
		for f.step < until {
			if err := f.next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(100_000)
	early := heap() - empty
	feed(samples)
	late := heap() - empty
	octaves := math.Log2(float64(samples)/100_000) + 1
	t.Logf("%d samples: %d KiB of heap after 100 000, %d KiB at the end", samples, early>>10, late>>10)
	// An octave is a level of the stability and of each clock's envelope: 32 KiB and 10 · 1 KiB; the rest is room for the quantiles.
	if growth := float64(late) - float64(early); growth > octaves*(64<<10)+(256<<10) {
		t.Errorf("%g octaves later there are %.0f KiB more", octaves, growth/1024)
	}
	r := result(t, f.ensemble, f.ensemble.now)
	if !r.PrecisionSeconds.Known || !r.ConvergenceSeconds.Known || !r.Rate.Known || r.Jumps > 0 || !f.deliveries.Result().TightnessSeconds.Known ||
		len(f.stability.Result().Points) < 10 || r.SpreadSeconds.Max.Value > r.PrecisionSeconds.Value {
		t.Errorf("%+v", r)
	}
}

// TestNoAllocations: once warm, a sample through everything allocates nothing but the level of a new octave.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	f := newFlow(t)
	for range 70_000 {
		if err := f.next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(20_000, func() {
		if err := f.next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations per sample", n)
	}
}

func BenchmarkEverything(b *testing.B) {
	f := newFlow(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.next(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnsemble: one new segment of one clock, of as many as are in.
func BenchmarkEnsemble(b *testing.B) {
	for _, clocks := range []int{4, 10, 100, 1000} {
		b.Run(fmt.Sprint(clocks), func(b *testing.B) {
			e := newEnsemble(b, clocks, EnsembleOptions{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				at := seconds(float64(i) * 1e-3)
				if err := e.Begin(i%clocks, Segment{at, at, 1e-6, 1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStability(b *testing.B) {
	for _, overlap := range []int{16, 256, 4096} {
		b.Run(fmt.Sprint(overlap), func(b *testing.B) {
			s := newStability(b, 1, overlap)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Add(float64(i*i%1009) * 1e-9)
			}
		})
	}
}

func BenchmarkQuantiles(b *testing.B) {
	var q Quantiles
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q.Add(float64(i%1009) * 1e-9)
	}
}

// million is 10⁶ samples of a random walk of frequency.
func million() []float64 {
	r := rand.New(rand.NewPCG(3, 4))
	x, y := make([]float64, 1_000_000), 0.0
	for i := 1; i < len(x); i++ {
		y += r.NormFloat64() * 1e-12
		x[i] = x[i-1] + y + r.NormFloat64()*1e-9
	}
	return x
}

// BenchmarkBatch: all octaves of 10⁶ samples.
func BenchmarkBatch(b *testing.B) {
	x := million()
	factors := OctaveFactors(len(x))
	each := func(of func([]float64, float64, int) Figure) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				for _, m := range factors {
					of(x, 1, m)
				}
			}
		}
	}
	b.Run("ADEV", each(OverlappingADEV))
	b.Run("MDEV", each(MDEV))
	b.Run("HDEV", each(OverlappingHDEV))
	b.Run("MTIE", func(b *testing.B) {
		for b.Loop() {
			MTIE(x, factors)
		}
	})
}
