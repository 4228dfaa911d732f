package control

import "github.com/clockd/clockd/reason"

// The states of a kernel's clock that clockd was asked to steer.
const (
	// SystemClockWaiting: nothing was written yet, the virtual clock is not sound.
	SystemClockWaiting = "waiting"
	// SystemClockFollowing: it follows the virtual clock, and maxerror is true.
	SystemClockFollowing = "following"
	// SystemClockHolding: it goes on at its last rate and says that it is not synchronised.
	SystemClockHolding = "holding"
	// SystemClockRefused: clockd does not touch it; the reason says why.
	SystemClockRefused = "refused"
)

// SystemClock is the kernel's clock that clockd was asked to steer.
type SystemClock struct {
	// Discipline is realtime or aux; Clock names the kernel's clock.
	Discipline string `json:"discipline"`
	Clock      string `json:"clock"`
	State      string `json:"state"`
	// Reason says why it is not following, Detail who or what is in the way.
	Reason      reason.Code `json:"reason"`
	Explanation string      `json:"explanation"`
	Detail      string      `json:"detail,omitempty"`
	// OffsetS is virtual clock − kernel's clock at the last update; SlewPPM the part of its rate that amortises it; FrequencyPPM the whole
	// programmed rate. Null where it is not known.
	OffsetS      *float64 `json:"offset_s"`
	SlewPPM      *float64 `json:"slew_ppm"`
	FrequencyPPM *float64 `json:"frequency_ppm"`
	// MaxErrorS and EstErrorS are what was written as the kernel's maxerror and esterror; null unless it is following.
	MaxErrorS *float64 `json:"max_error_s"`
	EstErrorS *float64 `json:"est_error_s"`
	// Updates counts writes, Steps those that stepped the clock, SteppedS is the sum of the steps. Contested counts how often something
	// else was found to have changed it.
	Updates   uint64  `json:"updates"`
	Steps     uint64  `json:"steps"`
	SteppedS  float64 `json:"stepped_s"`
	Contested uint64  `json:"contested"`
	// Leap says which leap second the kernel was told of: insert, delete, or none.
	Leap string `json:"leap"`
	// TAIOffsetS is TAI − UTC as written; null if it is not known.
	TAIOffsetS *int32 `json:"tai_offset_s"`
}

// Leap is what is known of leap seconds.
type Leap struct {
	// Table is the file that the table was read from, "" without one; Reason says why there is none, or that it has expired.
	Table       string      `json:"table"`
	Reason      reason.Code `json:"reason"`
	Explanation string      `json:"explanation"`
	// ExpiresNS is when the table ends, in nanoseconds since the Unix epoch; null without one.
	ExpiresNS *int64 `json:"expires_ns"`
	// TAIOffsetS is TAI − UTC now; null if it is not known.
	TAIOffsetS *int32 `json:"tai_offset_s"`
	// NextNS is the end of the day that has a leap second, if one is known within a day; Sign +1: a second is inserted.
	NextNS *int64 `json:"next_ns"`
	Sign   int    `json:"sign"`
}
