// Package ke carries the key exchange of NTS (RFC 8915 section 4) over TLS 1.3: a client's (Exchange) and a server's (Server).
//
// Main types: Client, Result, Proof (what a server's certificate proves, and for which times), Server.
//
// Invariants: one exchange costs bounded bytes, bounded time and one connection; a certificate is checked for name and chain always,
// and for its dates against a time that the caller names, never against the system's clock behind his back; a server keeps
// nothing of its clients but how often they came, in a table of fixed size.
package ke
