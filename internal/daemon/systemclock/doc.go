// Package systemclock carries out what internal/discipline decides: it reads a kernel's clock against the counter, writes it with
// clock_adjtime(2), and finds other programs that keep the clock.
//
// Main type: Steerer, a goroutine of its own that the daemon's loop only hands coefficients to.
//
// Invariants: nothing is written before the virtual clock was sound, and nothing while another program owns the clock; a write that the
// kernel refuses is a state with a reason, never the end of the daemon; when it ends, nothing is amortised any more and maxerror goes on
// growing.
package systemclock
