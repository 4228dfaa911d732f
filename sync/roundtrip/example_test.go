package roundtrip_test

import (
	"fmt"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
)

// Four servers, one of them 50 ms off: the fault-tolerant interval is what the others prove, and the liar is named.
func ExampleFusion() {
	readings := []roundtrip.Reading{
		{Low: -30e-6, High: 20e-6, Offset: -4e-6, OffsetStd: 3e-6, RateStd: 1e-8},
		{Low: -25e-6, High: 35e-6, Offset: 2e-6, OffsetStd: 3e-6, RateStd: 1e-8},
		{Low: 49_970e-6, High: 50_030e-6, Offset: 50e-3, OffsetStd: 3e-6, RateStd: 1e-8},
		{Low: -40e-6, High: 15e-6, Offset: -1e-6, OffsetStd: 3e-6, RateStd: 1e-8},
	}
	verdicts := make([]roundtrip.Verdict, len(readings))
	var fusion roundtrip.Fusion
	e := fusion.Fuse(0, readings, make([]reason.Code, len(readings)), roundtrip.MaxFalse(len(readings)), verdicts)
	fmt.Printf("true time is %.0f to %.0f µs from the raw timeline, by %d of %d sources\n", e.Low*1e6, e.High*1e6, e.Used, len(readings))
	for i, v := range verdicts {
		if v.Reason != reason.OK {
			fmt.Printf("source %d: %s, %.2f ms away\n", i, v.Reason.String(), v.Distance*1e3)
		}
	}
	// Output:
	// true time is -25 to 20 µs from the raw timeline, by 3 of 4 sources
	// source 2: source_falseticker, 49.95 ms away
}
