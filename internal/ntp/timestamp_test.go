package ntp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimestampKnownAnswers(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	for _, c := range []struct {
		name  string
		stamp Timestamp
		pivot int64
		ns    int64
		frac  uint32
	}{
		{"1970", 0x83aa7e80_00000000, 0, 0, 0},
		{"a half second", 0x83aa7e80_80000000, 0, 500_000_000, 0},
		{"one unit is 0.2328 ns", 0x83aa7e80_00000001, 0, 0, 1_000_000_000},
		{"RFC 5905 figure 4: last day of era 0", 4_294_944_000 << 32, at("2030-01-01T00:00:00Z"), at("2036-02-07T00:00:00Z"), 0},
		{"first second of era 1", 0, at("2030-01-01T00:00:00Z"), at("2036-02-07T06:28:16Z"), 0},
		{"era 1 seen from era 1", 63104 << 32, at("2040-01-01T00:00:00Z"), at("2036-02-08T00:00:00Z"), 0},
		{"era 0 seen from era 1", 0xffffffff_00000000, at("2040-01-01T00:00:00Z"), at("2036-02-07T06:28:15Z"), 0},
		{"1900 seen from 1930", 0, at("1930-01-01T00:00:00Z"), at("1900-01-01T00:00:00Z"), 0},
		{"1999 from 2026", 3_155_587_200 << 32, at("2026-01-01T00:00:00Z"), at("1999-12-31T00:00:00Z"), 0},
	} {
		ns, frac := c.stamp.Unix(c.pivot)
		if ns != c.ns || frac != c.frac {
			t.Errorf("%s: got %d + %d/2³² ns, want %d + %d/2³²", c.name, ns, frac, c.ns, c.frac)
		}
		if back := TimestampFloor(ns, frac); back != c.stamp {
			t.Errorf("%s: back to %#x, want %#x", c.name, back, c.stamp)
		}
	}
}

func TestNotBeforeCoversAnEra(t *testing.T) {
	const second = 1_000_000_000
	earliest := int64(1_767_225_600) * second
	for _, ns := range []int64{earliest, earliest + 1, earliest + second, earliest + (1<<32-1)*second} {
		if got, _ := TimestampCeil(ns, 0).Unix(NotBefore(earliest)); got != ns {
			t.Errorf("%d became %d", ns, got)
		}
	}
	// One second before the earliest time is the end of the era.
	if got, _ := TimestampCeil(earliest-second, 0).Unix(NotBefore(earliest)); got != earliest+(1<<32-1)*second {
		t.Errorf("a time before the earliest became %d", got)
	}
	if NotBefore(math.MaxInt64-5) != math.MaxInt64 {
		t.Error("NotBefore wrapped at the end of the timeline")
	}
}

// exactTimestamp is the slow, obvious way: the instant in units of 2⁻³² s since 1900, as a rational number, and its floor.
func exactTimestamp(ns int64, frac uint32) (floor *big.Int, whole bool) {
	v := new(big.Int).Lsh(big.NewInt(ns), 32)
	v.Add(v, big.NewInt(int64(frac)))
	v.Add(v, new(big.Int).Lsh(big.NewInt(UnixEpoch*nanosecondsPerSecond), 32))
	rest := new(big.Int)
	v.DivMod(v, big.NewInt(nanosecondsPerSecond), rest)
	return v, rest.Sign() == 0
}

func TestTimestampAgainstExactArithmetic(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, seed))
	mask := new(big.Int).SetUint64(math.MaxUint64)
	for i := range 200_000 {
		ns, frac := int64(rng.Uint64()), rng.Uint32()
		if i%5 == 0 {
			frac = 0
		}
		if i%7 == 0 {
			ns -= ns % nanosecondsPerSecond
		}
		floor, whole := exactTimestamp(ns, frac)
		want := Timestamp(new(big.Int).And(floor, mask).Uint64())
		if got := TimestampFloor(ns, frac); got != want {
			t.Fatalf("seed %d: floor of %d+%d is %#x, want %#x", seed, ns, frac, got, want)
		}
		if !whole {
			want++
		}
		if got := TimestampCeil(ns, frac); got != want {
			t.Fatalf("seed %d: ceil of %d+%d is %#x, want %#x", seed, ns, frac, got, want)
		}
	}
}

func TestTimestampUnixIsNearestAndExact(t *testing.T) {
	const seed = 12
	rng := rand.New(rand.NewPCG(seed, seed))
	half := new(big.Int).Lsh(big.NewInt(1), 31)
	for range 200_000 {
		stamp := Timestamp(rng.Uint64())
		pivot := int64(rng.Uint64())
		ns, frac := stamp.Unix(pivot)
		floor, whole := exactTimestamp(ns, frac)
		if !whole || Timestamp(new(big.Int).And(floor, new(big.Int).SetUint64(math.MaxUint64)).Uint64()) != stamp {
			t.Fatalf("seed %d: %#x near %d became %d+%d, which is another instant", seed, stamp, pivot, ns, frac)
		}
		seconds := max(minPivotSeconds, min(maxPivotSeconds, floorDiv(pivot, nanosecondsPerSecond)))
		away := big.NewInt(floorDiv(ns, nanosecondsPerSecond))
		away.Sub(away, big.NewInt(seconds)).Abs(away)
		if away.Cmp(half) > 0 {
			t.Fatalf("seed %d: %#x near %d became %d, more than half an era away", seed, stamp, pivot, ns)
		}
	}
	for _, pivot := range []int64{math.MinInt64, math.MaxInt64} {
		for _, stamp := range []Timestamp{0, 1, 1 << 63, math.MaxUint64} {
			ns, _ := stamp.Unix(pivot)
			if (ns < 0) != (pivot < 0) {
				t.Errorf("%#x near %d overflowed to %d", stamp, pivot, ns)
			}
		}
	}
}

func TestTimestampSubAcrossEras(t *testing.T) {
	before, after := Timestamp(0xffffffff_c0000000), Timestamp(0x00000000_40000000)
	if d := after.Sub(before); d != 1<<31 {
		t.Errorf("half a second across the rollover is %d units", d)
	}
	if d := before.Sub(after); d != -1<<31 {
		t.Errorf("minus half a second across the rollover is %d units", d)
	}
}

func TestShortRoundsOutwards(t *testing.T) {
	for _, c := range []struct {
		seconds     float64
		floor, ceil Short
	}{
		{0, 0, 0},
		{-1, 0, 0},
		{math.Inf(-1), 0, 0},
		{1, 65536, 65536},
		{1e-9, 0, 1},
		{16, 16 << 16, 16 << 16},
		{65535.99999, math.MaxUint32, math.MaxUint32},
		{65536, math.MaxUint32, math.MaxUint32},
		{math.Inf(1), math.MaxUint32, math.MaxUint32},
		{math.NaN(), 0, math.MaxUint32},
	} {
		if f, u := ShortFloor(c.seconds), ShortCeil(c.seconds); f != c.floor || u != c.ceil {
			t.Errorf("%g s: floor %d, ceil %d, want %d, %d", c.seconds, f, u, c.floor, c.ceil)
		}
	}
	const seed = 13
	rng := rand.New(rand.NewPCG(seed, seed))
	for range 100_000 {
		s := math.Exp(rng.Float64()*40 - 30)
		if s >= 65535 {
			continue
		}
		f, u := ShortFloor(s), ShortCeil(s)
		if f.Seconds() > s || u.Seconds() < s || u-f > 1 {
			t.Fatalf("seed %d: %g s is not between %g and %g", seed, s, f.Seconds(), u.Seconds())
		}
	}
}
