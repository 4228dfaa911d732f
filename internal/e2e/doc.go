// Package e2e proves the programs on real things: the clockd binary that ships, a real chronyd (with -x, on loopback) as its
// server and as its client, real signals, real files. It holds tests only.
//
// This machine's CLOCK_REALTIME is the truth: a chronyd with "local stratum" serves it as it is, so that whoever follows that
// chronyd can be checked against it at every single reading.
//
// Invariants: a host that a test starts is watched from its start to its end, and no interval that it publishes as sound may
// ever miss the truth, whatever the test does to it; a host never panics; every process ends with its test, by its own process
// id; nothing leaves the loopback interface and nothing touches the machine's clock. With CI=true a missing chronyd is a failure.
package e2e
