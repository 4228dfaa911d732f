//go:build soak

package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// span is a duration from the environment.
func span(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestLinearizableForLong is TestLinearizable for CLOCKD_KV_FOR (2m), with a new cluster, of three or five, every ten rounds of faults.
func TestLinearizableForLong(t *testing.T) {
	limit := span(t, "CLOCKD_KV_FOR", 2*time.Minute)
	seed := testkit.Seed(t)
	for begun := time.Now(); time.Since(begun) < limit; seed++ {
		n, durability := 3+2*int(seed%2), []string{"fsync", "os", "memory"}[seed%3]
		t.Run(fmt.Sprint(n, durability), func(t *testing.T) { linearizable(t, seed, n, 10, durability) })
	}
}

// TestFaultAMinute keeps one cluster at work for CLOCKD_KV_FOR (2m), with a random fault every CLOCKD_KV_EVERY (1m): no acknowledged write is lost, all
// have one history, and no process grows.
func TestFaultAMinute(t *testing.T) {
	limit, every := span(t, "CLOCKD_KV_FOR", 2*time.Minute), span(t, "CLOCKD_KV_EVERY", time.Minute)
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	c := newCluster(t, 3, 0, func(*member) []string {
		return []string{"--snapshot-every", "4000000", "--segment-size", "1000000", "--retain", "8000000"}
	})
	var stop atomic.Bool
	var writers sync.WaitGroup
	var acked atomic.Int64
	last := make([]int, 12) // the last acknowledged number of each key; a key has one writer
	for k := range last {
		writers.Go(func() {
			for n := 1; !stop.Load(); n++ {
				if c.members[1+k%3].put(20*time.Second, fmt.Sprint("key", k), fmt.Sprintf("%d %s", n, strings.Repeat("x", 1000))) {
					last[k] = n
					acked.Add(1)
				}
				time.Sleep(4 * time.Millisecond)
			}
		})
	}
	var sizes []int
	for begun := time.Now(); time.Since(begun) < limit; {
		time.Sleep(every)
		c.harm(r.IntN(4), c.members[1+r.IntN(3)], time.Duration(500+r.IntN(2000))*time.Millisecond)
		size := 0
		for _, m := range c.members {
			size = max(size, resident(t, m.process.PID()))
		}
		sizes = append(sizes, size)
		s, err := c.members[1].status()
		t.Logf("%v: %d writes, the largest process has %d MB, the log %d kB, %v", time.Since(begun).Round(time.Second), acked.Load(), size>>20, s.LogBytes>>10, err)
	}
	stop.Store(true)
	writers.Wait()
	c.agree(1, 2, 3)
	for k, want := range last {
		code, text, err := c.members[1+r.IntN(3)].do(20*time.Second, http.MethodGet, fmt.Sprint("/kv/key", k), "")
		number, _, _ := strings.Cut(text, " ")
		if got, _ := strconv.Atoi(number); err != nil || code != http.StatusOK || got < want {
			t.Errorf("key %d: write %d was acknowledged, and %d is there, %v", k, want, got, err)
		}
	}
	half := len(sizes) / 2
	if half > 3 {
		before, after := 0, 0
		for i, size := range sizes {
			if i < half {
				before = max(before, size)
			} else {
				after = max(after, size)
			}
		}
		if after > before*3/2 {
			t.Errorf("the processes grow: %d MB at the most in the first half, %d MB in the second", before>>20, after>>20)
		}
	}
}

// resident is how many bytes of memory a process has.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
