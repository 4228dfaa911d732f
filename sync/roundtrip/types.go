package roundtrip

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Sample is one complete exchange of four stamps with a source, or half of one.
type Sample struct {
	// Depart (T1) and Arrive (T4) are on the local counter's timeline.
	Depart, Arrive hw.Stamp
	// Receive (T2) and Transmit (T3) are the server's, on its own timeline. Receive is not before the request's arrival,
	// Transmit not after the answer's departure.
	Receive, Transmit virtualclock.Time
	// ServerError is the half-width of what the server says its time may be wrong by at Transmit, in seconds: root
	// delay/2 + root dispersion + precision.
	ServerError float64
	// RootDelay and RootDispersion are the server's, in seconds, as on the wire.
	RootDelay, RootDispersion float64
	// HalfOnly: only Depart and Receive mean anything (the answer's own Transmit is not known yet, as in interleaved mode).
	// Such a sample bounds the offset from above only.
	HalfOnly bool
	// Interleaved: Transmit was taken after the answer left (RFC 9769).
	Interleaved bool
	Stratum     uint8
	Leap        uint8
	ReferenceID uint32
}

// Reading is what is known of one source's offset from the raw timeline at counter reading At.
type Reading struct {
	At hw.Ticks `json:"at"`
	// Low and High bound the offset (theory 2.3), the server's own error included: [Low, High] contains true time − raw time
	// if the server is true. −Inf and +Inf if not known.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Offset is the point estimate inside [Low, High], OffsetStd its standard deviation. Rate is d(offset)/d(raw time), a
	// number without unit, RateStd its standard deviation.
	Offset    float64 `json:"offset"`
	OffsetStd float64 `json:"offset_std"`
	Rate      float64 `json:"rate"`
	RateStd   float64 `json:"rate_std"`
	// Delay is the round trip of the last sample, MinDelay the least that is remembered, Jitter the RMS of the residuals.
	Delay    float64 `json:"delay"`
	MinDelay float64 `json:"min_delay"`
	Jitter   float64 `json:"jitter"`
	// Samples counts those used since the filter was last reset; LastSample is the counter reading of the newest one.
	Samples    uint64   `json:"samples"`
	LastSample hw.Ticks `json:"last_sample"`
}

// Verdict is what the fusion says of one source.
type Verdict struct {
	Source int         `json:"source"`
	Reason reason.Code `json:"reason"`
	// Distance is, for a falseticker, how far its interval is from the fused one, in seconds.
	Distance float64 `json:"distance,omitempty"`
	// Weight is the source's share of the point estimate, 0 to 1.
	Weight float64 `json:"weight,omitempty"`
}

// Estimate is the fusion of all sources at counter reading At: what the clock is steered by and bounded with.
type Estimate struct {
	At        hw.Ticks `json:"at"`
	Low       float64  `json:"low"`
	High      float64  `json:"high"`
	Offset    float64  `json:"offset"`
	OffsetStd float64  `json:"offset_std"`
	Rate      float64  `json:"rate"`
	RateStd   float64  `json:"rate_std"`
	// Reason is OK, TooFewSources, NoMajority or Contradiction.
	Reason reason.Code `json:"reason"`
	// Used counts the sources whose interval is finite and meets the fused one.
	Used int `json:"used"`
}
