package transport

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkFrames sends frames from one member to another as fast as they are taken.
func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{100, 4096} {
		for _, tls := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/tls=%v", size, tls), func(b *testing.B) {
				var got atomic.Int64
				authority := newAuthority(b)
				count := func(c *Config) { c.Handler.Frame = func(uint64, []byte) { got.Add(1) } }
				security := func(id uint64) options {
					if !tls {
						return func(*Config) {}
					}
					return secure(authority.security(b, testGroup, id))
				}
				x, y := start(b, 1, security(1)), start(b, 2, security(2), count)
				join(b, x, y)
				frame := make([]byte, size)
				b.SetBytes(int64(size))
				b.ResetTimer()
				for range b.N {
					for !x.Send(2, frame) {
						time.Sleep(50 * time.Microsecond)
					}
				}
				for got.Load() < int64(b.N) {
					time.Sleep(50 * time.Microsecond)
				}
			})
		}
	}
}

// BenchmarkRoundTrip sends a frame there and one back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, tls := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", tls), func(b *testing.B) {
			authority := newAuthority(b)
			security := func(id uint64) options {
				if !tls {
					return func(*Config) {}
				}
				return secure(authority.security(b, testGroup, id))
			}
			back := make(chan struct{}, 1)
			var y *node
			x := start(b, 1, security(1), func(c *Config) { c.Handler.Frame = func(uint64, []byte) { back <- struct{}{} } })
			y = start(b, 2, security(2), func(c *Config) { c.Handler.Frame = func(_ uint64, f []byte) { y.Send(1, f) } })
			join(b, x, y)
			frame := make([]byte, 100)
			b.ResetTimer()
			for range b.N {
				x.Send(2, frame)
				<-back
			}
		})
	}
}
