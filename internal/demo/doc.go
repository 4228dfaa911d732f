// Package demo is `clockd demo`: it shows on one machine, without root, network or configuration, that clocks which drift apart
// are held together, and that none is ever further from true time, or from another, than it claims.
//
// Masters and hosts run in this process, each a whole internal/daemon with its own loopback sockets, page, control socket and
// directory. A master reads the machine's counter, so the first one's clock is true time by definition; each host reads an image of it
// through a wrong oscillator (hw.Skewed). In a group the hosts are peers with identities of their own, and some may be liars: honest
// daemons whose answers are altered before they leave (internal/sim/adversary), by one who sees all pages at one reading of the true
// counter. The observer reads the true counter once per sample, and evaluates what every host publishes at that same instant: errors
// and distances are measured exactly, with no bracket (theory 1.2 and 1.3).
//
// Main function: Run. Invariants: the daemons are told nothing that the observer knows; a sample is taken only if no host has
// published between the first and the last look at it, so it is what readers at that instant saw; a group is checked also where
// publications begin and slews end, which the samples never hit; what is not known is missing (null in JSON); whatever was started
// has ended, and its files are gone, when Run returns, but for the logs of a failed run.
package demo
