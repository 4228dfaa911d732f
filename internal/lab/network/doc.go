// Package network carries packets between real programs on one machine as a network would that is longer and worse than it: with
// delays of any law, loss, duplicates, reordering and cuts, for each pair of hosts and each direction, all changeable at any time.
//
// The kernel's own emulator (netem) is not in every kernel. Here one goroutine takes the packets, lets them wait in a heap and
// hands them on unchanged; a timer of the kernel wakes it, and for the last microseconds it does not sleep. There are three sorts
// of wires:
//
//   - Namespaces: n hosts, each a network namespace with one interface. The programs see an ordinary network. Needs root.
//   - Cable: an emulated cable between two namespaces that are there already, below IP. Needs root.
//   - Loopback: relays on 127.0.0.1, one for each pair of client and server. Needs nothing.
//
// What it costs: about 15 µs of the shortest delay and 50 µs of the median on a machine whose two processors have ten times as much
// to do as they can, with Options.RealTime (BenchmarkAccuracy); Options.Overhead takes a constant off.
//
// Nothing is left behind, however the program ends: the namespaces have no name and the interfaces no owner but this process'
// file descriptors, so that the kernel removes them with the process, and the programs that were started in a namespace too.
package network
