// Package nts is Network Time Security for NTP (RFC 8915) as far as it is pure: no socket, no clock, no goroutine, and randomness only
// from what is passed in. Package ke beside it carries the key exchange over TLS.
//
// Main types: Session (a client's keys and cookies: it makes requests and judges answers), Masters (the keys in which a server's
// cookies are wrapped, with their file), Responder (a server's side: it opens requests and seals answers, an ntp.NTS), Offer
// and Grant (what is said in a key exchange), AEAD (AES-SIV-CMAC-256, AES-128-GCM-SIV).
//
// Invariants: whatever another host sends is answered by a reason.Code, never by a panic, and costs bounded memory; an answer whose
// authenticator does not fit the request that was sent last is never used; a cookie goes out once; an answer is never longer
// than its request; a server keeps nothing of its clients.
//
// Sources: RFC 8915 (NTS), RFC 5297 (AES-SIV), RFC 8452 (AES-GCM-SIV), RFC 7822 (extension fields).
package nts
