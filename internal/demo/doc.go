// Package demo is `clockd demo`: it shows on one machine, without root, network or configuration, that clocks which drift apart
// are held together, and that none is ever further from true time than it claims.
//
// One master and several hosts run in this process, each a whole internal/daemon with its own loopback sockets, page, control
// socket and directory. The master reads the machine's counter, so its clock is true time by definition; each host reads an
// image of it through a wrong oscillator (hw.Skewed). The observer reads the true counter once per sample, and evaluates what
// every host publishes at that same instant: errors are measured exactly, with no bracket (theory 1.2 and 1.3).
//
// Main function: Run. Invariants: the daemons are told nothing that the observer knows; a sample is taken only if no host has
// published between the first and the last look at it, so it is what readers at that instant saw; what is not known is missing
// (null in JSON); whatever was started has ended, and its files are gone, when Run returns, but for the logs of a failed run.
package demo
