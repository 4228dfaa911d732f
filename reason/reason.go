// Package reason is the one list of reason codes: why a packet, a sample, a source, a page or a whole clock was rejected or
// lost its standing. The log, the command line, the metrics and the event log all use these names and no others.
//
// A Code is one byte, so that counting rejections is an array index. Its String is the stable name (snake_case) that programs
// read; Explain is a sentence for people.
package reason

import (
	"fmt"
	"strings"
)

// Code names one reason. The zero value OK means "nothing to complain of". It is an error too, so that package fmt prints the
// sentence; String is the name.
type Code uint8

// The reason codes. Their order may change between versions; their names may not.
const (
	OK Code = iota

	// Packets that a client did not use.
	PacketTooShort
	PacketTooLong
	PacketMalformed
	PacketVersion
	PacketMode
	PacketOrigin
	PacketDuplicate
	PacketUnsolicited
	PacketLate
	PacketZeroTimestamp
	PacketSource
	PacketAuthentication

	// Answers of a server with which NTS is spoken.
	NTSMalformed
	NTSMissing
	NTSUniqueID
	NTSAuthenticator
	KissNTSN

	// Answers of a server that could not be used.
	ServerUnsynchronised
	ServerStratum
	ServerRootDistance
	ServerOrder
	ServerLoop
	KissRate
	KissDeny
	KissOther

	// The key exchange of NTS: a client's with a server, and a server's with its clients.
	KeyExchangeWaiting
	KeyExchangeConnect
	KeyExchangeCertificate
	KeyExchangeCertificateTime
	KeyExchangeMalformed
	KeyExchangeNegotiation
	KeyExchangeRefused
	KeyExchangeDenied
	KeyExchangeRate

	// Samples and sources.
	SampleNegativeDelay
	SampleEmptyInterval
	SampleStamp
	SourceUnreachable
	SourceResolve
	SourceSend
	SourceFalseticker
	SourceTooWide
	SourceWaiting
	SourceDuplicate

	// The fusion of the sources, and the clock.
	TooFewSources
	NoMajority
	BoundTooWide
	Contradiction
	NeverSynchronised
	Stale
	ConfigRefused
	AssumptionsWeakened
	LeapSecond
	DriftExceeded
	WanderExceeded

	// Disruptions of the hardware counter or of the host.
	CounterBackwards
	CounterStopped
	HostSuspended
	HostPaused
	ClockStepped
	ResyncRequested

	// The system clock, where clockd is asked to steer it.
	ClockOwned
	ClockContested
	ClockForbidden
	ClockUnsupported

	// Leap seconds.
	LeapTableMissing
	LeapTableExpired
	SourceSmears

	// Requests that a server did not answer.
	RequestShort
	RequestLong
	RequestMalformed
	RequestMode
	RequestVersion
	RequestDenied
	RequestRate
	RequestSend
	RequestAuthentication
	RequestUnauthenticated
	RequestNTSMalformed
	RequestNTSCookie
	RequestNTSAuthenticator

	// The shared page.
	PageMissing
	PageMagic
	PageVersion
	PageSize
	PageTorn
	PageRetired
	PageCounter
	PageVoid

	// Packet stamps.
	StampUnsupported
	StampMissing
	StampOutOfOrder
	StampOff

	// The agreement of peers.
	PeerSilent
	PeerRestarted
	PeerJoining
	PeerRound
	PeerMalformed
	PeerEquivocates
	PeerTooWide
	PeerOutlier
	TooFewPeers
	ReadingsTooWide
	AdjustmentLimit
	TooManyLiars
	RoundLate
	GroupForming

	// Figures that are missing from a table of measurements.
	FigureNotMeasured
	FigureNotApplicable
	FigureTooFew
	FigureUndefined
	FigureNoTruth

	// The ordering of events.
	ClockUnsound
	EpochChanged
	KindChanged
	IntervalsOverlap
	IntervalKind
	IntervalGroup
	LatticeTooFine
	ClockAhead
	CounterExhausted
	VectorImpossible
	LeaseHeld
	LeaseUnknown
	LeaseOver
	LeaseTooShort
	LeaseLimit
	QueueFull
	QueueDuplicate
	QueuePast
	QueueSender
	PromiseBroken
	EncodingMalformed
	EncodingTooLong

	// Atomic broadcast.
	BroadcastUnsynchronised
	BroadcastWindow
	BroadcastTooLong
	BroadcastRemoved
	BroadcastMaybe
	FrameMalformed
	FrameVersion
	FrameGroup
	FrameSender
	FrameStale
	SnapshotUnusable
	// Points that an exporter did not deliver.
	ExportBehind
	ExportBuffer
	ExportSpool
	ExportRefused
	ExportTooLarge
	ExportMalformed
	ExportCorrupt
	ExportEnded

	// The sessions between members of a group.
	LinkForeign
	LinkCertificate
	LinkVersion
	LinkGroup
	LinkMember
	LinkSession
	LinkDisk
	LinkFrameLong
	LinkFrameMalformed
	LinkBusy
	LinkSilent
	LinkQueueFull
	LinkDown
	LinkRefused

	// Count is the number of codes: the length of an array that counts them.
	Count
)

