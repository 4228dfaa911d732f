// Package course is the course "Fault Tolerance in Distributed Systems" (P. Veríssimo) as experiments: each asks one question, measures in
// the deterministic simulation what theory bounds, beside the bound, and has a lesson.
//
// Main types: Experiment (a small value), Report (what a run of it measured: a table, checks, a picture). Main functions: All, Find,
// Page (docs/experiments).
//
// Invariants: every number comes from the run; bounds come from formulas whose source is named beside them; the same seed gives the same
// bytes; a bound that must hold and does not is in Report.Broken. There is no wall clock here.
package course
