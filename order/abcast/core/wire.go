package core

const (
	// MaxPayload is the longest payload that the wire format allows, in bytes.
	MaxPayload = 16 << 20
	// MaxFrameSize is longer than any frame that the core sends, in bytes: what a transport must be able to carry, and the most that it should accept.
	MaxFrameSize = MaxPayload + 1<<16

	maxMembers    = 32
	electionTicks = 10
)
