// Package result is what a run of clockbench leaves behind: result.json, in a documented and versioned format (docs/results.md), and
// the full series as CSV files beside it.
//
// Main types: Result (the file), Directory (where a run writes; made and checked before the work begins), Track (series of one clock
// that are streamed to a CSV file, and decimated for the file so that no extreme is lost), Number (a figure that may be missing).
//
// Invariants: what is missing is null and never 0: the zero Number is missing; the reader is strict, since a result may come from
// anybody: it is bounded, refuses what it does not know, and names the place; the bytes of a simulated run depend on nothing but the
// program, the scenario and the seed, so no time of day and no machine is in them.
package result
