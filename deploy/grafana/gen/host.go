package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// host is for one host: how good its clock is, and by whom.
func host() *dashboard.DashboardBuilder {
	b := newBoard("clockd-host", "clockd: host", "One clock: how good it is, by what sources and peers, and what happened to it.")
	b.variables(false)
	hostEvents(b)
	b.row("The clock")
	hostFigures(b)
	hostClock(b)
	b.row("Properties, beside what is promised of them")
	hostProperties(b)
	b.row("Sources")
	hostSources(b)
	b.row("Peers")
	hostPeers(b)
	b.row("The NTP server and the daemon")
	hostDaemon(b)
	return b.DashboardBuilder
}

func hostEvents(b *board) {
	b.event("stepped", "purple", `changes(`+of("clockd_clock_epoch")+`[$__rate_interval]) > 0`)
	b.event("status", neutral, `(`+of("clockd_clock_status")+` == 1) and on (job, instance, status) changes(`+of("clockd_clock_status")+`[$__rate_interval]) > 0`)
	b.event("reported", warning, `increase(`+of("clockd_clock_reports_total", `reason!="ok"`)+`[$__rate_interval]) > 0`)
	b.event("false source", bad, of("clockd_source_falseticker_distance_seconds"))
	b.event("restarted", neutral, `changes(`+of("process_start_time_seconds")+`[$__rate_interval]) > 0`)
	b.event("reloaded", neutral, `increase(`+of("clockd_config_reloads_total")+`[$__rate_interval]) > 0`)
	b.event("round skipped", warning, `increase(`+of("clockd_group_skipped_rounds_total")+`[$__rate_interval]) > 0`)
}

func hostFigures(b *board) {
	one := func(title, what, unit, expr string, steps ...step) {
		add(b, figure(panel{title: title, what: what, unit: unit, wide: 3, high: 4, steps: steps, queries: []query{{expr: expr, legend: title}}}))
	}
	add(b, figure(panel{title: "Status", wide: 3, high: 4, text: statuses(), queries: []query{{expr: status(), legend: "status"}},
		what: "Whether the clock can be trusted. Synchronised and holdover: its bound holds. The others promise nothing."}))
	one("Bound", "The guaranteed error: true time (for an INTERNAL clock: the other correct clocks' intervals) is no further away. No value: nothing is guaranteed.", "s",
		of("clockd_clock_bound_seconds"), step{0, neutral})
	one("Of its limit", "The bound as part of clock.max_bound, beyond which the clock is unsynchronised.", "percentunit", ofLimit(), partsOfLimit()...)
	one("Sources used", "How many sources the estimate rests on.", "none", of("clockd_sources", `state="used"`), step{0, neutral})
	one("False sources", "How many sources are proved to contradict the others.", "none", of("clockd_sources", `state="false"`), noneIsGood()...)
	one("Epoch", "Grows whenever the clock is stepped: times of two epochs must not be compared.", "none", of("clockd_clock_epoch"), step{0, neutral})
	one("Trouble of the daemon", "How many things are wrong with the daemon itself, such as a port that is taken; `clockd status` names them.", "none", of("clockd_troubles"), noneIsGood()...)
	one("Up for", "How long the daemon has run.", "s", of("clockd_uptime_seconds"), step{0, neutral})
}

func hostClock(b *board) {
	add(b, lines(panel{title: "Error and bound", unit: "s", wide: 16, high: 10,
		what: "The estimated error is what is still to be amortised by the clock's rate: the best guess. The bound on both sides is what is guaranteed; the limit (clock.max_bound) is dashed. A gap: nothing is guaranteed.",
		queries: []query{
			{expr: of("clockd_clock_slew_remaining_seconds"), legend: "estimated error"},
			{expr: of("clockd_clock_bound_seconds"), legend: "bound"},
			{expr: "-" + of("clockd_clock_bound_seconds"), legend: "bound, the other side"},
			{expr: of("clockd_clock_max_bound_seconds"), legend: "limit", limit: true},
		}}))
	add(b, states(panel{title: "Status", wide: 8, high: 5, text: statuses(), queries: []query{{expr: status(), legend: "status"}},
		what: "What the clock's status was over time."}))
	add(b, rows(panel{title: "Why it is not better", wide: 8, high: 5, queries: []query{{expr: of("clockd_clock_reason"), trouble: true}},
		what: "The reason code of the status. Empty while nothing is wrong."}, tidy(nil)))
	add(b, lines(panel{title: "Rate", unit: "ppm", wide: 8, high: 8,
		what: "By how much the counter is off its nominal rate as measured, with one standard deviation on both sides. It may not leave what counter.drift_bound promises.",
		queries: []query{
			{expr: of("clockd_clock_rate_correction_ratio") + " * 1e6", legend: "measured"},
			{expr: fmt.Sprintf("(%s + %s) * 1e6", of("clockd_clock_rate_correction_ratio"), of("clockd_clock_rate_correction_stddev_ratio")), legend: "one standard deviation more"},
			{expr: fmt.Sprintf("(%s - %s) * 1e6", of("clockd_clock_rate_correction_ratio"), of("clockd_clock_rate_correction_stddev_ratio")), legend: "one less"},
		}}))
	add(b, lines(panel{title: "Age of the last sample", unit: "s", wide: 8, high: 8, zero: true,
		what:    "How old the sample is that keeps the clock synchronised. It should stay within a few polls; growing, it ends in holdover.",
		queries: []query{{expr: of("clockd_clock_last_sample_age_seconds"), legend: "age"}}}))
	add(b, lines(panel{title: "Correction", unit: "s", wide: 8, high: 8,
		what:    "The offset applied so far: the virtual clock minus the uncorrected counter. Its slope is the oscillator's error; a jump is a step.",
		queries: []query{{expr: of("clockd_clock_correction_seconds"), legend: "correction"}}}))
}

