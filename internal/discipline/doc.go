// Package discipline decides how a kernel's clock (CLOCK_REALTIME, or an auxiliary clock) is made to follow the virtual clock: its
// rate, its steps, and what it says of its own error.
//
// Main type: Controller. It is pure: readings of the counter, of the kernel's clock and of its state (adjtimex(2)) are passed in, and
// what is to be written comes out as an Order. Whoever carries orders out is elsewhere (internal/daemon/systemclock).
//
// Invariants: maxerror is a bound of |clock − true time| for every reader of the kernel's clock, from the write until the next one,
// and after the daemon's death too while max_slew is at most 490 ppm: the kernel adds 500 µs to it at each of its seconds, and the
// clock is never programmed to part from true time faster than that. What cannot be promised is marked STA_UNSYNC. The clock is
// stepped only by the policy, and its rate is changed by no more than the largest slew beyond what the virtual clock asks for.
// A kernel clock that something else changes is left alone.
//
// The kernel's model is that of kernel/time/ntp.c and of adjtimex(2): rate = tick/10000 + freq/(65536·10⁶), tick whole and within
// ± 10 %, freq within ± 500 ppm; no phase-locked loop of the kernel's is used.
package discipline
