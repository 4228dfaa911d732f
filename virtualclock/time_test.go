package virtualclock

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

// unit is 2³²: Times as big integers count units of 2⁻³² ns.
func bigTime(t Time) *big.Int {
	v := new(big.Int).Lsh(big.NewInt(t.ns()), 32)
	return v.Add(v, big.NewInt(int64(t.frac)))
}

// timeOfBig is the slow twin's way back, saturated.
func timeOfBig(v *big.Int) Time {
	if v.Cmp(bigTime(minTime)) < 0 {
		return minTime
	}
	if v.Cmp(bigTime(maxTime)) > 0 {
		return maxTime
	}
	ns, frac := new(big.Int), new(big.Int)
	frac.And(v, big.NewInt(math.MaxUint32))
	ns.Rsh(v, 32) // arithmetic: rounds down
	return Unix(ns.Int64(), uint32(frac.Uint64()))
}

// randomTime draws from all magnitudes and from the edges.
func randomTime(r *rand.Rand) Time {
	frac := r.Uint32()
	switch r.IntN(4) {
	case 0:
		frac = []uint32{0, 1, math.MaxUint32, 1 << 31}[r.IntN(4)]
	}
	ns := int64(r.Uint64()) >> r.IntN(64)
	switch r.IntN(8) {
	case 0:
		ns = []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}[r.IntN(7)]
	}
	return Unix(ns, frac)
}

func newRand(t testing.TB, seed uint64) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
}

func TestTimeOrderAndDifferenceAgreeWithBig(t *testing.T) {
	r := newRand(t, 1)
	second := big.NewInt(1e9 << 32)
	for range 200_000 {
		a, b := randomTime(r), randomTime(r)
		x, y := bigTime(a), bigTime(b)
		if got, want := a.Compare(b), x.Cmp(y); got != want || a.Before(b) != (want < 0) || a.After(b) != (want > 0) {
			t.Fatalf("%v.Compare(%v) = %d, want %d", a, b, got, want)
		}
		d := new(big.Int).Sub(x, y)
		whole := new(big.Int).Rsh(d, 32)
		want := int64(math.MaxInt64)
		if whole.IsInt64() {
			want = whole.Int64()
		} else if whole.Sign() < 0 {
			want = math.MinInt64
		}
		if got := a.Sub(b); int64(got) != want {
			t.Fatalf("%+v.Sub(%+v) = %d, want %d", a, b, got, want)
		}
		exact, _ := new(big.Float).SetRat(new(big.Rat).SetFrac(d, second)).Float64()
		if got := a.Seconds(b); math.Abs(got-exact) > math.Abs(exact)*0x1p-51 {
			t.Fatalf("%+v.Seconds(%+v) = %g, want %g", a, b, got, exact)
		}
	}
}

func TestTimeAddAgreesWithBig(t *testing.T) {
	r := newRand(t, 2)
	for range 200_000 {
		a, d := randomTime(r), int64(r.Uint64())>>r.IntN(64)
		sum := new(big.Int).Add(bigTime(a), new(big.Int).Lsh(big.NewInt(d), 32))
		if got, want := a.Add(time.Duration(d)), timeOfBig(sum); got != want {
			t.Fatalf("%+v.Add(%d) = %+v, want %+v", a, d, got, want)
		}
	}
}

// randomSeconds draws from all magnitudes that matter, ends and non-numbers included.
func randomSeconds(r *rand.Rand) float64 {
	switch r.IntN(20) {
	case 0:
		return []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, -1e-20, 0x1p-63, 1 << 34,
			math.MaxInt64 / 1e9, math.MinInt64 / 1e9, 1 << 35, 1e300}[r.IntN(12)]
	case 1:
		return float64(r.Int64N(1<<34)) * 0.5
	}
	return (r.Float64() - 0.5) * math.Pow(2, float64(r.IntN(100)-62))
}

