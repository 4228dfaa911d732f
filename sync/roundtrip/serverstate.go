package roundtrip

import "github.com/clockd/clockd/virtualclock"

// ServerState is what a host's answers as an NTP server say of its clock. The error bound is not in it: the responder computes
// it from the clock's coefficients at the instant of each answer.
type ServerState struct {
	// Leap is 0, 1 or 2; 3 when not synchronised.
	Leap uint8 `json:"leap"`
	// Stratum is 1 to 15, 0 when not synchronised.
	Stratum     uint8  `json:"stratum"`
	ReferenceID uint32 `json:"reference_id"`
	// RootDelay is the round-trip delay to the reference, in seconds.
	RootDelay float64 `json:"root_delay"`
	// ReferenceTime is the virtual time of the last update.
	ReferenceTime virtualclock.Time `json:"reference_time"`
}
