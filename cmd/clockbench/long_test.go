package main

import "testing"

// long leaves a test out with -short: a long computation that runs beside nothing, and that the race detector makes ten times longer. `make
// test` runs it without the detector.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long; run without -short")
	}
}
