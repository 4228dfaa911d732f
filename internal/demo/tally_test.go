package demo

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// at makes a look at a clock that is wrong by so many seconds.
func at(wrong, bound float64) look {
	return look{
		status: virtualclock.Synchronised, sound: true, held: math.Abs(wrong) <= bound, excess: math.Abs(wrong) - bound,
		time: virtualclock.Unix(epochNS, 0).AddSeconds(wrong), error: wrong, bound: bound,
	}
}

func threeHosts() *tally { return newTally([]subject{{name: "a"}, {name: "b"}, {name: "c"}}) }

func TestPrecisionAndAccuracy(t *testing.T) {
	y := threeHosts()
	y.add(1, []look{at(2e-6, 5e-6), at(-3e-6, 6e-6), at(1e-6, 30e-6)}, true)
	y.add(2, []look{at(1e-6, 7e-6), at(1e-6, 8e-6), at(-1e-6, 9e-6)}, true)
	if p := y.total.precision; !near(p.value, 5e-6, 1e-15) || !near(p.claim, 36e-6, 1e-15) {
		t.Errorf("precision %+v", p)
	}
	if a := y.total.accuracy; !near(a.value, 3e-6, 1e-15) || a.claim != 30e-6 {
		t.Errorf("accuracy %+v", a)
	}
	y.newSecond()
	if y.second.precision.known || y.second.accuracy.known || y.hosts[0].second >= 0 {
		t.Error("a new second knows something of the old one")
	}
	y.add(3, []look{at(1e-7, 7e-6), at(1e-7, 8e-6), at(-1e-7, 9e-6)}, true)
	if s, all := y.second.precision, y.total.precision; !near(s.value, 2e-7, 1e-15) || !near(s.claim, 17e-6, 1e-15) || !near(all.value, 5e-6, 1e-15) {
		t.Errorf("precision in the second %+v, in all %+v", s, all)
	}
	if e := y.hosts[2].second; e != 1e-7 {
		t.Errorf("the largest error in the second is 0.1 µs, not %g", e)
	}
}

func TestWhenTheyWereSynchronisedAndClose(t *testing.T) {
	y := threeHosts()
	y.add(10, []look{at(0, 1e-6), at(0, 1e-6), {}}, true)
	if y.hasSynchronised {
		t.Error("two of three are not all")
	}
	y.add(20, []look{at(0, 1e-6), at(0, 1e-6), at(200e-6, 1e-3)}, true)
	y.add(30, []look{at(0, 1e-6), at(0, 1e-6), at(99e-6, 1e-3)}, true)
	y.add(40, []look{at(0, 1e-6), at(0, 1e-6), at(200e-6, 1e-3)}, true)
	if y.synchronised != 20 || y.close != 30 || !y.hasComeClose {
		t.Errorf("synchronised at %d, close at %d", y.synchronised, y.close)
	}
	// What was before all were synchronised does not count for the figures.
	if n := y.hosts[0].errors.count; n != 3 {
		t.Errorf("%d samples count", n)
	}
	if y.hosts[2].unsound != 0 || y.samples != 4 {
		t.Errorf("%+v", y.hosts[2])
	}
}

func TestViolationsCountEvenBeforeAllAreSynchronised(t *testing.T) {
	y := threeHosts()
	y.add(10, []look{at(9e-6, 1e-6), {}, {}}, true)
	if y.violations() != 1 || !near(y.hosts[0].worst, 8e-6, 1e-15) {
		t.Errorf("%d violations, by %g", y.violations(), y.hosts[0].worst)
	}
}

func TestAHistogramsQuantilesAreThoseOfASortedList(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	width := math.Exp2(1.0 / perOctave)
	for range 100 {
		var h histogram
		if _, ok := h.quantile(0.5); ok {
			t.Fatal("an empty histogram has a median")
		}
		var all []float64
		for range 1 + r.IntN(2000) {
			x := math.Exp(-25 + 20*r.Float64())
			all = append(all, x)
			h.add(x)
		}
		slices.Sort(all)
		for _, p := range []float64{0, 0.01, 0.5, 0.99, 1} {
			want := all[max(0, int(math.Ceil(p*float64(len(all))))-1)]
			if got, ok := h.quantile(p); !ok || got < want*(1-1e-12) || got > want*width*(1+1e-9) {
				t.Fatalf("quantile %g of %d figures is %g, not %g to %g", p, len(all), got, want, want*width)
			}
		}
		if h.largest != all[len(all)-1] {
			t.Fatal("the largest is exact")
		}
	}
	var h histogram
	for _, x := range []float64{0, 1e-30, 1e30} {
		h.add(x)
	}
	if x, _ := h.quantile(1); x != 1e30 {
		t.Errorf("what is outside of the buckets counts in the last: %g", x)
	}
}

