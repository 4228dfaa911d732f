// Package clockbound speaks the shared memory of ClockBound 2.x (its protocol version 2), so that programs that were written for its
// C and Rust readers work with clockd. Main types: Segment, what is in it; Writer, which keeps a file of it.
//
// A reader of that format reads CLOCK_REALTIME and adds and subtracts a bound, which grows with CLOCK_MONOTONIC from an instant on. So
// what is written is about the system's clock, which clockd neither sets nor steers: the bound is how far that clock can be from true
// time, whatever the reason. It is right as long as nobody sets the system's clock, or slews it by more than Options.Slew beyond what
// the kernel is programmed to; a set clock is noticed at once and its new bound written, but not before.
//
// Source of the format: docs/PROTOCOL.md and clock-bound-shm of github.com/aws/clock-bound, where they differ (the order of the magic
// number's bytes) the latter.
package clockbound
