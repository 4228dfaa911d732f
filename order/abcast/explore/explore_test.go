package explore

import (
	"testing"
)

func TestOne(t *testing.T) {
	for seed := uint64(1); seed <= 100; seed++ {
		r := Run(seed, Options{})
		if r.Violation != nil {
			r = Run(seed, Options{Trace: false})
			t.Errorf("%v", r.Violation)
		}
		t.Logf("%+v", r)
	}
}