// TestWhatIsNotKnownIsNull: never 0.
func TestWhatIsNotKnownIsNull(t *testing.T) {
	w := newWorld(t, 37, -52)
	second, err := json.Marshal(w.second(worldStart))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"precision_s", "precision_bound_s", "accuracy_s", "accuracy_bound_s", "rate_ppm", "clock_rate_ppm", "error_s", "bound_s", "max_error_s"} {
		if !strings.Contains(string(second), `"`+key+`":null`) {
			t.Errorf("before the first sample %s is known: %s", key, second)
		}
	}
	if !strings.Contains(string(second), `"status":"unsynchronised","reason":"never_synchronised"`) {
		t.Errorf("it does not say why: %s", second)
	}
	w.mustSample()
	summary, err := json.Marshal(w.summary(worldStart, &Options{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"precision_s", "accuracy_s", "synchronised_after_s", "time_to_100us_s", "error_rms_s", "error_median_s", "error_p99_s", "error_max_s", "bound_median_s", "worst_violation_s"} {
		if !strings.Contains(string(summary), `"`+key+`":null`) {
			t.Errorf("without a synchronised host %s is known: %s", key, summary)
		}
	}
	if strings.Contains(string(summary), "logs") {
		t.Errorf("a run that did not fail has no logs: %s", summary)
	}
}

func TestTheFiguresOfTheSummary(t *testing.T) {
	w := newWorld(t, 37)
	w.publish(0, 3e-6, 10e-6, 60e-6)
	w.pass(1)
	w.mustSample()
	w.publish(0, -4e-6, 10e-6, 60e-6)
	w.pass(0.5)
	w.mustSample()
	s := w.summary(worldStart, &Options{Mode: ModeExternal, Seed: 7, Poll: DefaultPoll})
	h := s.Hosts[0]
	if s.DurationS != 1.5 || s.PollS != 0.25 || s.Seed != 7 || s.Samples != 2 || *s.SynchronisedAfterS != 1 || *s.TimeTo100usS != 1 {
		t.Errorf("%+v", s)
	}
	if !near(*h.ErrorRMSS, math.Sqrt((9+16)/2.)*1e-6, 3e-9) || !near(*h.ErrorMaxS, 4e-6, 2e-9) || !near(h.OscillatorPPM, 37, 1e-9) ||
		!near(h.LeftAloneS, 37e-6*1.5, 2e-9) || h.Samples != 2 {
		t.Errorf("%+v", h)
	}
	second := w.second(worldStart).Hosts[0]
	if second.Status != virtualclock.Synchronised || second.Reason != 0 || !near(*second.ErrorS, -4e-6, 2e-9) || *second.BoundS < 10e-6 {
		t.Errorf("%+v", second)
	}
}

func TestOscillatorsAreThoseOfTheSeed(t *testing.T) {
	seed := testkit.Seed(t)
	base := hw.NewManual(hw.Frequency{Hertz: worldHertz})
	for i := range MaxHosts {
		k := oscillator(seed, i)
		if other := oscillator(seed, i); k.PPM != other.PPM || k.Seed != other.Seed || k.Sine != other.Sine {
			t.Fatalf("host %d has two oscillators", i)
		}
		if size := math.Abs(k.PPM); size < leastPPM || size > mostPPM || (k.PPM < 0) != (i%2 == 1) {
			t.Errorf("host %d: %g ppm", i, k.PPM)
		}
		s, err := hw.NewSkewed(base, k)
		if err != nil {
			t.Fatal(err)
		}
		// The drift bound that the daemons are told is true whatever happens: seen an hour long.
		for second := range 3600 {
			if y := s.FrequencyErrorAt(hw.Ticks(second * worldHertz)); math.Abs(y) > limitPPM*1e-6 || math.Abs(y) >= usualDriftBound {
				t.Fatalf("host %d is %g off after %d s", i, y, second)
			}
		}
	}
	if a, b := oscillator(seed, 0), oscillator(seed+1, 0); a.PPM == b.PPM {
		t.Error("two seeds give one oscillator")
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	good := Options{Out: &strings.Builder{}}.WithDefaults()
	if err := good.Check(); err != nil || good.Hosts != DefaultHosts || good.Poll != DefaultPoll {
		t.Errorf("the defaults: %+v, %v", good, err)
	}
	for name, spoil := range map[string]func(*Options){
		"no hosts": func(o *Options) { o.Hosts = 0 }, "fewer": func(o *Options) { o.Hosts = -1 }, "many": func(o *Options) { o.Hosts = MaxHosts + 1 },
		"no poll": func(o *Options) { o.Poll = 0 }, "fast": func(o *Options) { o.Poll = 1 }, "slow": func(o *Options) { o.Poll = 2 * maxPoll },
		"no port": func(o *Options) { o.HTTP = -1 }, "ports beyond the last": func(o *Options) { o.HTTP = 65534 }, "ended before": func(o *Options) { o.For = -1 }, "mute": func(o *Options) { o.Out = nil },
	} {
		bad := good
		if spoil(&bad); bad.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
