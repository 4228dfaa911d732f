//go:build soak

package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// TestLinearizableForLong is TestLinearizable for CLOCKD_KV_FOR (2m), with a new cluster, of three or five, every ten rounds of faults.
func TestLinearizableForLong(t *testing.T) {
	span := 2 * time.Minute
	if s := os.Getenv("CLOCKD_KV_FOR"); s != "" {
		var err error
		if span, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := testkit.Seed(t)
	for begun := time.Now(); time.Since(begun) < span; seed++ {
		n, durability := 3+2*int(seed%2), []string{"fsync", "os", "memory"}[seed%3]
		t.Run(fmt.Sprint(n, durability), func(t *testing.T) { linearizable(t, seed, n, 10, durability) })
	}
}
