// Package testkit is what the tests of all packages share: real chronyd servers and clients on loopback (StartChronyd), a UDP
// forwarder that turns an honest server into a liar (ShiftProxy), hosts in network namespaces (NamespaceNet), free ports that
// stay free (FreeUDPPort), a check for goroutines that outlive their test (NoLeaks), and seeds that a failure prints (Seed).
//
// Main types: Chronyd, Proxy, Net. It is imported by tests only; a linter rule holds that.
//
// Invariants: whatever a helper starts ends with the test that started it, by its own process id, also when the test panics or
// is killed; nothing touches the machine's clock (chronyd runs with -x); a missing tool skips the test with the reason, and
// fails it when CI=true.
package testkit
