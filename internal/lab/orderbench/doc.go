// Package orderbench measures replicated logs side by side: throughput, latency at the origin and at receivers, steadiness σ and tightness τ. Every member is a
// process of its own, over real TCP on this machine's loopback, or in a network namespace of its own with emulated links between them.
//
// Run starts the members and tells them what to do, a line of JSON on their standard input at a time; RunMember is the other side, which a program calls with
// the logs that it can open. All stamps are of CLOCK_MONOTONIC, which all processes of a machine share: differences are exact, whatever the members' clocks show.
// The formula that stands beside the measurement is that of theory.md 6.6 (docs/abcast.md).
package orderbench
