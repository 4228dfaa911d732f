package agreement

import (
	"fmt"
	"testing"
)

// BenchmarkRound is one round of one member: all peers' states received, their clocks seen, the function applied.
func BenchmarkRound(b *testing.B) {
	for _, n := range []int{4, 10, 31, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := testConfig(n, -1, IntervalMidpoint)
			c.RateLimit = c.Drift
			x := newBench(b, c).settle()
			b.ReportAllocs()
			for b.Loop() {
				x.step(nil)
			}
		})
	}
}

// BenchmarkInterval is one read of the on-line bound.
func BenchmarkInterval(b *testing.B) {
	x := newBench(b, testConfig(7, 2, IntervalMidpoint)).settle()
	b.ReportAllocs()
	for b.Loop() {
		x.g.Interval(x.raw)
	}
}
