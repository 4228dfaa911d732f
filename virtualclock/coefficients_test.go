package virtualclock

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// bigLine is the slow twin of Line: T0 + (c − C0)·Period in units of 2⁻⁴⁸ ns, exact. The difference of readings is modulo 2⁶⁴.
func bigLine(l *Line, c hw.Ticks) *big.Int {
	v := new(big.Int).Mul(big.NewInt(int64(c-l.C0)), new(big.Int).SetUint64(uint64(l.Period)))
	return v.Add(v, new(big.Int).Lsh(bigTime(l.T0), 16))
}

// roundTime converts units of 2⁻⁴⁸ ns to a Time, rounded down or up.
func roundTime(v *big.Int, up bool) Time {
	v = new(big.Int).Set(v)
	if up {
		v.Add(v, big.NewInt(1<<16-1))
	}
	return timeOfBig(v.Rsh(v, 16))
}

func randomPeriod(r *rand.Rand) Period {
	if r.IntN(8) == 0 {
		return Period([]uint64{0, 1, math.MaxUint64, 1 << 48}[r.IntN(4)])
	}
	return Period(r.Uint64() >> r.IntN(64))
}

func randomTicks(r *rand.Rand) hw.Ticks {
	if r.IntN(8) == 0 {
		return hw.Ticks([]uint64{0, 1, math.MaxUint64, 1 << 63, 1<<63 - 1}[r.IntN(5)])
	}
	return hw.Ticks(r.Uint64() >> r.IntN(64))
}

func TestLineAgreesWithBig(t *testing.T) {
	r := newRand(t, 10)
	for range 200_000 {
		l := Line{randomTicks(r), randomTime(r), randomPeriod(r)}
		c := l.C0 + hw.Ticks(int64(r.Uint64())>>r.IntN(64))
		if got, want := l.At(c), roundTime(bigLine(&l, c), c.Before(l.C0)); got != want {
			t.Fatalf("%+v.At(%d) = %+v, want %+v", l, c, got, want)
		}
	}
}

func TestLineIsMonotoneAroundItsOrigin(t *testing.T) {
	r := newRand(t, 11)
	for range 20_000 {
		l := Line{randomTicks(r), randomTime(r), randomPeriod(r)}
		last := l.At(l.C0 - 5)
		for c := l.C0 - 4; c != l.C0+5; c++ {
			if now := l.At(c); now.Before(last) {
				t.Fatalf("%+v went back at %d: %+v after %+v", l, c, now, last)
			} else {
				last = now
			}
		}
	}
}

func TestPeriodScaleAgreesWithBig(t *testing.T) {
	r := newRand(t, 12)
	for range 100_000 {
		p := Period(r.Uint64() >> r.IntN(64))
		y := (r.Float64() - 0.5) * math.Pow(2, float64(r.IntN(60)-56))
		got := p.Scale(y)
		exact := new(big.Rat).Mul(new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(p))), new(big.Rat).SetFloat64(y))
		exact.Add(exact, new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(p))))
		want, _ := exact.Float64()
		want = min(max(want, 0), math.MaxUint64)
		// Half a unit for the rounding, and the float64's own precision of the change.
		if diff := math.Abs(float64(got) - want); diff > 1+math.Abs(float64(p)*y)*0x1p-51+want*0x1p-52 {
			t.Fatalf("%d.Scale(%g) = %d, want %g", p, y, got, want)
		}
		if y != 0 && math.Abs(y) < 1e-3 && p > 1<<40 && p < 1<<62 {
			if change := float64(int64(got - p)); math.Abs(change-float64(p)*y) > 0.5+math.Abs(float64(p)*y)*0x1p-50 {
				t.Fatalf("%d.Scale(%g) changed it by %g, want %g", p, y, change, float64(p)*y)
			}
		}
	}
	for _, c := range []struct {
		p    Period
		y    float64
		want Period
	}{{100, math.NaN(), 100}, {100, -1, 0}, {100, -5, 0}, {100, math.Inf(1), math.MaxUint64}, {100, math.Inf(-1), 0},
		{math.MaxUint64, 1e-9, math.MaxUint64}, {1 << 63, 1, math.MaxUint64}, {0, 5, 0}, {1 << 63, 0.5, 3 << 62}} {
		if got := c.p.Scale(c.y); got != c.want {
			t.Errorf("%d.Scale(%g) = %d, want %d", c.p, c.y, got, c.want)
		}
	}
}

