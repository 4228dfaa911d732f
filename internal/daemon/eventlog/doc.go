// Package eventlog records what a node was told and what it decided, as JSON lines, and replays a record to a fresh node to see
// whether it decides the same again, byte for byte.
//
// Main types: Writer, Replay. The first line is a Header with the version, the counter and the whole node configuration; then
// each event is a line {"event":{…}} followed by one line {"action":{…}} for each action that it caused, in order; the last line
// is {"end":"why"}. Packets are base64, as encoding/json writes bytes.
//
// Invariants: the writer never blocks the loop that it records and never grows beyond its limits: when the disk is too slow or
// the size limit is reached it ends the record visibly. A record is readable by its owner only, since it holds the seed of the
// requests' nonces. Replay never panics and holds one line at a time, whatever it is fed.
package eventlog
