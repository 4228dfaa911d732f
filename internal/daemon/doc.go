// Package daemon drives one node: it owns the sockets, the timers, the name resolver, the shared page, the state file, the
// control socket and the event log, and is the only place that does I/O for the node.
//
// Main function: Run. One goroutine runs one select loop, which hands every event to node.Step and carries out the actions. A
// second reads the sources' sockets and stamps what comes at once; a third answers NTP requests from a copy of the last
// publication; a fourth resolves names.
//
// Invariants: Now never decreases from event to event; the departure stamp that the kernel took is delivered before the packet
// that answers it; in steady state an exchange allocates nothing; no network, no name and no server at the start are reasons
// in the status, never an end of the daemon; what Run started has ended when it returns.
package daemon
