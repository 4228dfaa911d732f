//go:build soak

package explore

import (
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// TestTenThousandSchedules is the soak of issue 8.
func TestTenThousandSchedules(t *testing.T) {
	first := testkit.Seed(t) % (1 << 40)
	for _, half := range []uint64{0, 5000} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			schedules(t, first+half, 5000, Options{})
		})
	}
}
