//go:build race

package virtualclock

// raceEnabled says that the race detector makes everything ten times slower.
const raceEnabled = true
