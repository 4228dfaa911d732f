// Package observe measures NTP servers (of any make, clockd's too) from this host for as long as asked: the engine of `clockbench
// observe`.
//
// Main types: Config (what is asked of whom, and under which assumptions), Run (the measurement), Record (a line of the log),
// Analysis (what the records mean; it is fed alike by a running measurement and by a log that is read again), Report (the result).
//
// Invariants. There is no ground truth here, so nothing is said to be true: a server's offset is an interval that holds if the
// server keeps its own promise (root distance) and this host's counter its drift bound; two servers disagree for certain when
// their intervals at one instant have no common point, and then at least one of them is false; of n servers, at most f of them
// false, the fault-tolerant interval F names those that cannot be true (theory 2.3 and 2.5). A statistical estimate stands beside
// it and is called one. The reference is this host's raw counter, so a step of the system clock does not move the series. What
// was not measured is missing: a dead server has no offset, and a gap is a gap. Every record is written before it is used, so
// a process that is killed loses nothing that was shown. A server that says RATE, DENY or RSTR is obeyed, also after a resumption.
//
// Sources: RFC 5905 sections 7.4 and 8; Schmid & Schossmaier, Distributed Computing 2001.
package observe
