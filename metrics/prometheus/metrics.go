package promexport

import "github.com/prometheus/client_golang/prometheus"

// metric is one family: what it is called, what it means, and the labels that tell its series apart.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	// section is where Document lists it.
	section string
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// The identifiers of the families, in the order of families.
type family int

const (
	clockStatus family = iota
	clockKind
	clockReason
	clockBound
	clockMaxBound
	clockCorrection
	clockRate
	clockRateDeviation
	clockSlewing
	clockSlewLeft
	clockEpoch
	clockSteps
	clockSampleAge
	clockHoldover
	clockNextPoll
	clockStratum
	clockReports
	sourcesCount
	sourcesMaxFalse
	propertyGranularity
	propertyRate
	propertyPrecision
	propertyPrecisionBound
	propertyConvergenceBound
	propertyAccuracy
	propertyAccuracyBound
	propertyEnvelopeBound
	propertyReadingError
	propertyUTC
	groupInfo
	groupStatus
	groupReason
	groupMembers
	groupUsed
	groupFaults
	groupMargin
	groupRounds
	groupSkipped
	groupAdjustment
	ntpRequests
	ntpAnswers
	ntpInterleaved
	ntpAuthenticated
	ntpNTS
	ntpDrops
	ntsExchanges
	ntsDrops
	daemonBuild
	daemonUptime
	daemonReloads
	daemonTroubles
	daemonStamps
	influxWritten
	influxDropped
	influxRetries
	influxWaiting
	influxWaitingBytes
	influxWriteAge
	influxErrorAge
	systemState
	systemReason
	systemOffset
	systemFrequency
	systemSlew
	systemMaxError
	systemEstError
	systemUpdates
	systemSteps
	systemStepped
	systemContested
	leapTableExpiry
	leapTAI
	leapNext
	partyFamilies
)

// The families that sources and peers have alike; their place is partyFamilies + 2·i for the source's and one more for the peer's.
const (
	partyOffset = iota
	partyOffsetDeviation
	partyHalfWidth
	partyDelay
	partyMinDelay
	partyJitter
	partyRate
	partyReach
	partyInterleaved
	partyAuthenticated
	partyUsed
	partySelected
	partyWeight
	partyStratum
	partyServerError
	partyDistance
	partySampleAge
	partyPoll
	partyNextPoll
	partyStamp
	partyReason
	partyRejections
	partyLastRejection
	partySent
	partyReceived
	partyNTSExchanges
	partyNTSCookies
	partyStatus
	partyCount
)

