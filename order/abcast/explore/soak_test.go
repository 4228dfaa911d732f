//go:build soak

package explore

import (
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// TestTenThousandSchedules is the soak of issue 8.
func TestTenThousandSchedules(t *testing.T) {
	first := testkit.Seed(t) % (1 << 40)
	for part := range uint64(20) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			schedules(t, first+500*part, 500, Options{})
		})
	}
}
