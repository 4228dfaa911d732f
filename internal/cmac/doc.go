// Package cmac is AES-CMAC, the authentication code under the MACs of RFC 8573 and inside AES-SIV (RFC 5297).
//
// Main type: MAC. Invariants: no allocation for a sum; a time that depends on the message's length only, as far as crypto/aes keeps to
// that. Sources: RFC 4493, NIST SP 800-38B.
package cmac