func TestPeriodOf(t *testing.T) {
	for hertz, want := range map[float64]Period{1e9: 1 << 48, 1e6: 1000 << 48, 0: 0, -5: 0, 1: 0, math.Inf(1): 0} {
		if got := PeriodOf(hertz); got != want {
			t.Errorf("PeriodOf(%g) = %d, want %d", hertz, got, want)
		}
	}
	if got := PeriodOf(math.NaN()); got != 0 {
		t.Errorf("PeriodOf(NaN) = %d", got)
	}
	if got := PeriodOf(24e6).Nanoseconds(); math.Abs(got-1e9/24e6) > 1e-14 {
		t.Errorf("24 MHz: %g ns", got)
	}
}

// randomCoefficients makes coefficients with consistent bounds around a moment of a counter.
func randomCoefficients(r *rand.Rand) Coefficients {
	period := PeriodOf(math.Pow(10, 6+r.Float64()*3.7))
	at := randomTicks(r)
	middle := Unix(r.Int64N(4e18), r.Uint32())
	drift := math.Pow(10, -8+5*r.Float64())
	k := Coefficients{
		At: at, Earliest: middle.AddSeconds(-math.Pow(10, -9+8*r.Float64())), Latest: middle.AddSeconds(math.Pow(10, -9+8*r.Float64())),
		Slow: period.Scale(-drift), Fast: period.Scale(drift), Difference: period, Epoch: Epoch(r.Uint32()),
		Status: []Status{Unsynchronised, Disrupted, Holdover, Synchronised, 7}[r.IntN(5)],
	}
	k.StaleAfter = at + hw.Ticks(r.Uint64()>>(16+r.IntN(40)))
	k.VoidAfter = k.StaleAfter + hw.Ticks(r.Uint64()>>(16+r.IntN(40)))
	k.Slew = Line{at, middle, period.Scale(drift / 3)}
	k.SlewEnd = at + hw.Ticks(r.Uint64()>>(16+r.IntN(40)))
	k.Steady = Line{k.SlewEnd, k.Slew.At(k.SlewEnd), period}
	return k
}

func TestIntervalAgreesWithBigAndRoundsOutward(t *testing.T) {
	r := newRand(t, 13)
	sound := 0
	for range 200_000 {
		k := randomCoefficients(r)
		c := k.At + hw.Ticks(int64(r.Uint64())>>(16+r.IntN(47)))
		got, why := k.judge(c)
		late := int64(c-k.VoidAfter) > 0
		if !k.Status.Sound() || late {
			want := k.Status
			if late && k.Status.Sound() {
				want = Unsynchronised
			}
			if got != void(want, k.Epoch) || late && k.Status.Sound() && why != reason.PageVoid {
				t.Fatalf("%+v at %d: %+v, want void %v", k, c, got, want)
			}
			continue
		}
		sound++
		early, latePeriod := k.Slow, k.Fast
		if c.Before(k.At) {
			early, latePeriod = k.Fast, k.Slow
		}
		want := Interval{
			Earliest: roundTime(bigLine(&Line{k.At, k.Earliest, early}, c), false),
			Latest:   roundTime(bigLine(&Line{k.At, k.Latest, latePeriod}, c), true),
			Epoch:    k.Epoch, Standing: Standing{k.Status, k.Kind},
		}
		if int64(c-k.StaleAfter) > 0 {
			want.Status = Holdover
		}
		if got != want || got.Latest.Before(got.Earliest) {
			t.Fatalf("%+v at %d: %+v, want %+v", k, c, got, want)
		}
	}
	if sound < 20_000 {
		t.Errorf("only %d sound intervals were tried", sound)
	}
}

func TestIntervalWidensBothWays(t *testing.T) {
	r := newRand(t, 14)
	for range 20_000 {
		k := randomCoefficients(r)
		k.Status = Synchronised
		k.VoidAfter = k.At + 1<<40
		near, far := hw.Ticks(r.Uint64N(1<<39)), hw.Ticks(0)
		far = near + hw.Ticks(r.Uint64N(1<<38))
		for _, pair := range [][2]hw.Ticks{{k.At + near, k.At + far}, {k.At - near, k.At - far}} {
			a, b := k.Interval(pair[0]), k.Interval(pair[1])
			if b.Width() < a.Width()/outward-1e-18 {
				t.Fatalf("%+v: width %g at %d, %g at %d", k, a.Width(), near, b.Width(), far)
			}
		}
	}
}

func TestInvertedBoundsSayNothing(t *testing.T) {
	k := Coefficients{At: 5, Earliest: Unix(10, 0), Latest: Unix(9, 5), Slow: 1 << 48, Fast: 1 << 48, StaleAfter: 100, VoidAfter: 100,
		Status: Synchronised, Epoch: 3}
	if got, why := k.judge(6); got != void(Unsynchronised, 3) || why != reason.Contradiction {
		t.Errorf("%+v, %v", got, why)
	}
	k.Earliest, k.Slow = Unix(9, 0), 2<<48 // the lower edge overtakes the upper
	if got := k.Interval(6); got != void(Unsynchronised, 3) {
		t.Errorf("%+v", got)
	}
}

