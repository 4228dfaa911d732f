// Package promexport shows a daemon's clock to Prometheus: every scrape takes one snapshot and turns it into constant metrics.
//
// Main types: Handler (what /metrics serves, with a registry of its own) and Collector. Invariants: what is not known is a series that is
// not there, never 0 and never the value of before; base units; only configured sources and peers and the codes of package reason
// become labels, so that their number is bounded; a snapshot that cannot be had fails the whole scrape. docs/metrics.md is Document's.
package promexport
