package virtualclock

import (
	"math"
	"math/rand/v2"
	"testing"
)

const newYear = 1_483_228_800 // 2017-01-01

// utcOf is UTC when si SI seconds have passed since the noon before: the slow definition.
func utcOf(si float64, sign int8) (t Time, after bool) {
	noon := Unix((newYear-smearHalf)*1e9, 0)
	if si >= smearHalf+max(float64(sign), 0) || sign < 0 && si >= smearHalf-1 {
		return noon.AddSeconds(si - float64(sign)), true
	}
	return noon.AddSeconds(si), false
}

func TestSmear(t *testing.T) {
	for _, sign := range []int8{1, -1} {
		l := LeapState{TAI: 36, TAIKnown: true, Sign: sign, At: newYear}
		for _, how := range []Smear{SmearLinear, SmearCosine} {
			last, lastSI := minTime, 0.0
			for si := -1000.0; si < 2*smearHalf+1000; si += 7.25 {
				utc, after := utcOf(si, sign)
				s := l.smeared(utc, after, how)
				if si > -1000 {
					rate := s.Seconds(last)/(si-lastSI) - 1
					most := 11.6e-6
					if how == SmearCosine {
						most = 18.3e-6
					}
					if math.Abs(rate) > most || !s.After(last) {
						t.Fatalf("sign %d, smear %d, at %g s: the rate is off by %g", sign, how, si, rate)
					}
				}
				last, lastSI = s, si
			}
			if want, _ := utcOf(lastSI, sign); want != last {
				t.Errorf("after the smear it shows %v, not %v", last, want)
			}
			// Google's: half a second off at midnight, and linear; a quarter after six hours.
			for hours, want := range map[float64]float64{-12: 0, -6: -0.25, 12: 0, 20: 0} {
				if how == SmearLinear {
					if got := l.SmearOffset(Unix(newYear*1e9, 0).AddSeconds(hours*3600), how) * float64(sign); math.Abs(got-want) > 1e-4 {
						t.Errorf("sign %d: %g h from midnight it is off by %g s", sign, hours, got)
					}
				}
			}
		}
	}
}

func TestSmearedIntervalsContain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	l := LeapState{TAI: 36, TAIKnown: true, Sign: 1, At: newYear}
	for range 20000 {
		si := (2*r.Float64() - 0.5) * smearHalf * 2
		half := math.Pow(10, -9+7*r.Float64())
		if math.Abs(si-smearHalf) < 2 {
			continue // a clock promises nothing there
		}
		utc, after := utcOf(si, 1)
		i := Interval{Earliest: utc.AddSeconds(-half * r.Float64()), Latest: utc.AddSeconds(half * r.Float64()), Standing: Standing{Status: Synchronised}}
		for _, how := range []Smear{SmearLinear, SmearCosine} {
			if got := l.SmearInterval(i, how); !got.Contains(l.smeared(utc, after, how)) {
				t.Fatalf("at %g s: %v to %v", si, got.Earliest, got.Latest)
			}
		}
		tai, ok := l.ToTAI(i)
		want := Unix((newYear-smearHalf+36)*1e9, 0).AddSeconds(si)
		if !ok || want.Before(tai.Earliest.Add(-1)) || tai.Latest.Add(1).Before(want) {
			t.Fatalf("TAI at %g s: %v to %v, not %v", si, tai.Earliest, tai.Latest, want)
		}
	}
	none := LeapState{}
	sound := Interval{Earliest: Unix(5, 0), Latest: Unix(9, 0), Standing: Standing{Status: Synchronised}}
	if none.SmearInterval(sound, SmearLinear) != sound || none.Smeared(Unix(5, 0), SmearLinear) != Unix(5, 0) {
		t.Error("without a leap second something is smeared")
	}
	if _, ok := none.ToTAI(sound); ok {
		t.Error("TAI is known of nothing")
	}
	if _, ok := l.ToTAI(void(Unsynchronised, 1)); ok {
		t.Error("TAI is known of an interval that says nothing")
	}
}
