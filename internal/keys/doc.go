// Package keys proves to two hosts that their NTP packets are the other's: it makes and verifies the MACs at the packets' ends.
//
// Main types: Key (what one host does with one other: it seals and verifies, an ntp.Authenticator), Ring (the keys that a server
// knows, an ntp.Keyring), Symmetric (a key of a chrony keys file) and Identity with PublicKey (a host's own X25519 key and the
// line that others put into their configuration).
//
// Invariants: a pair of identities has four keys, one for each sender and each kind of packet (request, answer), so that no packet
// is good for anything but the direction in which it was sent; nothing here prints a secret; a text that is accepted is the only
// one for its key; a MAC costs no allocation.
//
// Sources: RFC 4493 and RFC 8573 (AES-CMAC), RFC 5905 section 7.3 (MAC over header and extension fields), RFC 5869 (HKDF), RFC
// 7748 (X25519), chrony.conf(5) "keyfile".
package keys
