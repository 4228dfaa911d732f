//go:build soak

package sim

const (
	boundsStep   uint64 = 1
	boundsTurns  uint64 = 200
	randomGroups        = 2000
)
