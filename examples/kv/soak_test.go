//go:build soak

package main

import (
	"os"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// TestLinearizableForLong is TestLinearizable for CLOCKD_KV_FOR (2m), with a new cluster every ten rounds of faults.
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
		t.Run("", func(t *testing.T) { linearizable(t, seed, 10) })
	}
}
