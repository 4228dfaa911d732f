package roundtrip

import (
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
)

func TestDepartedIsTheBestStampOfTheLastRequest(t *testing.T) {
	var x Exchanger
	_, first := x.Request(rand.NewChaCha8([32]byte{1}), 1000, false, nil)
	if d := x.Departed(); d.At != 1000 || d.Kind != hw.StampUser {
		t.Errorf("at first it is %+v, want the reading before the request", d)
	}
	x.Sent(first, hw.Stamp{At: 1200, Error: 10, Kind: hw.StampKernel})
	if d := x.Departed(); d.At != 1200 || d.Kind != hw.StampKernel {
		t.Errorf("with the kernel's stamp it is %+v", d)
	}
	_, second := x.Request(rand.NewChaCha8([32]byte{2}), 5000, false, nil)
	x.Sent(first, hw.Stamp{At: 1300, Kind: hw.StampHardware})
	if d := x.Departed(); d.At != 5000 || second == first {
		t.Errorf("an earlier request's stamp is taken for the last one's: %+v", d)
	}
}
