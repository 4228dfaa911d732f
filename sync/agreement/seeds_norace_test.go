//go:build !race

package agreement

const light = false
