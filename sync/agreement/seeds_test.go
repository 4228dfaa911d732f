//go:build !soak

package agreement

// seeds is how many worlds of each sort the simulations make; with -tags soak there are many.
const seeds = 1
