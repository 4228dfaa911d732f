package sim

import (
	"encoding/binary"
	"math/rand/v2"
)

// stream returns the random stream of one purpose of one run. Streams with different names are independent: what one of them
// is used for never moves another.
func stream(seed uint64, name string) *rand.Rand {
	a, b := streamSeeds(seed, name)
	return rand.New(rand.NewPCG(a, b))
}

func streamSeeds(seed uint64, name string) (uint64, uint64) {
	h := splitMix(seed)
	for i := range len(name) {
		h = splitMix(h ^ uint64(name[i]))
	}
	return splitMix(h + 1), splitMix(h + 2)
}

// nodeSeed makes the seed of a node's nonces.
func nodeSeed(seed uint64, name string) (out [32]byte) {
	a, b := streamSeeds(seed, "nonce/"+name)
	for i, x := range []uint64{a, b, splitMix(a), splitMix(b)} {
		binary.LittleEndian.PutUint64(out[8*i:], x)
	}
	return out
}

// splitMix is one step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
func splitMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
