package hw_test

import (
	"fmt"

	"github.com/clockd/clockd/hw"
)

// A counter seen through an oscillator that is 50 ppm fast: after a second of the base it is 50 µs ahead. A timer that is due when
// the wrong counter has counted a second is due earlier in the base's time.
func ExampleSkewed() {
	base := hw.NewManual(hw.Frequency{Hertz: 1e9})
	wrong, err := hw.NewSkewed(base, hw.Skew{PPM: 50})
	if err != nil {
		fmt.Println(err)
		return
	}
	base.Set(1_000_000_000)
	fmt.Println(wrong.Read(), wrong.Inverse(1_000_000_000))
	fmt.Println(wrong.Spec())
	// Output:
	// 1000050000 999950003
	// skewed(manual(hz=1000000000),seed=0,ppm=50,start=0,origin=0)
}

// Errors say why a counter is refused.
func ExampleCheckSpec() {
	fmt.Println(hw.CheckSpec("skewed(tsc,ppm=30,sine=1ppm/3600s/0.25,step=2ppm@100s)"))
	fmt.Println(hw.CheckSpec("skewed(tsc,drift=30)"))
	// Output:
	// <nil>
	// hw: counter spec "skewed(tsc,drift=30)": drift: skewed has no such setting; it has seed, ppm, walk, sine, step, jump, ageing, limit, start and origin
}