func clockFamilies() []metric {
	const clock, property, group, ntp, daemon = "The clock", "The properties", "The group", "The NTP server", "The daemon"
	const influx = "What is sent to InfluxDB"
	const system = "The kernel's clock and leap seconds"
	return []metric{
		{"clockd_clock_status", "Whether the virtual clock can be trusted: 1 for the status that it has, 0 for the others. In synchronised and holdover its interval holds.", gauge, []string{"status"}, clock},
		{"clockd_clock_kind", "What the clock's interval contains: true time (EXTERNAL) or only what the group's clocks have in common (INTERNAL): 1 for the one, 0 for the other.", gauge, []string{"kind"}, clock},
		{"clockd_clock_reason", "Why the clock is not better, by reason code; always 1. Missing while nothing is wrong.", gauge, []string{"reason"}, clock},
		{"clockd_clock_bound_seconds", "The largest distance from the virtual clock to an edge of its interval: the guaranteed error. Missing while nothing is guaranteed.", gauge, nil, clock},
		{"clockd_clock_max_bound_seconds", "The configured limit (clock.max_bound) above which the clock is unsynchronised.", gauge, nil, clock},
		{"clockd_clock_correction_seconds", "The offset applied so far: the virtual clock minus the uncorrected timeline of the hardware counter. Missing until the clock was first set.", gauge, nil, clock},
		{"clockd_clock_rate_correction_ratio", "By how much more than its nominal rate the counter must be counted: the estimated d(true)/d(raw) - 1. Missing while unknown.", gauge, nil, clock},
		{"clockd_clock_rate_correction_stddev_ratio", "The standard deviation of the estimated rate.", gauge, nil, clock},
		{"clockd_clock_slewing", "1 while a correction is being amortised by a changed rate, else 0.", gauge, nil, clock},
		{"clockd_clock_slew_remaining_seconds", "How much of the correction is still to be amortised; positive: the clock will be moved forward.", gauge, nil, clock},
		{"clockd_clock_epoch", "The clock's epoch: it grows by one whenever the clock is stepped, and readings of two epochs must not be compared.", gauge, nil, clock},
		{"clockd_clock_steps_total", "How often the clock was stepped since the daemon started, the first setting included.", counter, nil, clock},
		{"clockd_clock_last_sample_age_seconds", "How old the sample is that keeps the clock synchronised. Missing before the first.", gauge, nil, clock},
		{"clockd_clock_holdover_age_seconds", "In holdover, how old the last good sample is. Missing in every other status.", gauge, nil, clock},
		{"clockd_clock_next_poll_seconds", "How long until the next source is asked; 0 if one is due. Missing without sources.", gauge, nil, clock},
		{"clockd_clock_stratum", "The stratum that is told to NTP clients. Missing while the clock is not sound.", gauge, nil, clock},
		{"clockd_clock_reports_total", "What the daemon's core reported of packets, sources, peers and the clock, by reason code; the usual codes are there from the start, as 0.", counter, []string{"reason"}, clock},
		{"clockd_sources", "How many sources there are, by state: configured, answering (one of the last eight requests), used (in the estimate), false (proved to contradict the others).", gauge, []string{"state"}, clock},
		{"clockd_sources_max_false", "How many sources may be false at a time without harm (f).", gauge, nil, clock},
		{"clockd_property_granularity_seconds", "Physical granularity g: the tick of the counter at its nominal frequency.", gauge, nil, property},
		{"clockd_property_rate_bound_ratio", "Rate (rho_v), at most: how much too fast or too slow the clock can run at this instant, by counter.drift_bound and by how it is slewed. Missing while nothing is guaranteed.", gauge, nil, property},
		{"clockd_property_precision_seconds", "Precision as this host knows it now: how far its clock can be from the time that all correct clocks of its group share. Two correct clocks differ by at most the sum of theirs. Missing without a group, or while unknown.", gauge, nil, property},
		{"clockd_property_precision_bound_seconds", "Precision as the group's configuration promises it (pi_v): no two correct clocks ever differ by more.", gauge, nil, property},
		{"clockd_property_convergence_bound_seconds", "Convergence as the group's configuration promises it (delta_v): the spread right after a round.", gauge, nil, property},
		{"clockd_property_accuracy_seconds", "Accuracy as this host can prove it now: no larger error against true time is possible. Missing if the clock is INTERNAL or not sound.", gauge, nil, property},
		{"clockd_property_accuracy_bound_seconds", "Accuracy as the group's configuration promises it (alpha_v). Missing without masters.", gauge, nil, property},
		{"clockd_property_envelope_rate_bound_ratio", "Envelope rate as the group's configuration promises it (rho_alpha): how fast the group as a whole may drift.", gauge, nil, property},
		{"clockd_property_reading_error_seconds", "Clock reading error (epsilon): the half-width with which the members were read in the last round, or, without a group, the narrowest source's. Missing before the first reading.", gauge, nil, property},
		{"clockd_property_distance_to_utc_seconds", "The largest distance from this clock that UTC can have by what the masters of all members say. Missing while unknown.", gauge, nil, property},
		{"clockd_group_info", "Which group of peers this host is in, as a label that hosts with the same members have alike (none: it has no peers); always 1.", gauge, []string{"group"}, group},
		{"clockd_group_status", "This host's standing in its group: 1 for the status that it has, 0 for the others.", gauge, []string{"status"}, group},
		{"clockd_group_reason", "What is wrong with the last round or with the standing, by reason code; always 1. Missing while nothing is wrong.", gauge, []string{"reason"}, group},
		{"clockd_group_members", "How many members the group has by the configuration, this host included.", gauge, nil, group},
		{"clockd_group_used_members", "How many members' clocks were used in the last round, this host's own included.", gauge, nil, group},
		{"clockd_group_faults", "How many members may do anything at all without harm (f).", gauge, nil, group},
		{"clockd_group_margin", "How many more faulty members the last round could have borne; negative: nothing is promised.", gauge, nil, group},
		{"clockd_group_rounds_total", "Rounds of agreement that were made.", counter, nil, group},
		{"clockd_group_skipped_rounds_total", "Rounds of agreement that were due and not made.", counter, nil, group},
		{"clockd_group_adjustment_seconds", "By how much the last round moved this clock.", gauge, nil, group},
		{"clockd_ntp_requests_total", "NTP requests that were received.", counter, nil, ntp},
		{"clockd_ntp_answers_total", "NTP requests that were answered.", counter, nil, ntp},
		{"clockd_ntp_interleaved_answers_total", "NTP answers in interleaved mode.", counter, nil, ntp},
		{"clockd_ntp_authenticated_answers_total", "NTP answers under a key.", counter, nil, ntp},
		{"clockd_ntp_nts_answers_total", "NTP answers under NTS (RFC 8915).", counter, nil, ntp},
		{"clockd_ntp_drops_total", "NTP requests that were not answered as asked, by reason code; all codes are there from the start, as 0.", counter, []string{"reason"}, ntp},
		{"clockd_nts_key_exchanges_total", "Key exchanges in which a client got keys for NTS. Missing without [nts_server].", counter, nil, ntp},
		{"clockd_nts_key_exchange_drops_total", "Key exchanges in which a client got no keys, by reason code; the usual codes are there from the start, as 0.", counter, []string{"reason"}, ntp},
		{"clockd_build_info", "The version of clockd and of Go that it was built with, as labels; always 1.", gauge, []string{"version", "goversion"}, daemon},
		{"clockd_uptime_seconds", "How long the daemon has run.", gauge, nil, daemon},
		{"clockd_config_reloads_total", "How often the configuration was reloaded.", counter, nil, daemon},
		{"clockd_troubles", "How many things are wrong with the daemon itself; clockd status names them.", gauge, nil, daemon},
		{"clockd_kernel_stamps_wanted", "1 if the configuration lets the kernel stamp packets, else 0.", gauge, nil, daemon},
		{"clockd_influx_points_total", "Points that InfluxDB took. Missing, as all of clockd_influx, where nothing is sent there.", counter, nil, influx},
		{"clockd_influx_dropped_points_total", "Points that were given up, by reason code; all codes are there from the start, as 0.", counter, []string{"reason"}, influx},
		{"clockd_influx_retries_total", "Batches that had to be tried again.", counter, nil, influx},
		{"clockd_influx_waiting_points", "Points that wait to be written, by place: memory or spool (on disk).", gauge, []string{"place"}, influx},
		{"clockd_influx_waiting_bytes", "What the waiting points take, by place.", gauge, []string{"place"}, influx},
		{"clockd_influx_last_write_age_seconds", "How long ago InfluxDB last took points. Missing before the first.", gauge, nil, influx},
		{"clockd_influx_last_error_age_seconds", "How long ago InfluxDB last did not take points. Missing if it always did.", gauge, nil, influx},
		{"clockd_system_clock_state", "1 for the state of the kernel's clock, 0 for the others: waiting, following, holding, refused. Missing, as all of clockd_system_clock, unless [system_clock] is on.", gauge, []string{"state"}, system},
		{"clockd_system_clock_reason", "1 with the reason code why the kernel's clock is not following; ok if it is.", gauge, []string{"reason"}, system},
		{"clockd_system_clock_offset_seconds", "Virtual clock minus kernel's clock at the last update. Missing while it is not known.", gauge, nil, system},
		{"clockd_system_clock_frequency_ratio", "The rate that the kernel's clock is programmed to, as a ratio above nominal.", gauge, nil, system},
		{"clockd_system_clock_slew_ratio", "The part of that rate that amortises the offset.", gauge, nil, system},
		{"clockd_system_clock_max_error_seconds", "What was written as the kernel's maxerror: a bound of its error. Missing unless it is following.", gauge, nil, system},
		{"clockd_system_clock_estimated_error_seconds", "What was written as the kernel's esterror. Missing unless it is following.", gauge, nil, system},
		{"clockd_system_clock_updates_total", "How often the kernel's clock was written.", counter, nil, system},
		{"clockd_system_clock_steps_total", "How often it was stepped.", counter, nil, system},
		{"clockd_system_clock_stepped_seconds", "The sum of the steps, with their signs.", gauge, nil, system},
		{"clockd_system_clock_contested_total", "How often something else was found to have changed it.", counter, nil, system},
		{"clockd_leap_table_expiry_timestamp_seconds", "When the table of leap seconds expires, in seconds since the Unix epoch. Missing without a table.", gauge, nil, system},
		{"clockd_leap_tai_offset_seconds", "TAI minus UTC. Missing while it is not known.", gauge, nil, system},
		{"clockd_leap_next_timestamp_seconds", "The end of the day that has a leap second, if one is to come within a day. Missing otherwise.", gauge, nil, system},
	}
}

