// Package virtualclock holds the clock that a host makes from its hardware counter: a piecewise linear, continuous, monotone
// function of the counter (Clock), the interval that contains true time (Interval), and the shared page through which any
// process reads both at about the cost of reading the counter (PageWriter and Reader; Local within one process).
//
// Invariants: under any sequence of corrections the virtual clock never goes backwards, except where the epoch changes; an
// Interval with status synchronised or holdover contains true time as long as the assumptions of docs/bounds hold; what is not
// known is an interval from MinTime to MaxTime, never a guess. The page is described in docs/page.md.
//
// Source: design theory 1.1, 2.3 (bounds grow in the raw-counter domain), 5.2 (API contract); commit wait: Corbett et al. 2012.
package virtualclock
