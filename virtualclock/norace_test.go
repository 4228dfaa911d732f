//go:build !race

package virtualclock

const raceEnabled = false
