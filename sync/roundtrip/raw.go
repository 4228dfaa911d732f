package roundtrip

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

// Raw is the raw timeline: the counter at its nominal period from an anchor. Offsets are measured from it, and bounds grow in
// it (theory 2.3), because it is never corrected.
type Raw struct {
	Line virtualclock.Line
}

// At returns the raw time of counter reading c.
func (r *Raw) At(c hw.Ticks) virtualclock.Time { return r.Line.At(c) }

// Elapsed returns the raw time from reading a to reading b, in seconds, negative if b is before a.
func (r *Raw) Elapsed(a, b hw.Ticks) float64 {
	return float64(b.Sub(a)) * r.Line.Period.Nanoseconds() * 1e-9
}

// Offset returns t − raw time at c, in seconds.
func (r *Raw) Offset(t virtualclock.Time, c hw.Ticks) float64 { return t.Seconds(r.At(c)) }
