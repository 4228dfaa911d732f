package node

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// Node is the state of one host's synchronisation. It is not safe for concurrent use.
type Node struct {
	config Config
}

// New checks the configuration and returns a node that waits for EventStart.
func New(c Config) (*Node, error) { return &Node{config: c}, nil }

// Step takes one event and returns what it asks for. The result and all it points to are valid until the next call.
func (n *Node) Step(e Event) []Action { return nil }

// SourceStatus is what is known of one source, for people and metrics.
type SourceStatus struct {
	ID            int               `json:"id"`
	Name          string            `json:"name"`
	Address       string            `json:"address"`
	Reason        reason.Code       `json:"reason"`
	Distance      float64           `json:"distance"`
	Weight        float64           `json:"weight"`
	Reading       roundtrip.Reading `json:"reading"`
	Reach         uint8             `json:"reach"`
	Poll          float64           `json:"poll"`
	NextPoll      hw.Ticks          `json:"next_poll"`
	Stratum       uint8             `json:"stratum"`
	Leap          uint8             `json:"leap"`
	ReferenceID   uint32            `json:"reference_id"`
	ServerError   float64           `json:"server_error"`
	Interleaved   bool              `json:"interleaved"`
	TransmitStamp hw.StampKind      `json:"transmit_stamp"`
	ReceiveStamp  hw.StampKind      `json:"receive_stamp"`
	Sent          uint64            `json:"sent"`
	Received      uint64            `json:"received"`
	LastRejection reason.Code       `json:"last_rejection"`
	Rejections    reason.Counts     `json:"-"`
}

// Snapshot is everything a person can ask a node, at one counter reading.
type Snapshot struct {
	Now         hw.Ticks              `json:"now"`
	Publication Publication           `json:"publication"`
	Estimate    roundtrip.Estimate    `json:"estimate"`
	Interval    virtualclock.Interval `json:"-"`
	Time        virtualclock.Time     `json:"time"`
	// Bound is the largest distance in seconds from Time to an edge of Interval; +Inf when the status is not sound.
	Bound float64 `json:"-"`
	// Rate is the estimated d(true)/d(raw) − 1.
	Rate         float64        `json:"rate"`
	RateStd      float64        `json:"rate_std"`
	Slewing      bool           `json:"slewing"`
	SlewLeft     float64        `json:"slew_left"`
	Steps        uint64         `json:"steps"`
	Sources      []SourceStatus `json:"sources"`
	MaxFalse     int            `json:"max_false"`
	LastSample   hw.Ticks       `json:"last_sample"`
	Synchronised bool           `json:"-"`
}

// Snapshot returns the node's state at counter reading now. It allocates; it is for people.
func (n *Node) Snapshot(now hw.Ticks) Snapshot { return Snapshot{Now: now} }
