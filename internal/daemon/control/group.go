package control

import (
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// CommandPeers asks for the group.
const CommandPeers = "peers"

// KindInternal: the interval says nothing of true time; those of all correct members of the group have a point in common.
const KindInternal = "INTERNAL"

// As returns n for an interval of that kind.
func (n Now) As(k virtualclock.Kind) Now {
	n.Kind = k.String()
	return n
}

// Group is a host's standing in its group of peers. Figures are in seconds, null where nothing is known.
type Group struct {
	// Status is init, join, sync or holdover; Reason says why the last round was not made or what was wrong with it, Explanation
	// says it for people.
	Status      agreement.Status `json:"status"`
	Reason      reason.Code      `json:"reason"`
	Explanation string           `json:"explanation"`
	Round       int64            `json:"round"`
	Members     int              `json:"members"`
	// Faults is f: how many members may do anything at all. Margin is how many more the last round could have borne.
	Faults  int    `json:"faults"`
	Margin  int    `json:"margin"`
	Rounds  uint64 `json:"rounds"`
	Skipped uint64 `json:"skipped"`
	// SpreadS is the far edge: two correct members' clocks differ by at most the sum of theirs. PrecisionBoundS is what the
	// configuration promises of the difference beforehand. ToUTCS is the largest distance that UTC can have from this clock, by what
	// the masters of all members say.
	SpreadS         *float64 `json:"spread_s"`
	PrecisionBoundS *float64 `json:"precision_bound_s"`
	ToUTCS          *float64 `json:"to_utc_s"`
	// EpsilonS is the error with which the members were read in the last round, AdjustmentS what it moved this clock by.
	EpsilonS    *float64 `json:"epsilon_s"`
	AdjustmentS float64  `json:"adjustment_s"`
	PullS       float64  `json:"pull_s"`
	Peers       []Peer   `json:"peers"`
}

// Peer is another member of the group.
type Peer struct {
	Name    string  `json:"name"`
	Address *string `json:"address"`
	Key     string  `json:"key"`
	// Status is what the peer says of itself; null until it was heard.
	Status *agreement.Status `json:"status"`
	// Reason says why its clock took no part in the last round, or what is wrong with it.
	Reason      reason.Code `json:"reason"`
	Explanation string      `json:"explanation"`
	Detail      string      `json:"detail,omitempty"`
	Used        bool        `json:"used"`
	// OffsetS is its clock minus this one at the last round, within ErrorS.
	OffsetS *float64 `json:"offset_s"`
	ErrorS  *float64 `json:"error_s"`
	DelayS  *float64 `json:"delay_s"`
	// Reach has a bit for each of the last eight exchanges, the newest lowest.
	Reach         uint8             `json:"reach"`
	PollS         float64           `json:"poll_s"`
	TransmitStamp string            `json:"transmit_stamp"`
	ReceiveStamp  string            `json:"receive_stamp"`
	JitterS       *float64          `json:"jitter_s"`
	Sent          uint64            `json:"sent"`
	Received      uint64            `json:"received"`
	LastRejection reason.Code       `json:"last_rejection"`
	Rejections    map[string]uint64 `json:"rejections"`
}
