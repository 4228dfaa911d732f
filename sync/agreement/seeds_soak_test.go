//go:build soak

package agreement

const seeds = 40
