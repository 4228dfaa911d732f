// Package query is the engine of `clockd query HOST…`: it measures any NTP servers once, with several polite samples each, and
// says for each how far this machine's clock is off and how wrong that can be.
//
// Main types: Options, Result, Report; Run does the work. The requests and the arithmetic of the four stamps are those of
// github.com/beevik/ntp. Between it and the network stands guard, which lets nothing through but the one answer that belongs to
// the request: beevik/ntp gives up at the first stray datagram, takes a negative delay for 0, and panics on a poll or precision
// exponent of −128, so a hostile server must not meet it.
//
// Invariants: offset is remote − local; |offset − truth| ≤ error if the server keeps its promises and this machine's clock is
// not stepped or slewed faster than MaxLocalRate meanwhile; what is not known is nil, and null in JSON; no bytes from the network
// make it panic; a host that sends a kiss-o'-death is not asked again.
//
// Sources: RFC 5905 sections 7.3, 7.4 and 8; theory 2.1 to 2.3 (intersection of intervals).
package query
