package sim

import (
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/sync/agreement"
)

// variedGroups are the (n, f) of theory 3.5, variedAlgorithms the functions that promise something there.
func variedGroups() [][2]int { return [][2]int{{4, 1}, {5, 1}, {7, 1}, {7, 2}, {10, 3}} }

func variedAlgorithms() []agreement.Algorithm {
	return []agreement.Algorithm{agreement.IntervalMidpoint, agreement.Average, agreement.Egocentric}
}

// Variations is in how many seeds every combination of members, algorithm and sort of liar comes once.
func Variations() uint64 {
	return uint64(len(variedGroups()) * len(variedAlgorithms()) * len(adversary.Names()))
}

// varied is c, or what the seed makes of it.
func (c *GroupConfig) varied(seed uint64) *GroupConfig {
	if !c.Vary {
		return c
	}
	v := *c
	k, groups, functions, liars := seed%Variations(), variedGroups(), variedAlgorithms(), adversary.Names()
	take := func(n int) int {
		x := int(k % uint64(n))
		k /= uint64(n)
		return x
	}
	nf := groups[take(len(groups))]
	v.Members, v.Faults = nf[0], &nf[1]
	v.Algorithm = functions[take(len(functions))]
	v.Liars = []string{liars[take(len(liars))].Name}
	rng := stream(seed, "vary")
	v.Drive = drives()[rng.IntN(len(drives()))]
	if rng.IntN(2) == 0 {
		v.Unfair = 60e-6
	}
	if rng.IntN(4) > 0 {
		v.MinDelay = 49.9e-6 // so that the readings are as wrong as they may be
	}
	return &v
}