type entry struct{ name, explain string }

func entries() *[Count]entry { return &table }

var table = [Count]entry{
	OK:                   {"ok", "nothing is wrong"},
	PacketTooShort:       {"packet_too_short", "the datagram is shorter than an NTP header of 48 bytes"},
	PacketTooLong:        {"packet_too_long", "the datagram is longer than any that clockd accepts"},
	PacketMalformed:      {"packet_malformed", "an extension field or a MAC does not fit the datagram"},
	PacketVersion:        {"packet_version", "the NTP version is not one that clockd speaks"},
	PacketMode:           {"packet_mode", "the NTP mode is not that of a server's answer"},
	PacketOrigin:         {"packet_origin", "the origin timestamp is not that of the outstanding request: stale, replayed or forged"},
	PacketDuplicate:      {"packet_duplicate", "this request had its answer already"},
	PacketUnsolicited:    {"packet_unsolicited", "no request was outstanding"},
	PacketLate:           {"packet_late", "the answer came after its deadline"},
	PacketZeroTimestamp:  {"packet_zero_timestamp", "the server's receive or transmit timestamp is zero"},
	PacketSource:         {"packet_source", "the datagram came from another address than the one asked"},
	PacketAuthentication: {"packet_authentication", "the packet's authentication is missing or wrong"},
	ServerUnsynchronised: {"server_unsynchronised", "the server says that it is not synchronised (leap 3 or stratum 0 or 16)"},
	ServerStratum:        {"server_stratum", "the server's stratum is above 15"},
	ServerRootDistance:   {"server_root_distance", "the server's own stated error is larger than the configured limit"},
	ServerOrder:          {"server_order", "the server says that it answered before it was asked"},
	ServerLoop:           {"server_loop", "the server follows this very host"},
	KissRate:             {"kiss_rate", "the server asks for fewer requests (kiss-o'-death RATE)"},
	KissDeny:             {"kiss_deny", "the server refuses this client (kiss-o'-death DENY or RSTR)"},
	KissOther:            {"kiss_other", "the server sent another kiss-o'-death code"},
	SampleNegativeDelay:  {"sample_negative_delay", "the round trip is shorter than the server's own part of it: a stamp is invalid or the server lies"},
	SampleEmptyInterval:  {"sample_empty_interval", "the sample contradicts earlier ones of the same source: the drift bound, a stamp or the server is wrong"},
	SampleStamp:          {"sample_stamp", "a packet stamp is missing or out of order"},
	SourceUnreachable:    {"source_unreachable", "the source did not answer its last requests"},
	SourceResolve:        {"source_resolve", "the source's name has no address"},
	SourceSend:           {"source_send", "the request could not be sent"},
	SourceFalseticker:    {"source_falseticker", "the source's interval does not meet the interval that the other sources prove"},
	SourceTooWide:        {"source_too_wide", "the source's interval is too wide to be of use"},
	SourceWaiting:        {"source_waiting", "the source has given no sample yet"},
	SourceDuplicate:      {"source_duplicate", "another source has the same address: a server must not vote twice"},
	TooFewSources:        {"too_few_sources", "fewer sources answer than are needed to outvote the allowed number of false ones"},
	NoMajority:           {"no_majority", "the sources contradict one another: more of them are false than allowed"},
	BoundTooWide:         {"bound_too_wide", "the error bound has grown beyond the configured limit"},
	Contradiction:        {"contradiction", "the sources contradict what they proved before: an assumption was broken"},
	NeverSynchronised:    {"never_synchronised", "the clock has not been synchronised since it started"},
	ConfigRefused:        {"config_refused", "the new configuration is not usable; the old one stays"},
	AssumptionsWeakened:  {"assumptions_weakened", "the new configuration assumes less than the old one: what was proved is proved no longer"},
	LeapSecond:           {"leap_second", "a leap second was announced for this instant: time is measured anew after it"},
	DriftExceeded:        {"drift_exceeded", "the oscillator is measured to be further from its nominal frequency than the configured drift bound"},
	WanderExceeded:       {"wander_exceeded", "the oscillator's rate has changed by more than the configured wander bound"},
	Stale:                {"stale", "no new sample for longer than the holdover limit"},
	CounterBackwards:     {"counter_backwards", "the hardware counter went backwards"},
	CounterStopped:       {"counter_stopped", "the hardware counter stood still while other clocks went on"},
	HostSuspended:        {"host_suspended", "the host was suspended"},
	HostPaused:           {"host_paused", "the virtual machine was paused, restored or migrated"},
	ClockStepped:         {"clock_stepped", "the system clock was stepped while a packet stamp was being taken"},
	ResyncRequested:      {"resync_requested", "an administrator asked for everything to be measured anew"},
	RequestShort:         {"request_short", "the request is shorter than an NTP header of 48 bytes"},
	RequestLong:          {"request_long", "the request is longer than any that clockd accepts"},
	RequestMalformed:     {"request_malformed", "an extension field or a MAC does not fit the request"},
	RequestMode:          {"request_mode", "the request is not in client mode"},
	RequestVersion:       {"request_version", "the request's NTP version is not one that clockd speaks"},
	RequestDenied:        {"request_denied", "the client's address is not among those allowed"},
	RequestRate:          {"request_rate", "the client asks more often than the rate limit allows"},
	RequestSend:          {"request_send", "the answer could not be sent"},
	PageMissing:          {"page_missing", "there is no shared page at that path"},
	PageMagic:            {"page_magic", "the file is not a clockd page"},
	PageVersion:          {"page_version", "the page has a format version that this reader does not know"},
	PageSize:             {"page_size", "the page has the wrong size"},
	PageTorn:             {"page_torn", "the page was being written and stayed so: its writer died"},
	PageRetired:          {"page_retired", "the page was replaced by a newer one: open it again"},
	PageCounter:          {"page_counter", "this process cannot read the hardware counter that the page is made for"},
	PageVoid:             {"page_void", "the page's writer has not renewed it in time: the daemon is dead or stopped"},
	StampUnsupported:     {"stamp_unsupported", "the kernel or the network device offers no packet stamps"},
	StampMissing:         {"stamp_missing", "the kernel gave no stamp for this packet"},
	StampOutOfOrder:      {"stamp_out_of_order", "the packet's stamp lies outside the time in which it can have been taken"},
	StampOff:             {"stamp_off", "kernel packet stamps are switched off by the configuration"},
	PeerSilent:           {"peer_silent", "nothing fresh is known of the peer: it was not heard or not measured"},
	PeerRestarted:        {"peer_restarted", "the peer has restarted: what was measured of its counter before is void"},
	PeerJoining:          {"peer_joining", "the peer is not yet in the group: its clock is not used"},
	PeerRound:            {"peer_round", "the peer's clock of this round is not known: its state came too late, or it is in another round"},
	PeerMalformed:        {"peer_malformed", "the peer's state is not one that a correct peer can have"},
	PeerEquivocates:      {"peer_equivocates", "the peer has told two stories of one clock: it lies"},
	PeerTooWide:          {"peer_too_wide", "the peer is measured with a larger error than the configured limit"},
	PeerOutlier:          {"peer_outlier", "the peer's clock is proved to be farther off than that of a correct peer can be"},
	TooFewPeers:          {"too_few_peers", "fewer peers are known than are needed to outvote the allowed number of liars"},
	ReadingsTooWide:      {"readings_too_wide", "more peers than may be faulty are measured with a larger error than the configured limit"},
	AdjustmentLimit:      {"adjustment_limit", "the group asks for a larger correction than a correct clock can need"},
	TooManyLiars:         {"too_many_liars", "more peers than may be faulty are proved to be wrong, or this host's own clock is"},
	RoundLate:            {"round_late", "the round was missed: the host was busy, paused or suspended"},
	GroupForming:         {"group_forming", "the group has not agreed on a time yet"},

	ClockOwned:       {"clock_owned", "another program keeps the system clock"},
	ClockContested:   {"clock_contested", "something else has changed the system clock while clockd steered it"},
	ClockForbidden:   {"clock_forbidden", "the kernel does not let clockd steer the system clock: it needs CAP_SYS_TIME"},
	ClockUnsupported: {"clock_unsupported", "the kernel has no such clock"},
	LeapTableMissing: {"leap_table_missing", "there is no table of leap seconds that can be read"},
	LeapTableExpired: {"leap_table_expired", "the table of leap seconds has expired: a later leap second may be missing in it"},
	SourceSmears:     {"source_smears", "the source smears a leap second over hours, and the others do not"},

	FigureNotMeasured:   {"figure_not_measured", "this run did not measure it"},
	FigureNotApplicable: {"figure_not_applicable", "there is no such thing in this setting"},
	FigureTooFew:        {"figure_too_few", "there were too few observations to say"},
	FigureUndefined:     {"figure_undefined", "it has no value: a clock jumped or stood still"},
	FigureNoTruth:       {"figure_no_truth", "it is measured against true time, which is not known here"},

	ClockUnsound:      {"clock_unsound", "the clock does not know the time at present"},
	EpochChanged:      {"epoch_changed", "the clock was stepped: what was read of it before may have been wrong"},
	KindChanged:       {"kind_changed", "the clock's intervals bound something else than before: true time, or the group's clocks only"},
	IntervalsOverlap:  {"intervals_overlap", "the intervals of the two events overlap: the clocks cannot tell which came first"},
	IntervalKind:      {"interval_kind", "an interval does not bound true time, or one of the two does and the other does not"},
	IntervalGroup:     {"interval_group", "the intervals belong to clocks of different groups, which have nothing in common"},
	LatticeTooFine:    {"lattice_too_fine", "the clock's error is too large for a time lattice as fine as this"},
	ClockAhead:        {"clock_ahead", "a timestamp is later than any that a clock within its bound can have given by now"},
	CounterExhausted:  {"counter_exhausted", "a logical counter has reached its largest value"},
	VectorImpossible:  {"vector_impossible", "a vector clock has the wrong length, or knows events that have not happened yet"},
	LeaseHeld:         {"lease_held", "somebody else may still hold the lease"},
	LeaseUnknown:      {"lease_unknown", "there is no such lease, or it is another one by now"},
	LeaseOver:         {"lease_over", "the lease may have ended"},
	LeaseTooShort:     {"lease_too_short", "the lease is shorter than the clock's error, or longer than the longest allowed"},
	LeaseLimit:        {"lease_limit", "the grantor keeps as many leases as it may"},
	QueueFull:         {"queue_full", "the hold-back queue holds as much of this sender as it may: what is missing must come first"},
	QueueDuplicate:    {"queue_duplicate", "the message is in the hold-back queue already"},
	QueuePast:         {"queue_past", "the message was delivered already, or was given up"},
	QueueSender:       {"queue_sender", "the sender is not among those that the hold-back queue knows or has room for"},
	PromiseBroken:     {"promise_broken", "the sender had promised to send nothing as early as this any more"},
	EncodingMalformed: {"encoding_malformed", "the bytes are not an encoding of that"},
	EncodingTooLong:   {"encoding_too_long", "the encoding is of more than the caller allows"},

	NTSMalformed:     {"nts_malformed", "the answer's NTS fields are not as RFC 8915 has them"},
	NTSMissing:       {"nts_missing", "the answer has no NTS fields, although the source speaks NTS: stripped or forged"},
	NTSUniqueID:      {"nts_unique_id", "the answer's unique identifier is not that of the last request: late, replayed or forged"},
	NTSAuthenticator: {"nts_authenticator", "the answer's NTS authenticator is wrong: altered, forged, or made with other keys"},
	KissNTSN:         {"kiss_ntsn", "the server does not know the keys in the cookie any more, or somebody says so in its name (NTS NAK): keys are exchanged anew"},

	KeyExchangeWaiting:         {"key_exchange_waiting", "there are no NTS keys yet: the key exchange with the server has not ended"},
	KeyExchangeConnect:         {"key_exchange_connect", "the NTS key exchange did not come about: no connection, no TLS 1.3, or no ntske/1"},
	KeyExchangeCertificate:     {"key_exchange_certificate", "the certificate shown in the NTS key exchange is not one to be trusted for that name"},
	KeyExchangeCertificateTime: {"key_exchange_certificate_time", "the time is not within the dates of the certificate shown in the NTS key exchange"},
	KeyExchangeMalformed:       {"key_exchange_malformed", "what the other side said in the NTS key exchange is not as RFC 8915 has it"},
	KeyExchangeNegotiation:     {"key_exchange_negotiation", "the two sides of the NTS key exchange have no protocol or no AEAD in common"},
	KeyExchangeRefused:         {"key_exchange_refused", "the server refused the NTS key exchange, or warned of something unknown"},
	KeyExchangeDenied:          {"key_exchange_denied", "the client's address is not among those allowed to exchange keys"},
	KeyExchangeRate:            {"key_exchange_rate", "keys are exchanged more often than the rate limit allows"},

	RequestNTSMalformed:     {"request_nts_malformed", "the request's NTS fields are not as RFC 8915 has them"},
	RequestNTSCookie:        {"request_nts_cookie", "the request's NTS cookie was not made with keys that are known here: too old, or not ours"},
	RequestNTSAuthenticator: {"request_nts_authenticator", "the request's NTS authenticator is wrong: altered or forged"},

	BroadcastUnsynchronised: {"broadcast_unsynchronised", "the clock is not synchronised, so nothing is sent; the message will not be delivered"},
	BroadcastWindow:         {"broadcast_window", "too much of what was sent is not delivered yet; the message will not be delivered, try again later"},
	BroadcastTooLong:        {"broadcast_too_long", "the payload is longer than allowed; the message will not be delivered"},
	BroadcastRemoved:        {"broadcast_removed", "this process is not in the group any more; the message will not be delivered"},
	BroadcastMaybe:          {"broadcast_maybe", "the message was sent, and may still be delivered"},
	FrameMalformed:          {"frame_malformed", "the frame is not one of the broadcast protocol, or is cut off"},
	FrameVersion:            {"frame_version", "the frame is of another version of the broadcast protocol"},
	FrameGroup:              {"frame_group", "the frame belongs to another group"},
	FrameSender:             {"frame_sender", "the frame names another sender than the one who sent it, or one who is not in the group"},
	FrameStale:              {"frame_stale", "the frame is of an earlier life of its sender, or of a view that is over"},
	SnapshotUnusable:        {"snapshot_unusable", "the snapshot is damaged, or of another group, or older than what is here"},
	ExportBehind:            {"export_behind", "points came faster than they could be written down: the queue was full"},
	ExportBuffer:            {"export_buffer", "the data base was away for longer than the memory buffer lasts: the oldest points were dropped"},
	ExportSpool:             {"export_spool", "the data base was away for longer than the spool on disk lasts: the oldest points were dropped"},
	ExportRefused:           {"export_refused", "the data base refuses the point, and would refuse it again"},
	ExportTooLarge:          {"export_too_large", "the data base does not take even one such point: its limit is too small"},
	ExportMalformed:         {"export_malformed", "the point cannot be written as a line: it has no field, or a name that cannot be"},
	ExportCorrupt:           {"export_corrupt", "the spool on disk was damaged, or was being written when the host died"},
	ExportEnded:             {"export_ended", "the program ended before the data base took the point"},

	LinkForeign:        {"link_foreign", "what connected to the group's port, or answered there, does not speak its protocol"},
	LinkCertificate:    {"link_certificate", "the certificate is not one of a member of the group"},
	LinkVersion:        {"link_version", "the other side speaks another version of the group's protocol"},
	LinkGroup:          {"link_group", "the other side belongs to another group"},
	LinkMember:         {"link_member", "the other side is not a member of the group, or not the one that it says or was taken for"},
	LinkSession:        {"link_session", "the session is an old one, or is played again"},
	LinkDisk:           {"link_disk", "the member has come back without its disk, under its old ID: it needs a new one"},
	LinkFrameLong:      {"link_frame_long", "a frame is longer than allowed; the session was ended"},
	LinkFrameMalformed: {"link_frame_malformed", "a frame cannot be read; the session was ended"},
	LinkBusy:           {"link_busy", "as many connections as allowed are open already"},
	LinkSilent:         {"link_silent", "the other side did not answer in time"},
	LinkQueueFull:      {"link_queue_full", "a frame was dropped, because as many bytes as allowed wait for this member already"},
	LinkDown:           {"link_down", "a frame was dropped, because there is no session with the member"},
	LinkRefused:        {"link_refused", "the other side refused the session without saying why"},

	RequestAuthentication:  {"request_authentication", "the request's MAC is wrong, or of a key that is not known here"},
	RequestUnauthenticated: {"request_unauthenticated", "the request has no MAC, and its sender must have one"},
}

