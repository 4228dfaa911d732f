package wal

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkAppend appends records of 100 and 4096 bytes and waits for each, from 1, 16 and 256 goroutines: what group commit gives.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []Mode{Fsync, OS, Memory} {
		for _, size := range []int{100, 4096} {
			for _, outstanding := range []int{1, 16, 256} {
				b.Run(fmt.Sprintf("%v/%dB/%d", mode, size, outstanding), func(b *testing.B) { benchmarkAppend(b, mode, size, outstanding) })
			}
		}
	}
}

func benchmarkAppend(b *testing.B, mode Mode, size, outstanding int) {
	l, err := Open(b.TempDir(), Options{Mode: mode}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	data := make([]byte, size)
	work := make(chan struct{}, outstanding)
	var all sync.WaitGroup
	b.ResetTimer()
	for range outstanding {
		all.Go(func() {
			for range work {
				p, err := l.Append(Record{Data: data})
				if err == nil {
					err = l.Wait(context.Background(), p)
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.StopTimer()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
