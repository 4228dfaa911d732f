//go:build race

package order

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = true