func TestStatusText(t *testing.T) {
	for _, s := range []Status{Unsynchronised, Disrupted, Holdover, Synchronised} {
		b, _ := json.Marshal(s)
		var back Status
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%v → %s → %v, %v", s, b, back, err)
		}
	}
	var s Status
	if s.UnmarshalText([]byte("good")) == nil || Status(9).String() != "status_9" || Status(9).Sound() {
		t.Error("an unknown status passed")
	}
}

func TestCoefficientsSurviveJSON(t *testing.T) {
	r := newRand(t, 15)
	for range 1000 {
		k := randomCoefficients(r)
		k.Status = Holdover
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		var back Coefficients
		if err := json.Unmarshal(b, &back); err != nil || back != k {
			t.Fatalf("%+v → %s → %+v, %v", k, b, back, err)
		}
	}
}

func TestElapsedContainsTheTruth(t *testing.T) {
	r := newRand(t, 16)
	for range 50_000 {
		hertz := math.Pow(10, 6+r.Float64()*3.7)
		drift := math.Pow(10, -7+3*r.Float64())
		k := Coefficients{Difference: PeriodOf(hertz).Scale(drift * (r.Float64() - 0.5)), Slow: PeriodOf(hertz).Scale(-drift) - 1,
			Fast: PeriodOf(hertz).Scale(drift) + 1}
		// Two events in true ticks of a counter that is off by a rate within the bound; the readings are rounded down.
		y := drift * (2*r.Float64() - 1) * 0.999
		start, length := r.Float64()*1e6, math.Pow(10, 7*r.Float64())
		from, to := hw.Ticks(1<<64-1000)+hw.Ticks(start), hw.Ticks(1<<64-1000)+hw.Ticks(start+length)
		truth := length / hertz * (1 + y)
		e, ok := k.Duration(from, to)
		if !ok || e.Shortest > truth || e.Longest < truth || e.Error() < math.Abs(truth-e.Best) {
			t.Fatalf("%g Hz, %g ticks: %+v, truth %g", hertz, length, e, truth)
		}
		back, _ := k.Duration(to, from)
		if from != to && (back.Best != -e.Best || back.Shortest != -e.Longest || back.Longest != -e.Shortest) {
			t.Fatalf("reversed: %+v and %+v", e, back)
		}
	}
	if _, ok := (&Coefficients{}).Duration(1, 2); ok {
		t.Error("a clock that knows no rate measured a duration")
	}
	if d := (Elapsed{Best: 1.5e-6}).Duration(); d != 1500 {
		t.Errorf("1.5 µs is %v", d)
	}
	if d := (Elapsed{Best: -1e300}).Duration(); d != math.MinInt64 {
		t.Errorf("a huge length is %v", d)
	}
}

func TestIntervalQuestions(t *testing.T) {
	i := Interval{Unix(100, 0), Unix(200, 1), 1, Standing{Status: Synchronised}}
	for _, c := range []struct {
		at                      Time
		after, before, contains bool
	}{{Unix(99, math.MaxUint32), true, false, false}, {Unix(100, 0), false, false, true}, {Unix(200, 1), false, false, true},
		{Unix(200, 2), false, true, false}} {
		if i.After(c.at) != c.after || i.Before(c.at) != c.before || i.Contains(c.at) != c.contains {
			t.Errorf("%+v: after %t, before %t, contains %t", c, i.After(c.at), i.Before(c.at), i.Contains(c.at))
		}
	}
	if least, most, ok := i.Since(Unix(50, 1)); !ok || least != 49 || most != 150 {
		t.Errorf("since: %d to %d, %t", least, most, ok)
	}
	if least, most, ok := i.Since(Unix(50, 2)); !ok || least != 49 || most != 150 {
		t.Errorf("since, rounded outward: %d to %d, %t", least, most, ok)
	}
	if b := i.Bound(Unix(120, 0)); b < 80e-9 || b > 80.001e-9 {
		t.Errorf("bound %g", b)
	}
	v := void(Disrupted, 4)
	least, most, ok := v.Since(Unix(0, 0))
	if v.After(Unix(0, 0)) || v.Before(Unix(0, 0)) || !v.Contains(Unix(0, 0)) || ok || least != math.MinInt64 || most != math.MaxInt64 {
		t.Error("a void interval gave an answer")
	}
	if !math.IsInf(v.Width(), 1) || !math.IsInf(v.Bound(Unix(0, 0)), 1) {
		t.Error("a void interval has a width")
	}
}
