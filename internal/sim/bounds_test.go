//go:build !soak

package sim

// TestGroupBounds takes every boundsStep-th of boundsTurns turns of all combinations.
const (
	boundsStep   uint64 = 16
	boundsTurns  uint64 = 1
	randomGroups        = 12
)
