//go:build race

package agreement

// light leaves out some worlds: the race detector makes them six times as slow, and there is one goroutine.
const light = true
