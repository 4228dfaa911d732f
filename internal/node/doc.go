// Package node is the pure core of one host: Step takes one event and returns the actions that it asks for. It has no
// goroutine, no socket, no wall clock, no global and no randomness but the seed in its Config, so the same events give the
// same actions, bit for bit: in the daemon, in the simulator, in the replay of an event log and in tests.
//
// Main type: Node. Model: etcd-io/raft's Step and Ready.
package node