// String returns the stable name of the code, or "reason_N" for a code that this version does not know.
func (c Code) String() string {
	if c >= Count {
		return fmt.Sprintf("reason_%d", uint8(c))
	}
	return entries()[c].name
}

// Explain returns one sentence for people.
func (c Code) Explain() string {
	if c >= Count {
		return "a reason that this version does not know"
	}
	return entries()[c].explain
}

// Error makes a code usable as an error; OK is never one.
func (c Code) Error() string { return strings.ReplaceAll(c.String(), "_", " ") + ": " + c.Explain() }

// MarshalText writes the stable name.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a stable name.
func (c *Code) UnmarshalText(text []byte) error {
	for i, e := range entries() {
		if e.name == string(text) {
			*c = Code(i)
			return nil
		}
	}
	return fmt.Errorf("reason: no code is called %q", text)
}

// Counts counts rejections by code.
type Counts [Count]uint64

// Add counts one.
func (n *Counts) Add(c Code) {
	if c < Count {
		n[c]++
	}
}

// Map returns the nonzero counts by name, without OK.
func (n *Counts) Map() map[string]uint64 {
	m := map[string]uint64{}
	for i, v := range n {
		if v != 0 && Code(i) != OK {
			m[Code(i).String()] = v
		}
	}
	return m
}
