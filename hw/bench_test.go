package hw

import (
	"testing"
	"time"
)

func BenchmarkRead(b *testing.B) {
	if _, err := Open(nameTSC); err == nil {
		b.Run("ReadTSC", func(b *testing.B) {
			for b.Loop() {
				ReadTSC()
			}
		})
	}
	for name, c := range everyCounter(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Read()
			}
		})
	}
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			_ = time.Now()
		}
	})
}

func BenchmarkCrossStamp(b *testing.B) {
	for name, c := range everyCounter(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var sum float64
			n := 0
			for b.Loop() {
				x, err := CrossStamp(c)
				if err != nil {
					b.Fatal(err)
				}
				sum += float64(x.Error)
				n++
			}
			b.ReportMetric(sum/float64(n)/c.Frequency().Hertz*1e9, "ns-error")
		})
	}
}

func BenchmarkSkewed(b *testing.B) {
	m := NewManual(Frequency{Hertz: 1e6})
	s, err := NewSkewed(m, Skew{PPM: 40, WalkPerRootSecond: 1e-8, Sine: Sine{1, 3600, 0}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("At", func(b *testing.B) {
		for b.Loop() {
			s.At(12345)
		}
	})
	b.Run("Inverse", func(b *testing.B) {
		for b.Loop() {
			s.Inverse(12_345_678)
		}
	})
	b.Run("next segment", func(b *testing.B) {
		g := s.oscillator.first()
		for b.Loop() {
			g = s.oscillator.next(&g)
		}
	})
}
