// Package roundtrip synchronises a clock from outside: it exchanges NTP packets with masters, turns each exchange into a
// Sample, each source's samples into a Reading (a guaranteed interval of the offset and a point estimate inside it), and the
// readings of all sources into one Estimate. It also answers other people's requests (Responder).
//
// Everything here is pure: no socket, no wall clock, no goroutine, no randomness but what is passed in.
//
// The way of the data: Exchanger → Sample → Filter → Reading → Fuse → Estimate.
//
// Offsets are remote − local in seconds; "local" is the raw timeline, which is the counter at its nominal frequency from an
// anchor (Raw). Every error is a worst-case half-width unless its name says Std.
//
// Sources: RFC 5905 (on-wire protocol), RFC 9769 (interleaved modes), theory 2.1 to 2.5; Schmid & Schossmaier 2001 for F.
package roundtrip