func hostProperties(b *board) {
	property := func(title, what, unit, scale string, wide uint32, queries ...query) {
		for i := range queries {
			queries[i].expr += scale
		}
		add(b, lines(panel{title: title, what: what, unit: unit, wide: wide, high: 8, logarithmic: true, queries: queries}))
	}
	property("Accuracy (alpha_v)", "No larger error against true time is possible, by what this host can prove now. Dashed, in a group with masters: what the configuration promises.", "s", "", 8,
		query{expr: of("clockd_property_accuracy_seconds"), legend: "at most"},
		query{expr: of("clockd_property_accuracy_bound_seconds"), legend: "promised", limit: true})
	property("Precision (pi_v) and convergence (delta_v)", "How far this clock can be from the time that all correct clocks of its group share; two correct ones differ by at most the sum of theirs. Dashed: what the configuration promises at all times, and right after a round.", "s", "", 8,
		query{expr: of("clockd_property_precision_seconds"), legend: "distance, at most"},
		query{expr: of("clockd_property_precision_bound_seconds"), legend: "precision, promised", limit: true},
		query{expr: of("clockd_property_convergence_bound_seconds"), legend: "convergence, promised", limit: true})
	property("Clock reading error (epsilon)", "The half-width with which others' clocks are read: the group's members in the last round, or the narrowest source.", "s", "", 8,
		query{expr: of("clockd_property_reading_error_seconds"), legend: "reading error"})
	property("Rate (rho_v)", "The most by which a second of this clock can differ from a true one now, by counter.drift_bound and the slew. Dashed: how fast the group as a whole may drift (envelope rate).", "ppm", " * 1e6", 8,
		query{expr: of("clockd_property_rate_bound_ratio"), legend: "at most"},
		query{expr: of("clockd_property_envelope_rate_bound_ratio"), legend: "envelope rate, promised", limit: true})
	property("Distance to UTC", "The largest distance that UTC can have from this clock, by what the masters of all members say.", "s", "", 8,
		query{expr: of("clockd_property_distance_to_utc_seconds"), legend: "at most"})
	property("Granularity (g)", "The tick of the hardware counter: nothing finer can be told apart.", "s", "", 8,
		query{expr: of("clockd_property_granularity_seconds"), legend: "tick"})
}

