// Package control is the protocol between the daemon and its command line: one JSON line each way over a Unix socket, and the
// types of the answers.
//
// Main types: Listener, Call, Status, Sources, Now. A client connects, sends {"version":1,"command":"status"} and a newline, and
// gets one line {"version":1,"result":{…}} or {"version":1,"error":"…"}; then the connection ends. docs/cli.md describes it.
//
// Invariants: whatever a peer sends, it costs at most one bounded line, one bounded time and one of a bounded number of
// connections, and is answered by an error; a figure that is not known is null, never 0.
package control
