package control

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Version is the version of the protocol. Fields are added without a new version; a change of meaning makes a new one.
const Version = 1

// The commands.
const (
	CommandStatus  = "status"
	CommandSources = "sources"
	CommandNow     = "now"
	// CommandResync is the only one that changes something, so only root and the daemon's own user may give it.
	CommandResync = "resync"
)

// resyncReasons are what a hook may give as the reason of a resync.
var resyncReasons = [...]reason.Code{reason.ResyncRequested, reason.HostSuspended, reason.HostPaused, reason.CounterStopped}

// ResyncReason returns the reason of that name for CommandResync; "" is ResyncRequested.
func ResyncReason(name string) (reason.Code, error) {
	names := make([]string, 0, len(resyncReasons))
	for _, c := range resyncReasons {
		if name == c.String() || name == "" {
			return c, nil
		}
		names = append(names, c.String())
	}
	return reason.OK, fmt.Errorf("%.40q is no reason to resynchronise: there are %s", name, strings.Join(names, ", "))
}

// Resync is the answer to the command resync.
type Resync struct {
	// Epoch is that of the clock before: the next one is synchronised when its epoch is greater.
	Epoch  virtualclock.Epoch `json:"epoch"`
	Reason reason.Code        `json:"reason"`
}

// Request is what a client sends.
type Request struct {
	Version int    `json:"version"`
	Command string `json:"command"`
	// Reason is of CommandResync only.
	Reason string `json:"reason,omitempty"`
}

