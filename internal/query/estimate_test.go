package query

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// The interval contains the truth whatever the delays, the server's error within its promise, and the local clock's drift within
// MaxLocalRate; and more samples never widen it beyond what the drift costs.
func TestCombinedIntervalContainsTheTruth(t *testing.T) {
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	for range 5000 {
		truth := rng.NormFloat64() * 10 // offset at time 0, seconds
		rate := (2*rng.Float64() - 1) * MaxLocalRate
		var samples []sample
		var last time.Duration
		for range 1 + rng.IntN(8) {
			at := last + time.Duration(rng.ExpFloat64()*float64(time.Second))
			forth, back := rng.ExpFloat64()*1e-3, rng.ExpFloat64()*1e-3
			elapsed := time.Duration((forth + back) * float64(time.Second))
			root := rng.Float64() * 1e-3
			// The server errs within its promise; asymmetry moves the offset by half the difference of the ways.
			offset := truth - rate*at.Seconds() + (2*rng.Float64()-1)*root + (forth-back)/2
			p := ntp.Packet{RootDispersion: ntp.ShortCeil(root), Precision: -25}
			s, code := newSample(&p, time.Duration(offset*float64(time.Second)), elapsed, 0, 0)
			if code != reason.OK {
				t.Fatalf("an honest sample was rejected: %v", code)
			}
			s.at, last = at, at
			samples = append(samples, s)
		}
		now := truth - rate*last.Seconds()
		offset, halfWidth, code := combine(samples)
		if code != reason.OK || math.Abs(offset-now) > halfWidth {
			t.Fatalf("%v ± %v (%v) does not contain %v: %+v", offset, halfWidth, code, now, samples)
		}
		for _, s := range samples {
			if widest := 2 * (s.halfWidth + (last-s.at).Seconds()*MaxLocalRate); halfWidth > widest+1e-9 {
				t.Fatalf("half-width %v is more than the whole interval %v of one sample", halfWidth, widest)
			}
		}
		rng.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
		if o, h, _ := combine(samples); math.Abs(o-offset) > 1e-12 || math.Abs(h-halfWidth) > 1e-12 {
			t.Fatalf("the order of the samples changed the result: %v ± %v, %v ± %v", offset, halfWidth, o, h)
		}
	}
}

func TestCombine(t *testing.T) {
	for _, c := range []struct {
		name              string
		samples           []sample
		offset, halfWidth float64
		code              reason.Code
	}{
		{"none", nil, 0, 0, reason.SourceWaiting},
		{"one", []sample{{0, 2, 1, 0.5}}, 2, 0.5, reason.OK},
		{"the better half decides", []sample{{0, 1, 1, 10}, {0, 2, 2, 10}, {0, 8, 9, 10}, {0, 9, 9, 10}}, 1.5, 9.5, reason.OK},
		{"moved into the intersection", []sample{{0, 0, 1, 3}, {0, 4, 2, 2}}, 2, 1, reason.OK},
		{"they contradict", []sample{{0, 0, 1, 1}, {0, 4, 1, 1}}, 0, 0, reason.SampleEmptyInterval},
		{"drift reconciles them", []sample{{0, 0, 1, 1}, {2000 * time.Second, 3, 1, 1}}, 2, 0.2, reason.OK},
	} {
		offset, halfWidth, code := combine(c.samples)
		if math.Abs(offset-c.offset) > 1e-9 || math.Abs(halfWidth-c.halfWidth) > 1e-9 || code != c.code {
			t.Errorf("%s: %v ± %v, %v; want %v ± %v, %v", c.name, offset, halfWidth, code, c.offset, c.halfWidth, c.code)
		}
	}
}

func TestNewSample(t *testing.T) {
	p := ntp.Packet{RootDelay: 1 << 14, RootDispersion: 1 << 13, Precision: -4} // 0.25 s, 0.125 s, 0.0625 s
	s, code := newSample(&p, time.Second, 10*time.Millisecond, 4*time.Millisecond, time.Microsecond)
	want := 0.003 + 0.25 + 0.0625 + 0.01*MaxLocalRate + 1e-6 + roundingError
	if code != reason.OK || s.offset != 1 || math.Abs(s.delay-0.006) > 1e-12 || math.Abs(s.halfWidth-want) > 1e-12 {
		t.Errorf("%+v, %v; want half-width %v", s, code, want)
	}
	// A round trip that is negative by less than the server's resolution is rounding; its interval is smaller, never turned over.
	s, code = newSample(&p, 0, 0, 100*time.Millisecond, 0)
	if code != reason.OK || s.delay != 0 || s.halfWidth > 0.25+0.0625 || s.halfWidth < 0 {
		t.Errorf("a delay below the resolution: %+v, %v", s, code)
	}
	p = ntp.Packet{Precision: -30}
	if _, code = newSample(&p, 0, 0, time.Microsecond, 0); code != reason.SampleNegativeDelay {
		t.Errorf("a negative delay: %v", code)
	}
}
