//go:build race

package metrics

// raceEnabled says that the race detector makes everything ten times slower.
const raceEnabled = true