// response is what the server sends.
type response struct {
	Version int             `json:"version"`
	Error   string          `json:"error,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// Known returns a pointer to x, or nil (null in JSON) if x is infinite or not a number.
func Known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// Now is one reading of the clock.
type Now struct {
	// Kind is the sort of synchronisation that the interval rests on: EXTERNAL (masters, or this host as the reference) or
	// INTERNAL (a group of peers alone: nothing is said of true time).
	Kind   string              `json:"kind"`
	Status virtualclock.Status `json:"status"`
	Epoch  virtualclock.Epoch  `json:"epoch"`
	// TimeNS is the virtual clock, EarliestNS and LatestNS the edges of the interval that contains true time, rounded outward,
	// in nanoseconds since the Unix epoch; all null unless the status is sound.
	TimeNS     *int64 `json:"time_ns"`
	EarliestNS *int64 `json:"earliest_ns"`
	LatestNS   *int64 `json:"latest_ns"`
	// BoundS is the largest distance in seconds from the virtual clock to an edge.
	BoundS *float64 `json:"bound_s"`
	// Reason says why the status is not synchronised.
	Reason      reason.Code `json:"reason"`
	Explanation string      `json:"explanation"`
	// Via is page or socket: how the reading was made.
	Via string `json:"via"`
}

// KindExternal is the kind of a clock that is held to true time.
const KindExternal = "EXTERNAL"

// MakeNow makes a Now of a reading of the clock: its time, its interval and why it is not better.
func MakeNow(t virtualclock.Time, i virtualclock.Interval, why reason.Code, via string) Now {
	n := Now{Kind: KindExternal, Status: i.Status, Epoch: i.Epoch, Reason: why, Explanation: why.Explain(), Via: via}
	if !i.Status.Sound() {
		return n
	}
	at, earliest, latest := t.UnixNano(), i.Earliest.UnixNano(), i.Latest.UnixNano()
	if i.Latest.Fraction() != 0 && latest < math.MaxInt64 {
		latest++
	}
	n.TimeNS, n.EarliestNS, n.LatestNS = &at, &earliest, &latest
	n.BoundS = Known(max(t.Seconds(i.Earliest), i.Latest.Seconds(t)))
	return n
}

// Status is what a person wants to know of the daemon.
type Status struct {
	Version string  `json:"version"`
	PID     int     `json:"pid"`
	UptimeS float64 `json:"uptime_s"`

	Status      virtualclock.Status `json:"status"`
	Mode        string              `json:"mode"`
	Reason      reason.Code         `json:"reason"`
	Explanation string              `json:"explanation"`
	// Source is the name of the source with the greatest weight.
	Source *string `json:"source"`
	// Stratum is null while the clock is not sound.
	Stratum *uint8             `json:"stratum"`
	Epoch   virtualclock.Epoch `json:"epoch"`
	Steps   uint64             `json:"steps"`
	TimeNS  *int64             `json:"time_ns"`
	BoundS  *float64           `json:"bound_s"`
	// MaxBoundS is the bound above which the clock is unsynchronised.
	MaxBoundS float64 `json:"max_bound_s"`
	// RatePPM is how much faster than its nominal frequency's image the counter must be read: d(true)/d(raw) − 1.
	RatePPM    *float64 `json:"rate_ppm"`
	RateStdPPM *float64 `json:"rate_std_ppm"`
	Slewing    bool     `json:"slewing"`
	SlewLeftS  float64  `json:"slew_left_s"`
	// LastSampleAgeS is the age of the sample that keeps the clock synchronised.
	LastSampleAgeS *float64    `json:"last_sample_age_s"`
	Sources        SourceCount `json:"sources"`
	// Kind is EXTERNAL or INTERNAL; Group is null without peers.
	Kind  string `json:"kind"`
	Group *Group `json:"group"`

	Counter Counter `json:"counter"`
	Page    string  `json:"page"`
	// Server is null when this host answers no NTP requests.
	Server   *Server   `json:"server"`
	Config   Config    `json:"config"`
	EventLog *EventLog `json:"event_log"`
	// Influx is null when nothing is sent to InfluxDB.
	Influx *Influx `json:"influx"`
	// SystemClock is null when the kernel's clock is not to be touched.
	SystemClock *SystemClock `json:"system_clock"`
	// Leap is what is known of leap seconds.
	Leap *Leap `json:"leap"`
	// Trouble are things that are wrong with the daemon itself, for people.
	Trouble []string `json:"trouble"`
	// Reports counts what the node reported, by reason.
	Reports map[string]uint64 `json:"reports"`
}

// SourceCount counts sources.
type SourceCount struct {
	Configured int `json:"configured"`
	// Answering have answered one of their last eight requests; Used take part in the estimate; False contradict the others.
	Answering int `json:"answering"`
	Used      int `json:"used"`
	False     int `json:"false"`
	// MaxFalse is f: how many may be false at a time without harm.
	MaxFalse int `json:"max_false"`
}

// Counter is the hardware counter.
type Counter struct {
	Spec          string  `json:"spec"`
	Hertz         float64 `json:"hertz"`
	ErrorPPB      float64 `json:"error_ppb"`
	DriftBoundPPM float64 `json:"drift_bound_ppm"`
}

// Server is the NTP server.
type Server struct {
	Listening []string `json:"listening"`
	// Error says why an address is not listened on, "" if all are.
	Error string `json:"error,omitempty"`
	// Requests were received, Answers sent, InterleavedAnswers of them in interleaved mode and
	// AuthenticatedAnswers under a key; Rejected counts the others by reason.
	Requests             uint64 `json:"requests"`
	Answers              uint64 `json:"answers"`
	InterleavedAnswers   uint64 `json:"interleaved_answers"`
	AuthenticatedAnswers uint64 `json:"authenticated_answers"`
	// NTSAnswers are those under NTS; NTS is null where no keys for it are given.
	NTSAnswers uint64            `json:"nts_answers"`
	Rejected   map[string]uint64 `json:"rejected"`
	NTS        *NTSServer        `json:"nts"`
}

// NTSServer gives keys for NTS.
type NTSServer struct {
	Listening []string `json:"listening"`
	Error     string   `json:"error,omitempty"`
	// Exchanges gave keys, Rejected counts the others by reason.
	Exchanges uint64            `json:"exchanges"`
	Rejected  map[string]uint64 `json:"rejected"`
	// CookieKeys is how many keys open cookies.
	CookieKeys int `json:"cookie_keys"`
}

// NTS is a source's side of NTS.
type NTS struct {
	// AEAD is "" while there are no keys. Cookies is how many requests can be made without an answer.
	AEAD    string `json:"aead"`
	Cookies int    `json:"cookies"`
	// Exchanges gave keys, Failures counts those that did not by reason, LastFailure is that of the last one, or ok.
	Exchanges   uint64            `json:"exchanges"`
	Failures    map[string]uint64 `json:"failures"`
	LastFailure reason.Code       `json:"last_failure"`
	// CertificateUntil is when the first of the server's certificates ends; DatesChecked: their dates were held against this clock.
	CertificateUntil *time.Time `json:"certificate_until"`
	DatesChecked     bool       `json:"dates_checked"`
}

// Config says where the configuration came from.
type Config struct {
	// Path is "" for the built-in one.
	Path    string `json:"path"`
	Reloads uint64 `json:"reloads"`
	// Error says why the last reload was refused; the configuration before is in force.
	Error string `json:"error,omitempty"`
}

// EventLog is the state of the event log.
type EventLog struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	// Ended says why recording stopped, "" while it goes on.
	Ended string `json:"ended,omitempty"`
}

// Source is what is known of one source.
type Source struct {
	Name        string      `json:"name"`
	Address     *string     `json:"address"`
	Reason      reason.Code `json:"reason"`
	Explanation string      `json:"explanation"`
	// Detail is the resolver's or the network's own words, if there are any.
	Detail string `json:"detail,omitempty"`
	// Selected: it has the greatest weight.
	Selected bool    `json:"selected"`
	Weight   float64 `json:"weight"`
	// Reach has a bit for each of the last eight requests, the newest lowest.
	Reach     uint8   `json:"reach"`
	PollS     float64 `json:"poll_s"`
	NextPollS float64 `json:"next_poll_s"`
	// Stratum, Leap and ReferenceID are null before the first answer.
	Stratum     *uint8  `json:"stratum"`
	Leap        *uint8  `json:"leap"`
	ReferenceID *string `json:"reference_id"`
	Interleaved bool    `json:"interleaved"`
	// Key names what authenticates its answers, "" if nothing does.
	Key string `json:"key"`
	// Authentication is none, key or nts; NTS is null but for the last.
	Authentication string `json:"authentication"`
	NTS            *NTS   `json:"nts"`
	// OffsetS is the source's time minus the virtual clock, between LowS and HighS for certain if the source is true.
	OffsetS    *float64 `json:"offset_s"`
	OffsetStdS *float64 `json:"offset_std_s"`
	LowS       *float64 `json:"low_s"`
	HighS      *float64 `json:"high_s"`
	// DistanceS is how far a false source is from the proved interval.
	DistanceS    *float64 `json:"distance_s"`
	RatePPM      *float64 `json:"rate_ppm"`
	DelayS       *float64 `json:"delay_s"`
	MinDelayS    *float64 `json:"min_delay_s"`
	JitterS      *float64 `json:"jitter_s"`
	ServerErrorS *float64 `json:"server_error_s"`
	// LastSampleAgeS is the age of its last good answer.
	LastSampleAgeS *float64          `json:"last_sample_age_s"`
	TransmitStamp  string            `json:"transmit_stamp"`
	ReceiveStamp   string            `json:"receive_stamp"`
	Sent           uint64            `json:"sent"`
	Received       uint64            `json:"received"`
	Samples        uint64            `json:"samples"`
	LastRejection  reason.Code       `json:"last_rejection"`
	Rejections     map[string]uint64 `json:"rejections"`
}

// Snapshot is all of it at one instant, for what runs inside the daemon (metrics, readiness); no command on the socket asks for it.
type Snapshot struct {
	Status  *Status
	Sources *Sources
	// CorrectionS is the virtual clock minus the raw counter's timeline, nil before the clock was first set.
	CorrectionS *float64
	// LowS and HighS are the edges of the clock's interval minus the clock, nil unless its status is sound.
	LowS, HighS *float64
	// EstimateS is the estimate of true time minus the clock, by what the sources say, and EstimateStdS its standard deviation; nil
	// without an estimate.
	EstimateS, EstimateStdS *float64
	// KernelStamps: the configuration lets the kernel stamp packets.
	KernelStamps bool
	// Promised is what a group's configuration promises beforehand, nil without peers.
	Promised *agreement.Guarantee
	// RateBound is the most by which a second of the clock can differ from a true one at this instant (rho_v), as a ratio; nil unless
	// the clock is sound and its interval that of true time.
	RateBound *float64
	// GroupName is the same for all hosts whose configurations name the same members; "" without peers.
	GroupName string
}

// CommandSnapshot is Snapshot's name inside the daemon.
const CommandSnapshot = "snapshot"

// Sources is the answer to the command sources.
type Sources struct {
	Status  virtualclock.Status `json:"status"`
	Reason  reason.Code         `json:"reason"`
	Count   SourceCount         `json:"count"`
	Sources []Source            `json:"sources"`
}
