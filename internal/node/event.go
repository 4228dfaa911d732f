package node

import (
	"fmt"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// EventKind says what happened.
type EventKind uint8

// The kinds of events. Every event carries Now, the counter reading at which it is handed to Step; Now never decreases.
const (
	// EventStart is the first event. Realtime, if it is not zero, is the host's wall clock at Now: a hint to anchor the raw
	// timeline near true time, never trusted.
	EventStart EventKind = iota + 1
	// EventTimer: the time that the last ActionWake asked for has come (or passed).
	EventTimer
	// EventPacket: a datagram (Packet) came from Source; Stamp is its arrival. Packet is not kept after Step returns. Authentic:
	// whoever holds the source's key has verified the packet; where the source has a key, no other packet is used, and Reason may say
	// what was wrong with it.
	EventPacket
	// EventSent: the departure stamp (Stamp) of the request that ActionSend of this Source numbered Sequence. The daemon
	// reports a user-space stamp at once, and a better one (kernel, hardware) when the kernel gives it.
	EventSent
	// EventSendFailed: the request Sequence of Source could not be sent (Reason).
	EventSendFailed
	// EventUnreachable: the network says that Source cannot be reached (ICMP), or its name does not resolve (Reason).
	EventUnreachable
	// EventDisruption: the host or its counter was disrupted (Reason).
	EventDisruption
	// EventConfigure: Config replaces the present one; sources with the same ID, Address and Key keep their state.
	EventConfigure
)

var eventNames = map[EventKind]string{
	EventStart: "start", EventTimer: "timer", EventPacket: "packet", EventSent: "sent", EventSendFailed: "send_failed",
	EventUnreachable: "unreachable", EventDisruption: "disruption", EventConfigure: "configure",
}

// String returns the kind's name as in the event log.
func (k EventKind) String() string {
	if s, ok := eventNames[k]; ok {
		return s
	}
	return fmt.Sprintf("event_%d", uint8(k))
}

// MarshalText writes the kind's name.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *EventKind) UnmarshalText(b []byte) error {
	for kind, s := range eventNames {
		if s == string(b) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("node: no event is called %q", b)
}

// Event is one input of Step: a union; which fields mean anything is said at each kind.
type Event struct {
	Kind     EventKind `json:"kind"`
	Now      hw.Ticks  `json:"now"`
	Source   int       `json:"source,omitempty"`
	Sequence uint32    `json:"sequence,omitempty"`
	Stamp    hw.Stamp  `json:"stamp,omitzero"`
	Packet   []byte    `json:"packet,omitempty"`
	// Authentic belongs to EventPacket.
	Authentic bool              `json:"authentic,omitempty"`
	Reason    reason.Code       `json:"reason,omitempty"`
	Realtime  virtualclock.Time `json:"realtime,omitzero"`
	Config    *Config           `json:"config,omitempty"`
}

// ActionKind says what to do.
type ActionKind uint8

// The kinds of actions.
const (
	// ActionSend: send Packet to Source and report EventSent with the same Sequence. Packet is valid until the next Step. Where
	// the source has a key with MACs, the digest at the packet's end is zero, for the sender to fill in: a node holds no secret, so that
	// what it does can be recorded and replayed.
	ActionSend ActionKind = iota + 1
	// ActionWake: deliver EventTimer when the counter reaches At. It replaces the one before.
	ActionWake
	// ActionPublish: Publication is the new state of the clock: write it to the page, serve from it.
	ActionPublish
	// ActionReport: something happened that a person may want to know (Report): for the log and the counters.
	ActionReport
	// ActionAnswerPeers: Peers is what requests of peers are answered from until the next one. It is valid until the next Step.
	ActionAnswerPeers
	// ActionMeasured, with Config.Measure only: Measurement is what an exchange gave, or that it gave nothing. It is valid until
	// the next Step.
	ActionMeasured
)

var actionNames = map[ActionKind]string{ActionSend: "send", ActionWake: "wake", ActionPublish: "publish", ActionReport: "report",
	ActionAnswerPeers: "answer_peers", ActionMeasured: "measured"}

// String returns the kind's name as in the event log.
func (k ActionKind) String() string {
	if s, ok := actionNames[k]; ok {
		return s
	}
	return fmt.Sprintf("action_%d", uint8(k))
}

// MarshalText writes the kind's name.
func (k ActionKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Action is one output of Step: a union like Event.
type Action struct {
	Kind        ActionKind   `json:"kind"`
	Source      int          `json:"source,omitempty"`
	Sequence    uint32       `json:"sequence,omitempty"`
	Packet      []byte       `json:"packet,omitempty"`
	At          hw.Ticks     `json:"at,omitempty"`
	Publication *Publication `json:"publication,omitempty"`
	Report      Report       `json:"report,omitzero"`
	// Peers is what the host's answers to its peers are made of.
	Peers *peerwire.Stamper `json:"peers,omitempty"`
	// Measurement belongs to ActionMeasured.
	Measurement *Measurement `json:"measurement,omitempty"`
}

// Publication is what the node wants the world to know of its clock.
type Publication struct {
	Clock virtualclock.Coefficients `json:"clock"`
	// Server is what an NTP answer may claim.
	Server roundtrip.ServerState `json:"server"`
	// Reason says why Clock.Status is not Synchronised.
	Reason reason.Code `json:"reason"`
	// Internal: the clock is that of a group of peers without masters. Its interval says nothing of UTC: the intervals of all
	// correct members have a point in common (agreement.Bound).
	Internal bool `json:"internal,omitempty"`
}

// Report is one thing that happened, for people and counters.
type Report struct {
	// Topic is one of packet, sample, source, clock, disruption, config, peer, round.
	Topic string `json:"topic"`
	// Source is the source's or peer's ID, or 0 when the report is about the host.
	Source int         `json:"source,omitempty"`
	Reason reason.Code `json:"reason"`
	// Status is the clock's status after a report with topic clock.
	Status virtualclock.Status `json:"status"`
	// Value is a figure that belongs to the reason, in seconds (a falseticker's distance, a bound), or 0.
	Value float64 `json:"value,omitempty"`
}

// Config is all that a Node is told.
type Config struct {
	// Seed makes the nonces of the requests; it must be secret and fresh where packets meet a real network.
	Seed [32]byte `json:"seed"`
	// Counter is the nominal frequency of the counter.
	Counter hw.Frequency `json:"counter"`
	// Granularity of the counter in ticks, at least 1.
	Granularity uint64 `json:"granularity"`
	// DriftBound is ρ: the largest relative error of the counter's oscillator against its nominal frequency, the latter's
	// measurement error excluded (it is added). 50e-6 is 50 ppm.
	DriftBound float64 `json:"drift_bound"`
	// WanderBound, if not 0, is assumed on top: within any hour (roundtrip.WanderPeriod) the oscillator's rate changes by no more
	// than this ratio. Bounds then grow with the rate that was measured.
	WanderBound float64 `json:"wander_bound,omitempty"`
	// OwnReferenceIDs are the reference ids of this host's own addresses: a server above stratum 1 that names one of them
	// follows this host.
	OwnReferenceIDs []uint32 `json:"own_reference_ids,omitempty"`
	// MaxSlew is the largest rate at which an offset is amortised, as a ratio.
	MaxSlew float64 `json:"max_slew"`
	// MaxBound is the half-width in seconds above which the clock is unsynchronised.
	MaxBound float64 `json:"max_bound"`
	// TargetError is the standard deviation of the clock's error, in seconds, that is good enough: while a source's estimate stays
	// below it and the bound below half of MaxBound, that source is asked less often, up to its MaxPoll. 0: polls are fixed.
	TargetError float64 `json:"target_error,omitempty"`
	// HoldoverAfter is how long, in seconds, after the last good sample the status falls to holdover; 0: 3 polls of the
	// fastest source, and at least 1 s.
	HoldoverAfter float64 `json:"holdover_after"`
	// Heartbeat is how often, in seconds, the node publishes at the least; Lifetime is how long a reader may go on with a
	// publication (as holdover after three heartbeats) when no newer one comes.
	Heartbeat float64 `json:"heartbeat"`
	Lifetime  float64 `json:"lifetime"`
	// MaxFalse is f: how many sources may be false at a time; −1: ⌊(n−1)/2⌋.
	MaxFalse int `json:"max_false"`
	// Sources are the masters to follow.
	Sources []SourceConfig `json:"sources"`
	// Peers are the other members of this host's group, and Agreement is what all members have in common; Members is counted, and
	// a Drift of 0 means this host's own drift bound. With peers and no sources the clock is INTERNAL (Publication.Internal); with
	// both (hybrid) the group steers it and the interval is that of UTC by the own masters.
	Peers     []PeerConfig      `json:"peers,omitempty"`
	Agreement *agreement.Config `json:"agreement,omitempty"`
	// Measure asks for an ActionMeasured for every exchange.
	Measure bool `json:"measure,omitempty"`
	// Local, if set, makes this host's own clock the reference while no source is configured.
	Local *LocalConfig `json:"local,omitempty"`
	// StartEpoch is the last epoch that readers have seen (from the page that is taken over): the first one is after it.
	StartEpoch virtualclock.Epoch `json:"start_epoch,omitempty"`
	// Rate and RateStd are what is remembered of the counter's rate from before (the state file): d(true)/d(raw) − 1. RateStd
	// 0 means nothing is remembered.
	Rate    float64 `json:"rate"`
	RateStd float64 `json:"rate_std"`
}

// SourceConfig is one master.
type SourceConfig struct {
	// ID is unique and not 0.
	ID int `json:"id"`
	// Name is what the user wrote; Address what it resolved to ("192.0.2.1:123"). A change of Address resets the source.
	Name    string `json:"name"`
	Address string `json:"address"`
	// ReferenceID is what a server that follows this source puts in its answers (RFC 5905 figure 12: the IPv4 address, or
	// the first four bytes of an MD5 of the IPv6 address).
	ReferenceID uint32 `json:"reference_id"`
	// Poll is the poll interval in seconds. Burst is how many requests are sent quickly at the start and after a gap.
	Poll  float64 `json:"poll"`
	Burst int     `json:"burst"`
	// MaxPoll, if it is above Poll, and Config.TargetError let the poll interval grow where the error allows it.
	MaxPoll float64 `json:"max_poll,omitempty"`
	// BurstSpacing is the time between the requests of a burst, in seconds.
	BurstSpacing float64 `json:"burst_spacing"`
	// Timeout is how long an answer is waited for, in seconds.
	Timeout float64 `json:"timeout"`
	// Interleaved: use interleaved mode when the server offers it.
	Interleaved bool `json:"interleaved"`
	// MinDelay is the known least one-way delay in seconds, each way; 0 when not known.
	MinDelay float64 `json:"min_delay"`
	// MaxServerError is the largest error that the server may claim, in seconds.
	MaxServerError float64 `json:"max_server_error"`
	// Key is what authenticates the exchanges with this source. A change of Key resets the source.
	Key SourceKey `json:"key,omitzero"`
}

// SourceKey describes a key that the driver holds. The zero value means no authentication.
type SourceKey struct {
	// ID is the key identifier, Length that of the MACs in bytes: 20 or 24.
	ID     uint32 `json:"id"`
	Length int    `json:"length"`
	// Version tells keys apart that have the same identifier: another one means another secret.
	Version uint64 `json:"version,omitempty"`
	// NTS: NTS authenticates the exchanges (RFC 8915), and ID and Length are 0. The driver adds its fields to the requests.
	NTS bool `json:"nts,omitempty"`
}

func (k SourceKey) vouched() *roundtrip.Vouched {
	return &roundtrip.Vouched{KeyID: k.ID, Length: k.Length, NTS: k.NTS}
}

// PeerConfig is another member of the group.
type PeerConfig struct {
	// ID is unique among sources and peers, and not 0.
	ID      int    `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	// Key is what authenticates the exchanges with this peer; there must be one.
	Key SourceKey `json:"key"`
	// Poll is the time between two exchanges, Timeout how long an answer is waited for, in seconds.
	Poll    float64 `json:"poll"`
	Timeout float64 `json:"timeout"`
	// MinDelay is the known least one-way delay in seconds, each way; 0 when not known.
	MinDelay float64 `json:"min_delay,omitempty"`
}

// LocalConfig makes this host the reference: its clock is true by definition, within Bound seconds.
type LocalConfig struct {
	Stratum uint8   `json:"stratum"`
	Bound   float64 `json:"bound"`
}
