package orderbench

// Setup is the first line that a member reads.
type Setup struct {
	Engine  string         `json:"engine"`
	ID      int            `json:"id"`
	Members map[int]string `json:"members"` // the addresses
	// Side are the addresses of what an engine needs beside its own port: where followers of hashicorp-raft hand on what is not theirs to propose.
	Side       map[int]string `json:"side"`
	Dir        string         `json:"dir"`
	Durability string         `json:"durability"`
	// Certificate, Key and Authority are PEM; empty means TCP without TLS.
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	Authority   string `json:"authority"`
	// ClockOffset is what the member's clock is ahead of the system's; DeltaS > 0 is time-triggered delivery.
	ClockOffsetS float64 `json:"clock_offset_s"`
	DeltaS       float64 `json:"delta_s"`
	HeartbeatS   float64 `json:"heartbeat_s"`
	SuspectS     float64 `json:"suspect_s"`
}

// order is a line that a member reads after it.
type order struct {
	Do string `json:"do"` // "wait" until the group is whole, or "run"
	// Senders goroutines broadcast payloads of Size bytes, each waiting for its last one, until EndNS; what is delivered from StartNS to EndNS is measured.
	Senders int   `json:"senders"`
	Size    int   `json:"size"`
	StartNS int64 `json:"start_ns"`
	EndNS   int64 `json:"end_ns"`
	// Every so many messages of an origin is reported one by one.
	Every uint64 `json:"every"`
}

// answer is a line that a member writes.
type answer struct {
	Error  string  `json:"error,omitempty"`
	Leader int     `json:"leader,omitempty"` // who orders, if somebody does
	Report *report `json:"report,omitempty"`
}

// report is what a member measured.
type report struct {
	Delivered uint64 `json:"delivered"` // messages from StartNS to EndNS
	Sent      uint64 `json:"sent"`      // acknowledged here
	Failed    uint64 `json:"failed"`
	Failure   string `json:"failure,omitempty"` // the last one
	// Origin is from the call of Broadcast to its return, Paths from the call at an origin to the delivery here, by origin.
	Origin  Histogram          `json:"origin"`
	Paths   map[int]*Histogram `json:"paths"`
	Samples []sample           `json:"samples"`
	// CPU is the processor time of the process from StartNS to EndNS, about.
	CPUSeconds float64 `json:"cpu_s"`
}

// sample is one delivery.
type sample struct {
	Origin   int    `json:"o"`
	Sequence uint64 `json:"q"`
	SentNS   int64  `json:"s"`
	AtNS     int64  `json:"a"`
}

// maxSamples bounds what a member reports one by one.
const maxSamples = 20_000