// partyMetric is a family of sources, of peers, or of both, with P for the word.
type partyMetric struct {
	name, help string
	kind       prometheus.ValueType
	label      string
	sourceOnly bool
	peerOnly   bool
}

func partyMetrics() [partyCount]partyMetric {
	return [partyCount]partyMetric{
		partyOffset:          {name: "offset_seconds", help: "The P's clock minus this one. Missing before the first sample."},
		partyOffsetDeviation: {name: "offset_stddev_seconds", help: "The standard deviation of the offset.", sourceOnly: true},
		partyHalfWidth:       {name: "half_width_seconds", help: "Half of the width of the interval that contains the offset for certain, if the P is true."},
		partyDelay:           {name: "delay_seconds", help: "The round trip of the last sample.", sourceOnly: true},
		partyMinDelay:        {name: "min_delay_seconds", help: "The shortest round trip of the samples that are kept."},
		partyJitter:          {name: "jitter_seconds", help: "How much the delay varies from sample to sample (one standard deviation)."},
		partyRate:            {name: "rate_ratio", help: "The rate of the P's clock against the uncorrected counter, minus 1. Missing while unknown.", sourceOnly: true},
		partyReach:           {name: "reach", help: "How many of the last eight requests were answered."},
		partyInterleaved:     {name: "interleaved", help: "1 if the exchanges with the P are in interleaved mode, else 0; those with peers never are."},
		partyAuthenticated:   {name: "authenticated", help: "1 if a key or NTS proves the answers, else 0."},
		partyUsed:            {name: "used", help: "1 if the P takes part in the estimate of the clock, else 0."},
		partySelected:        {name: "selected", help: "1 for the P with the greatest weight, else 0.", sourceOnly: true},
		partyWeight:          {name: "weight_ratio", help: "The P's share of the estimate.", sourceOnly: true},
		partyStratum:         {name: "stratum", help: "The stratum that the P claims.", sourceOnly: true},
		partyServerError:     {name: "server_error_seconds", help: "The error that the P claims of itself.", sourceOnly: true},
		partyDistance:        {name: "falseticker_distance_seconds", help: "How far the P is from what the other sources prove. Missing unless it is false.", sourceOnly: true},
		partySampleAge:       {name: "last_sample_age_seconds", help: "The age of the P's last good answer.", sourceOnly: true},
		partyPoll:            {name: "poll_interval_seconds", help: "How often the P is asked."},
		partyNextPoll:        {name: "next_poll_seconds", help: "How long until the P is asked next; 0 if it is due.", sourceOnly: true},
		partyStamp:           {name: "stamp_info", help: "Where the stamps of departing and arriving packets are taken (none, user, kernel, hardware), as labels; always 1.", label: "transmit,receive"},
		partyReason:          {name: "reason", help: "Why the P is not used, by reason code; always 1. Missing while nothing is wrong.", label: "reason"},
		partyRejections:      {name: "rejections_total", help: "Packets and samples of the P that were not used, by reason code; the usual codes are there from the start, as 0.", kind: counter, label: "reason"},
		partyLastRejection:   {name: "last_rejection", help: "The reason code of the last rejection; always 1. Missing before the first.", label: "reason"},
		partySent:            {name: "requests_total", help: "Requests that were sent to the P.", kind: counter},
		partyReceived:        {name: "answers_total", help: "Packets that came from the P's address.", kind: counter},
		partyNTSExchanges:    {name: "nts_key_exchanges_total", help: "Key exchanges with the P that gave keys for NTS; those that did not are among the rejections. Missing without NTS.", kind: counter, sourceOnly: true},
		partyNTSCookies:      {name: "nts_cookies", help: "How many requests can be made under NTS before keys must be exchanged anew, if no answer comes. Missing without NTS.", sourceOnly: true},
		partyStatus:          {name: "status_info", help: "What the P says of its own standing in the group, as a label; always 1. Missing until it was heard.", label: "status", peerOnly: true},
	}
}

// families returns all of them; a family of sources is at partyFamilies + 2i, of peers one further. Those that do not exist have no name.
func families() []metric {
	list := clockFamilies()
	for _, p := range partyMetrics() {
		kind := gauge
		if p.kind == counter {
			kind = counter
		}
		for _, who := range []string{"source", "peer"} {
			if p.sourceOnly && who == "peer" || p.peerOnly && who == "source" {
				list = append(list, metric{})
				continue
			}
			list = append(list, metric{"clockd_" + who + "_" + p.name, inWords(p.help, who), kind, append([]string{who}, split(p.label)...), sectionOf(who)})
		}
	}
	return list
}