func TestTimeAddSecondsAgreesWithBig(t *testing.T) {
	r := newRand(t, 3)
	half := big.NewRat(1, 2)
	for range 200_000 {
		a, s := randomTime(r), randomSeconds(r)
		want := maxTime
		if math.IsInf(s, -1) {
			want = minTime
		} else if !math.IsInf(s, 1) {
			// |s| in units, rounded half up, then with the sign of s: exact for every float64.
			v := new(big.Rat).SetFloat64(math.Abs(s))
			v.Mul(v, new(big.Rat).SetInt(big.NewInt(1e9<<32))).Add(v, half)
			n := new(big.Int).Quo(v.Num(), v.Denom())
			if s < 0 {
				n.Neg(n)
			}
			want = timeOfBig(n.Add(n, bigTime(a)))
		}
		if got := a.AddSeconds(s); got != want {
			t.Fatalf("%+v.AddSeconds(%g) = %+v, want %+v", a, s, got, want)
		}
	}
	if got := Unix(5, 6).AddSeconds(math.NaN()); got != Unix(5, 6) {
		t.Errorf("NaN moved the time to %v", got)
	}
}

func TestTimeTextIsTheDecimalNumberAndComesBack(t *testing.T) {
	for text, want := range map[string]Time{
		"0": Unix(0, 0), "-0.5": Unix(-1, 1<<31), "-4.5": Unix(-5, 1<<31), "1.25": Unix(1, 1<<30), "7.": Unix(7, 0), "-1.75": Unix(-2, 1<<30),
		"0.9999999999": Unix(1, 0), "0.0000000001": Unix(0, 0), "9223372036854775807.9999999998": maxTime, "-9223372036854775808": minTime,
	} {
		var got Time
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "-", ".", "+1", "1_0", "1.2.3", "1.-3", "--1", "1e3", "1.00000000001", "9223372036854775808",
		"-9223372036854775808.5", "9223372036854775807.9999999999", "18446744073709551615.9999999999", "99999999999999999999", "NaN"} {
		got := Unix(42, 0)
		if err := got.UnmarshalText([]byte(bad)); err == nil || got != Unix(42, 0) {
			t.Errorf("%q was read as %+v, %v", bad, got, err)
		}
	}
	r := newRand(t, 4)
	for range 100_000 {
		a := randomTime(r)
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Time
		if err := json.Unmarshal(b, &back); err != nil || back != a {
			t.Fatalf("%+v → %s → %+v, %v", a, b, back, err)
		}
	}
}

func FuzzTimeText(f *testing.F) {
	for _, s := range []string{"0", "-0.5", "1753261200000000000.0000000002", "9223372036854775807.9999999998", "1.", "x", "-.5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, back Time
		if a.UnmarshalText(b) != nil {
			return
		}
		text, _ := a.MarshalText()
		if err := back.UnmarshalText(text); err != nil || back != a {
			t.Fatalf("%q → %+v → %s → %+v, %v", b, a, text, back, err)
		}
	})
}

func TestTimeConversions(t *testing.T) {
	now := time.Date(2036, 2, 7, 6, 28, 16, 123456789, time.UTC)
	if got := FromTime(now).Time(); !got.Equal(now) {
		t.Errorf("%v came back as %v", now, got)
	}
	if got := FromTime(time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)); got != MinTime() {
		t.Errorf("1600 is %+v", got)
	}
	if got := FromTime(time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)); got != MaxTime() {
		t.Errorf("3000 is %+v", got)
	}
	before := time.Date(1930, 1, 1, 0, 0, 0, 1, time.UTC)
	if got := FromTime(before); got.UnixNano() != before.UnixNano() || got.Fraction() != 0 {
		t.Errorf("1930 is %+v", got)
	}
	if s := MaxTime().String() + MinTime().String() + Unix(-1, 7).String(); s != "+inf-inf1969-12-31T23:59:59.999999999Z" {
		t.Errorf("String: %s", s)
	}
}
