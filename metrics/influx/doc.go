// Package influx writes what a daemon measures, and the series of an experiment, into InfluxDB: 2.x, or 1.8 through its
// compatibility API (docs/influxdb.md).
//
// Main types: Writer, which takes a daemon's exchanges, snapshots and events and never makes it wait; Push, which writes what is there
// already and waits until it is; Lines, which makes line protocol.
//
// Invariants: what is offered to a Writer is written in the end, or counted under the reason for which it was not; memory and disk
// are bounded; a point has the nanosecond of the clock that measured it and says what that clock was worth; what is missing is
// left out and never 0; to write a batch twice changes nothing, since a point is known by its series and its time, so what is not
// known to have been written is written again.
package influx
