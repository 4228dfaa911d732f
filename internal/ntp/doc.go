// Package ntp is the wire codec of the Network Time Protocol, versions 3 and 4, and nothing else: no socket, no clock, no state.
//
// Main types: Packet (header, extension fields, MAC), Timestamp (64 bits, an era of 136 years) and Short (16.16 seconds).
//
// Invariants: Decode never panics, never allocates, never keeps more than a view of the datagram, and accepts exactly the
// datagrams that Append can write: for an accepted x, Append(Decode(x)) == x. What does not fit is a named reason.Code.
// A conversion that must round says which way: a bound is only worth something if it is rounded outwards.
//
// Sources: RFC 5905 (figures 3 to 8, 12), RFC 7822 (extension fields and MAC), RFC 4330 (eras).
package ntp
