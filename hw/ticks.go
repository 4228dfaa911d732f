package hw

// Ticks is a reading of a hardware counter: the number of its ticks since an arbitrary origin. Readings of different counters
// must not be mixed. Differences are taken modulo 2⁶⁴, so a wrap does no harm.
type Ticks uint64

// Sub returns t − u in ticks, signed.
func (t Ticks) Sub(u Ticks) int64 { return int64(t - u) }

// Add returns t + n, n may be negative.
func (t Ticks) Add(n int64) Ticks { return t + Ticks(n) }

// Before reports whether t is earlier than u on the same counter.
func (t Ticks) Before(u Ticks) bool { return int64(t-u) < 0 }

// Later returns the later of two readings of one counter.
func Later(t, u Ticks) Ticks {
	if t.Before(u) {
		return u
	}
	return t
}

// Earlier returns the earlier of two readings of one counter.
func Earlier(t, u Ticks) Ticks {
	if u.Before(t) {
		return u
	}
	return t
}

// Frequency is what is known of a counter's rate.
type Frequency struct {
	// Hertz is the nominal number of ticks per second.
	Hertz float64 `json:"hertz"`
	// ErrorPPB is the half-width, in parts per 10⁹, of what the nominal value may be wrong by because it was measured and
	// not told. The oscillator's own drift comes on top.
	ErrorPPB float64 `json:"error_ppb"`
}

// Counter is a hardware counter, or the image of one. Read may be called from any goroutine.
type Counter interface {
	// Read returns the present reading, ordered with respect to the loads before it.
	Read() Ticks
	// Frequency returns the nominal frequency.
	Frequency() Frequency
	// Spec returns the text from which Open makes a counter that reads the same, in this or another process of this host.
	Spec() string
}

// StampKind says who took a stamp.
type StampKind uint8

// The kinds of stamps, from worst to best.
const (
	StampNone StampKind = iota
	StampUser
	StampKernel
	StampHardware
)

// String returns none, user, kernel or hardware.
func (k StampKind) String() string {
	switch k {
	case StampUser:
		return "user"
	case StampKernel:
		return "kernel"
	case StampHardware:
		return "hardware"
	default:
		return "none"
	}
}

// MarshalText writes the kind's name.
func (k StampKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name; an unknown name is StampNone.
func (k *StampKind) UnmarshalText(b []byte) error {
	*k = StampNone
	for _, x := range []StampKind{StampUser, StampKernel, StampHardware} {
		if x.String() == string(b) {
			*k = x
		}
	}
	return nil
}

// Stamp is the place of a packet's departure or arrival on the counter's timeline.
//
// Validity (theory 2.1), which every maker of a Stamp guarantees: a departure is not before At − Error; an arrival is not after
// At + Error. At is the best estimate.
type Stamp struct {
	At    Ticks     `json:"at"`
	Error Ticks     `json:"error"`
	Kind  StampKind `json:"kind"`
}

// NotBefore is the reading before which a departure with this stamp cannot have been.
func (s Stamp) NotBefore() Ticks { return s.At - s.Error }

// NotAfter is the reading after which an arrival with this stamp cannot have been.
func (s Stamp) NotAfter() Ticks { return s.At + s.Error }
