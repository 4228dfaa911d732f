// Package influxdb writes what a run of clockbench left behind into InfluxDB: its series as they are in the CSV files, events, rounds
// and properties, under tags that tell runs, scenarios, seeds and hosts apart (docs/influxdb.md).
//
// Main type: Run. Invariants: a point has the time of the run's beginning plus the time of the row; a figure that is missing is left
// out; what is written twice is there once.
package influxdb
