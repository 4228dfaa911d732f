// Package peerwire is what members of a group tell each other in NTP packets: one extension field in each request and in each
// answer, of one fixed size, so that the two travel equally long.
//
// An answer carries the host's published state (agreement.State) and the readings of its raw timeline when the request came and
// when the answer left. These, not the NTP timestamps of its virtual clock, are what its peers measure: hardware counters are
// compared, and adjustments published (theory 3.1). State and readings belong to the same era, because both are in one field
// that the packet's MAC covers. A request carries no secret and no state: it says only which format it wants.
//
// The format is strict: what Decode accepts, Append writes again byte for byte. All integers are big-endian.
//
// Main types: Answer, Stamper. Sources: RFC 7822 (extension fields), RFC 8573 (the MAC), docs/agreement.md.
package peerwire
