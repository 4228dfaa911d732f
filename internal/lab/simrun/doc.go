// Package simrun runs a scenario of internal/sim once and writes down what is to be seen of it: the series, events, delays and
// properties that internal/lab/result holds.
//
// Main function: Run. The observer only looks: a run that is watched does exactly what it does unwatched. The bytes it leaves depend on
// the program, the scenario and the seed only, so that the run can be repeated and compared byte for byte.
package simrun
