package hw

import (
	"math"
	"testing"
	"time"
)

// genericTimer reads CNTVCT_EL0 without asking whether the kernel trusts it, so that the instructions are tested under emulation
// too.
type genericTimer struct{ cntvct }

func TestReadCNTVCTCountsAtItsFrequency(t *testing.T) {
	hertz := float64(readCNTFRQ())
	if hertz < minHertz {
		t.Skip("the firmware tells no frequency")
	}
	f, err := Calibrate(&genericTimer{}, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if off := math.Abs(f.Hertz/hertz-1) * 1e9; off > f.ErrorPPB+1e6 {
		t.Errorf("CNTVCT_EL0 counts %.0f ± %.0f ppb per second, CNTFRQ_EL0 says %.0f", f.Hertz, f.ErrorPPB, hertz)
	}
	last := ReadCNTVCT()
	for range 100_000 {
		now := ReadCNTVCT()
		if now.Before(last) {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
}