func hostSources(b *board) {
	t := rows(panel{title: "Sources", wide: 24, high: 8,
		what: "Each source: whether it is used, its weight, its offset and half-width (it is true within that, if it is not false), round trip, how many of the last eight requests it answered, the error that it claims itself, and where packets are stamped.",
		queries: []query{
			{expr: of("clockd_source_used")}, {expr: of("clockd_source_weight_ratio")}, {expr: of("clockd_source_offset_seconds")}, {expr: of("clockd_source_half_width_seconds")},
			{expr: of("clockd_source_min_delay_seconds")}, {expr: of("clockd_source_reach")}, {expr: of("clockd_source_server_error_seconds")}, {expr: of("clockd_source_stratum")},
			{expr: of("clockd_source_stamp_info")}, {expr: of("clockd_source_reason"), trouble: true},
		}}, joined("source", []string{"instance", "Value #I", "Value #TroubleJ"}, map[string]string{
		"Value #A": "used", "Value #B": "weight", "Value #C": "offset", "Value #D": "half-width", "Value #E": "shortest round trip", "Value #F": "answered of 8",
		"Value #G": "claims an error of", "Value #H": "stratum", "reason": "why not used",
	})...)
	for _, seconds := range []string{"offset", "half-width", "shortest round trip", "claims an error of"} {
		column(t, seconds, "s")
	}
	column(t, "weight", "percentunit")
	column(t, "used", "none", step{0, bad}, step{1, good})
	add(b, t)
	each := func(title, what, unit, metric string) {
		add(b, lines(panel{title: title, what: what, unit: unit, wide: 8, high: 8, queries: []query{{expr: of(metric), legend: "{{source}}"}}}))
	}
	each("Offsets", "Each source's clock minus this one. True ones lie together around 0; one that lies apart by more than its half-width is false.", "s", "clockd_source_offset_seconds")
	each("Half-widths", "How narrow each source's interval is: half the round trip, the error that the source claims, and drift since.", "s", "clockd_source_half_width_seconds")
	each("Round trips", "The round trip of the last sample. A jump is a changed route.", "s", "clockd_source_delay_seconds")
	each("Jitter of the delay", "How much the round trip varies (one standard deviation).", "s", "clockd_source_jitter_seconds")
	each("Reach", "How many of the last eight requests were answered.", "none", "clockd_source_reach")
	add(b, lines(panel{title: "Rejections by reason", unit: "ops", wide: 8, high: 8, zero: true,
		what:    "Packets and samples of sources that were not used, a second, by reason code (reason/reason.go has the sentences). Empty while nothing is rejected.",
		queries: []query{{expr: `sum by (source, reason) (rate(` + of("clockd_source_rejections_total") + `[$__rate_interval])) > 0`, legend: "{{source}}: {{reason}}", trouble: true}}}))
}

func hostPeers(b *board) {
	t := rows(panel{title: "Peers", wide: 24, high: 8,
		what: "Each other member of the group: whether its clock was used in the last round, its distance and the error of that, round trip, how many of the last eight requests it answered, what it says of its own standing, and why it is not used.",
		queries: []query{
			{expr: of("clockd_peer_used")}, {expr: of("clockd_peer_offset_seconds")}, {expr: of("clockd_peer_half_width_seconds")}, {expr: of("clockd_peer_min_delay_seconds")},
			{expr: of("clockd_peer_reach")}, {expr: of("clockd_peer_status_info")}, {expr: of("clockd_peer_stamp_info")}, {expr: of("clockd_peer_reason"), trouble: true},
		}}, joined("peer", []string{"instance", "Value #F", "Value #G", "Value #TroubleH"}, map[string]string{
		"Value #A": "used", "Value #B": "offset", "Value #C": "half-width", "Value #D": "shortest round trip", "Value #E": "answered of 8", "reason": "why not used",
	})...)
	for _, seconds := range []string{"offset", "half-width", "shortest round trip"} {
		column(t, seconds, "s")
	}
	column(t, "used", "none", step{0, bad}, step{1, good})
	add(b, t)
	add(b, lines(panel{title: "Offsets of peers", unit: "s", wide: 8, high: 8,
		what: "Each peer's clock minus this one, at the last round. Dashed: how far two correct clocks may be apart (pi_v).",
		queries: []query{
			{expr: of("clockd_peer_offset_seconds"), legend: "{{peer}}"},
			{expr: of("clockd_property_precision_bound_seconds"), legend: "promised", limit: true},
			{expr: "-" + of("clockd_property_precision_bound_seconds"), legend: "promised, the other side", limit: true},
		}}))
	add(b, lines(panel{title: "Readings of peers", unit: "s", wide: 8, high: 8, zero: true,
		what:    "With what error each peer was read: half-widths. What is wider than agreement.reading_error is not used.",
		queries: []query{{expr: of("clockd_peer_half_width_seconds"), legend: "{{peer}}"}}}))
	add(b, lines(panel{title: "Adjustment of each round", unit: "s", wide: 8, high: 8, what: "By how much the last round moved this clock.",
		queries: []query{{expr: of("clockd_group_adjustment_seconds"), legend: "adjustment"}}}))
	add(b, lines(panel{title: "Members and margin", unit: "none", wide: 8, high: 8,
		what: "How many members were used in the last round, and how many more faulty ones it could have borne. Below the dashed line (2f + 1) liars could no longer be outvoted.",
		queries: []query{
			{expr: of("clockd_group_used_members"), legend: "used"}, {expr: of("clockd_group_margin"), legend: "margin"},
			{expr: "2 * " + of("clockd_group_faults") + " + 1", legend: "2f + 1", limit: true},
		}}))
	add(b, lines(panel{title: "Rounds", unit: "ops", wide: 8, high: 8, zero: true, what: "Rounds of agreement that were made, and that were due and not made, a second.",
		queries: []query{
			{expr: `rate(` + of("clockd_group_rounds_total") + `[$__rate_interval])`, legend: "made"},
			{expr: `rate(` + of("clockd_group_skipped_rounds_total") + `[$__rate_interval])`, legend: "not made"},
		}}))
	add(b, lines(panel{title: "Rejections of peers by reason", unit: "ops", wide: 8, high: 8, zero: true,
		what:    "Packets and samples of peers that were not used, a second, by reason code. Empty while nothing is rejected.",
		queries: []query{{expr: `sum by (peer, reason) (rate(` + of("clockd_peer_rejections_total") + `[$__rate_interval])) > 0`, legend: "{{peer}}: {{reason}}", trouble: true}}}))
}

