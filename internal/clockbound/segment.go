package clockbound

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/clockd/clockd/reason"
)

// The layout, in the byte order of the host.
const (
	// Size is the length of a segment.
	Size = 80
	// DefaultPath is where ClockBound's readers look.
	DefaultPath = "/var/run/clockbound/shm0"

	magicFirst, magicSecond = 0x414d5a4e, 0x43420200
	version                 = 2
	headerSize              = 16

	offsetSize     = 8
	offsetVersion  = 12
	offsetAsOf     = 16
	offsetVoid     = 32
	offsetBound    = 48
	offsetMarker   = 56
	offsetMaxDrift = 64
	offsetStatus   = 68
	offsetSupport  = 72
)

// Status is what ClockBound calls the clock's status.
type Status int32

// The statuses; Synchronised and FreeRunning can be trusted.
const (
	Unknown Status = iota
	Synchronised
	FreeRunning
	Disrupted
)

// String returns ClockBound's name for it.
func (s Status) String() string {
	switch s {
	case Unknown:
		return "Unknown"
	case Synchronised:
		return "Synchronized"
	case FreeRunning:
		return "FreeRunning"
	case Disrupted:
		return "Disrupted"
	}
	return fmt.Sprintf("status_%d", int32(s))
}

// Trusted reports whether true time is within the bound.
func (s Status) Trusted() bool { return s == Synchronised || s == FreeRunning }

// Segment is what is in a segment. All times are nanoseconds.
type Segment struct {
	// AsOf and VoidAfter are readings of CLOCK_MONOTONIC(_COARSE): from the one on Bound grows, past the other it is worth nothing.
	AsOf, VoidAfter int64
	// Bound is how far CLOCK_REALTIME was from true time at most, at AsOf.
	Bound int64
	// Marker is the disruption marker of a VMClock; DisruptionSupport says that the writer looks at one.
	Marker            uint64
	DisruptionSupport bool
	// MaxDriftPPB is by how much Bound grows, in nanoseconds a second.
	MaxDriftPPB uint32
	Status      Status
}

// appendTo writes everything but the header.
func (s *Segment) appendTo(b []byte) []byte {
	order := binary.NativeEndian
	for _, t := range []int64{s.AsOf, s.VoidAfter} {
		seconds, rest := t/1e9, t%1e9
		if rest < 0 {
			seconds, rest = seconds-1, rest+1e9
		}
		b = order.AppendUint64(order.AppendUint64(b, uint64(seconds)), uint64(rest))
	}
	b = order.AppendUint64(b, uint64(s.Bound))
	b = order.AppendUint64(b, s.Marker)
	b = order.AppendUint32(b, s.MaxDriftPPB)
	b = order.AppendUint32(b, uint32(s.Status))
	support := byte(0)
	if s.DisruptionSupport {
		support = 1
	}
	return append(b, support, 0, 0, 0, 0, 0, 0, 0)
}

// isSegment reports whether b begins as a segment of some version.
func isSegment(b []byte) bool {
	order := binary.NativeEndian
	return len(b) >= headerSize && order.Uint32(b) == magicFirst && order.Uint32(b[4:]) == magicSecond
}

// Parse reads a copy of a segment. generation is even in a copy that no writer was at; whoever copies shared memory must see the same
// one before and after. The error wraps PageMagic, PageVersion, PageSize, PageTorn, or Contradiction where a value makes no sense.
func Parse(b []byte) (s Segment, generation uint16, err error) {
	order := binary.NativeEndian
	if !isSegment(b) {
		return Segment{}, 0, fmt.Errorf("clockbound: it is not a segment: %w", reason.PageMagic)
	}
	generation = order.Uint16(b[offsetVersion+2:])
	if v := order.Uint16(b[offsetVersion:]); v != version {
		return Segment{}, generation, fmt.Errorf("clockbound: it has version %d, only %d is read: %w", v, version, reason.PageVersion)
	}
	if n := order.Uint32(b[offsetSize:]); n < Size || len(b) < Size {
		return Segment{}, generation, fmt.Errorf("clockbound: it has %d bytes and says %d, not %d: %w", len(b), n, Size, reason.PageSize)
	}
	if generation == 0 || generation&1 != 0 {
		return Segment{}, generation, fmt.Errorf("clockbound: its generation is %d: %w", generation, reason.PageTorn)
	}
	asOf, ok1 := timespec(b[offsetAsOf:])
	void, ok2 := timespec(b[offsetVoid:])
	s = Segment{
		AsOf: asOf, VoidAfter: void, Bound: int64(order.Uint64(b[offsetBound:])), Marker: order.Uint64(b[offsetMarker:]),
		MaxDriftPPB: order.Uint32(b[offsetMaxDrift:]), Status: Status(order.Uint32(b[offsetStatus:])), DisruptionSupport: b[offsetSupport] != 0,
	}
	if !ok1 || !ok2 || s.Bound < 0 || s.MaxDriftPPB >= 1e9 || s.Status < Unknown || s.Status > Disrupted {
		return Segment{}, generation, fmt.Errorf("clockbound: a value is out of range: %w", reason.Contradiction)
	}
	return s, generation, nil
}

// timespec reads seconds and nanoseconds; not ok if they are no time of this era.
func timespec(b []byte) (ns int64, ok bool) {
	seconds, rest := int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
	if seconds < -1<<33 || seconds > 1<<33 || rest < 0 || rest >= 1e9 {
		return 0, false
	}
	return seconds*1e9 + rest, true
}

// grace is how long after AsOf ClockBound's readers believe the status, whatever VoidAfter is.
const grace = 5e9

// At is what ClockBound's readers make of the segment at a pair of readings of CLOCK_REALTIME and CLOCK_MONOTONIC, made in this order:
// true time was in [earliest, latest] if the status is trusted. An error means that they give none.
func (s *Segment) At(real, mono int64) (earliest, latest int64, status Status, err error) {
	status = s.Status
	if status.Trusted() && mono >= s.AsOf+grace {
		status = FreeRunning
		if mono >= s.VoidAfter {
			status = Unknown
		}
	}
	if mono <= s.AsOf-1000 {
		return 0, 0, Unknown, fmt.Errorf("clockbound: the clock is before the segment's time: %w", reason.CounterBackwards)
	}
	// The real readers compute in floating point; here rounded up.
	hi, lo := bits.Mul64(uint64(max(mono-s.AsOf, 0)), uint64(s.MaxDriftPPB))
	if hi >= 1e9 {
		return math.MinInt64, math.MaxInt64, status, nil
	}
	growth, rest := bits.Div64(hi, lo, 1e9)
	if rest > 0 {
		growth++
	}
	bound := uint64(s.Bound) + growth
	if growth > math.MaxInt64 || bound > math.MaxInt64 {
		return math.MinInt64, math.MaxInt64, status, nil
	}
	earliest, latest = real-int64(bound), real+int64(bound)
	if earliest > real {
		earliest = math.MinInt64
	}
	if latest < real {
		latest = math.MaxInt64
	}
	return earliest, latest, status, nil
}
