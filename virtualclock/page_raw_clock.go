//go:build linux

package virtualclock

import (
	"math"

	"github.com/clockd/clockd/hw"
)

// newCompanion returns what measures CLOCK_MONOTONIC_RAW against a counter; nil for a counter whose relation to it is no constant.
func newCompanion(c hw.Counter) *companion {
	m := &companion{counter: c, read: hw.RawNanoseconds, suspended: suspendedNanoseconds}
	switch kindOf(c) {
	case kindTSC, kindCNTVCT:
	case kindMonotonicRaw:
		m.same = true
	default:
		return nil
	}
	m.namespace = hw.TimeNamespace()
	return m
}

// suspendedNanoseconds is for how long the host was suspended, up to a constant; a time that no reader agrees with if that is not
// known.
func suspendedNanoseconds() int64 {
	d, err := hw.SuspendOffset()
	if err != nil {
		return math.MinInt64
	}
	return d.Nanoseconds()
}