func hostDaemon(b *board) {
	add(b, lines(panel{title: "NTP requests", unit: "reqps", wide: 8, high: 8, zero: true, what: "Requests of NTP clients that came and that were answered, a second. Empty without [server].",
		queries: []query{
			{expr: `rate(` + of("clockd_ntp_requests_total") + `[$__rate_interval])`, legend: "came"},
			{expr: `rate(` + of("clockd_ntp_answers_total") + `[$__rate_interval])`, legend: "answered"},
			{expr: `rate(` + of("clockd_ntp_interleaved_answers_total") + `[$__rate_interval])`, legend: "answered in interleaved mode"},
			{expr: `rate(` + of("clockd_ntp_authenticated_answers_total") + `[$__rate_interval])`, legend: "answered under a key"},
		}}))
	add(b, lines(panel{title: "NTP requests that were refused", unit: "reqps", wide: 8, high: 8, zero: true, what: "Requests that were not answered as asked, a second, by reason code. Empty without [server].",
		queries: []query{{expr: `rate(` + of("clockd_ntp_drops_total") + `[$__rate_interval])`, legend: "{{reason}}"}}}))
	add(b, lines(panel{title: "What the daemon reported", unit: "ops", wide: 8, high: 8, zero: true, what: "What the daemon's core reported, a second, by reason code. Empty while there is nothing to report.",
		queries: []query{{expr: `rate(` + of("clockd_clock_reports_total", `reason!="ok"`) + `[$__rate_interval]) > 0`, legend: "{{reason}}", trouble: true}}}))
	hostInflux(b)
	add(b, lines(panel{title: "Memory", unit: "bytes", wide: 8, high: 7, zero: true, what: "What the daemon keeps in memory.",
		queries: []query{{expr: of("process_resident_memory_bytes"), legend: "resident"}, {expr: of("go_memstats_heap_inuse_bytes"), legend: "heap in use"}}}))
	add(b, lines(panel{title: "Processor", unit: "percentunit", wide: 8, high: 7, zero: true, what: "How much of one processor the daemon uses.",
		queries: []query{{expr: `rate(` + of("process_cpu_seconds_total") + `[$__rate_interval])`, legend: "processor"}}}))
	add(b, rows(panel{title: "Version", wide: 8, high: 7, what: "The version of clockd and of Go that it was built with.",
		queries: []query{{expr: of("clockd_build_info")}}}, tidy(map[string]string{"instance": "host"})))
}

func hostInflux(b *board) {
	add(b, lines(panel{title: "Points to InfluxDB", unit: "ops", wide: 8, high: 7, zero: true, what: "Points that InfluxDB took, and batches that were tried again, a second. Empty without [influx].",
		queries: []query{
			{expr: `rate(` + of("clockd_influx_points_total") + `[$__rate_interval])`, legend: "taken"},
			{expr: `rate(` + of("clockd_influx_retries_total") + `[$__rate_interval])`, legend: "tried again"},
		}}))
	add(b, lines(panel{title: "Points that wait, or were given up", unit: "none", wide: 8, high: 7, zero: true,
		what: "Points that wait in memory or on disk while InfluxDB is away, and those that were given up in the last minutes, by reason. Empty without [influx].",
		queries: []query{
			{expr: of("clockd_influx_waiting_points"), legend: "wait in {{place}}"},
			{expr: `increase(` + of("clockd_influx_dropped_points_total") + `[$__rate_interval])`, legend: "given up: {{reason}}"},
		}}))
	add(b, lines(panel{title: "Last write to InfluxDB", unit: "s", wide: 8, high: 7, zero: true,
		what: "How long ago InfluxDB last took points, and last did not. Empty without [influx].",
		queries: []query{
			{expr: of("clockd_influx_last_write_age_seconds"), legend: "took points"},
			{expr: of("clockd_influx_last_error_age_seconds"), legend: "did not", trouble: true},
		}}))
}
