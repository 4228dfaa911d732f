package node

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// MeasurementKind says what a Measurement rests on.
type MeasurementKind uint8

// The kinds of measurements.
const (
	// MeasuredNothing: no sample came of it; Reason says why.
	MeasuredNothing MeasurementKind = iota
	// MeasuredBasic: one request and its answer.
	MeasuredBasic
	// MeasuredInterleaved: the same, with the answer's precise departure, which the next answer told. Where the answer itself had
	// told a less precise one, there is a basic measurement of the exchange too.
	MeasuredInterleaved
	// MeasuredHalf: only the way there is known, and it was not used; Reason says why. Half samples that are used give no
	// Measurement, since the answer that completes them gives one.
	MeasuredHalf
)

var measurementNames = [...]string{"nothing", "basic", "interleaved", "half"}

// String returns nothing, basic, interleaved or half.
func (k MeasurementKind) String() string {
	if int(k) < len(measurementNames) {
		return measurementNames[k]
	}
	return fmt.Sprintf("measurement_%d", uint8(k))
}

// MarshalText writes the kind's name.
func (k MeasurementKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *MeasurementKind) UnmarshalText(b []byte) error {
	for i, s := range measurementNames {
		if s == string(b) {
			*k = MeasurementKind(i)
			return nil
		}
	}
	return fmt.Errorf("node: no measurement is called %q", b)
}

// Measurement is one exchange with a source or a peer as it came: what the filters and the fusion make of many is in Snapshot.
type Measurement struct {
	Source int             `json:"source"`
	Peer   bool            `json:"peer,omitempty"`
	Kind   MeasurementKind `json:"kind"`
	// Reason says why it was not used; OK if it was. SampleEmptyInterval was used, to begin anew.
	Reason reason.Code `json:"reason"`

	// Time is the host's clock when the answer arrived, or when it was certain that none will. ClockSet: it is the virtual clock;
	// false: that was never set yet, and Time is the counter's own timeline, which began at what the host's wall clock read.
	Time     virtualclock.Time `json:"time"`
	ClockSet bool              `json:"clock_set,omitempty"`
	// Status is the clock's then. Bound is the largest error, in seconds, that Time can have, 0 unless the status is sound;
	// Internal: against the group's time and not against UTC.
	Status   virtualclock.Status `json:"status"`
	Bound    float64             `json:"bound,omitempty"`
	Internal bool                `json:"internal,omitempty"`

	// What follows means something only where Known is true; seconds. RawOffset is the other's clock minus the counter's own
	// timeline, which is never corrected, by this exchange alone, and HalfWidth how far from it the truth can be at the most, if the
	// other is true. Delay is the round trip without the other's time to answer.
	Known     bool    `json:"known,omitempty"`
	RawOffset float64 `json:"raw_offset,omitempty"`
	HalfWidth float64 `json:"half_width,omitempty"`
	Delay     float64 `json:"delay,omitempty"`
	// Offset is the other's clock minus the virtual clock at Time, where OffsetKnown; a peer's tells only its counter.
	OffsetKnown bool    `json:"offset_known,omitempty"`
	Offset      float64 `json:"offset,omitempty"`
	// ServerError is what the other says its own error is.
	ServerError float64 `json:"server_error,omitempty"`

	// The four stamps of samples: T1 and T4 by the own counter, T2 and T3 by the other. DepartTime and ArriveTime are T1 and T4 on the
	// counter's own timeline.
	Depart     hw.Stamp          `json:"depart,omitzero"`
	Arrive     hw.Stamp          `json:"arrive,omitzero"`
	DepartTime virtualclock.Time `json:"depart_time,omitzero"`
	ArriveTime virtualclock.Time `json:"arrive_time,omitzero"`
	Receive    virtualclock.Time `json:"receive,omitzero"`
	Transmit   virtualclock.Time `json:"transmit,omitzero"`
	Stratum    uint8             `json:"stratum,omitempty"`
}

// instant is what the clock was at one counter reading.
type instant struct {
	at       hw.Ticks
	time     virtualclock.Time
	set      bool
	status   virtualclock.Status
	internal bool
	bound    float64
	// read is the counter reading of time; it differs from at where that was before what is in force.
	read hw.Ticks
}

// instant reads the clock at reading at, or at the beginning of what is in force if that is later.
func (n *Node) instant(at hw.Ticks) instant {
	if !n.config.Measure {
		return instant{}
	}
	k := n.clock.Coefficients()
	i := instant{at: at, time: n.raw.At(at), status: k.Status}
	if n.steps == 0 {
		return i
	}
	at = hw.Later(at, hw.Later(k.Slew.C0, k.At))
	interval := k.Interval(at)
	i.set, i.time, i.status = true, k.Time(at), interval.Status
	i.internal, i.read = k.Kind == virtualclock.Internal, at
	if b := interval.Bound(i.time); !math.IsInf(b, 0) {
		i.bound = b
	}
	return i
}

// base is a measurement at an instant.
func (n *Node) base(l *link, i *instant) Measurement {
	return Measurement{
		Source: l.id, Peer: n.source(l.id) == nil, Time: i.time, ClockSet: i.set, Status: i.status, Bound: i.bound, Internal: i.internal,
	}
}

// measure makes a measurement of a sample before the filter has seen it; answered is the clock at the arrival of the packet.
func (n *Node) measure(l *link, f *roundtrip.Filter, raw *roundtrip.Raw, s *roundtrip.Sample, answered *instant) Measurement {
	if !n.config.Measure {
		return Measurement{}
	}
	i := *answered
	if s.Interleaved && l.answered.at == s.Arrive.At {
		i = l.answered
	}
	m := n.base(l, &i)
	m.Depart, m.DepartTime, m.Receive = s.Depart, raw.At(s.Depart.At), s.Receive
	m.ServerError, m.Stratum = s.ServerError, s.Stratum
	if s.HalfOnly {
		m.Kind = MeasuredHalf
		return m
	}
	m.Arrive, m.ArriveTime, m.Transmit = s.Arrive, raw.At(s.Arrive.At), s.Transmit
	if m.Kind = MeasuredBasic; s.Interleaved {
		m.Kind = MeasuredInterleaved
	}
	low, offset, high, ok := f.Alone(s)
	if !ok {
		return m
	}
	m.Known, m.RawOffset, m.HalfWidth = true, offset, max(high-offset, offset-low)
	m.Delay = max(raw.Elapsed(s.Depart.At, s.Arrive.At)-s.Transmit.Seconds(s.Receive), 0)
	if i.set && i.at == s.Arrive.At && !m.Peer {
		m.OffsetKnown, m.Offset = true, offset-i.time.Seconds(n.raw.At(i.read))
	}
	return m
}

// measured asks for the measurement to be told.
func (n *Node) measured(m Measurement, code reason.Code) {
	if !n.config.Measure || m.Kind == MeasuredHalf && code == reason.OK {
		return
	}
	m.Reason = code
	n.measurements = append(n.measurements, m)
	n.act(Action{Kind: ActionMeasured, Source: m.Source, Measurement: &n.measurements[len(n.measurements)-1]})
}

// measureNothing tells that an exchange gave nothing.
func (n *Node) measureNothing(l *link, code reason.Code) {
	if n.config.Measure {
		i := n.instant(n.now)
		n.measured(n.base(l, &i), code)
	}
}
