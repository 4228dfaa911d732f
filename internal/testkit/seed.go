package testkit

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Seed returns a fresh seed for a property test, or the one in the environment variable CLOCKD_SEED. If the test fails the seed
// is printed with the command that repeats the run.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CLOCKD_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("CLOCKD_SEED is not a number: %v", err)
		}
		seed = n
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d: repeat with CLOCKD_SEED=%d go test -run '^%s$'", seed, seed, t.Name())
		}
	})
	return seed
}
