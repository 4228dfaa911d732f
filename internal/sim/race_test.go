//go:build race

package sim

// raceDetector: everything is ten times as slow, and the simulation has only one goroutine: the long tests are made shorter.
const raceDetector = true
