package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// Parts of a limit: from half of it on, clockd's own alert fires.
func partsOfLimit() []step { return []step{{0, good}, {0.5, warning}, {1, bad}} }

func noneIsGood() []step { return []step{{0, good}, {1, bad}} }

// fleet is for all hosts: who is fine, who is not, and why.
func fleet() *dashboard.DashboardBuilder {
	b := newBoard("clockd-fleet", "clockd: fleet", "Which clocks can be trusted, how good they are, and which are in trouble and why. All limits are the hosts' own.")
	b.variables(true)
	b.event("stepped", "purple", `changes(`+of("clockd_clock_epoch")+`[$__rate_interval]) > 0`)
	b.row("Who is fine, who is not")
	fleetCounts(b)
	fleetHosts(b)
	b.row("Groups of peers")
	fleetGroups(b)
	b.row("Trouble")
	fleetTrouble(b)
	b.row("Work")
	add(b, lines(panel{title: "NTP answers", unit: "reqps", wide: 12, high: 8, zero: true,
		what:    "Requests of NTP clients that each host answers, a second.",
		queries: []query{{expr: `rate(` + of("clockd_ntp_answers_total") + `[$__rate_interval])`, legend: "{{instance}}"}}}))
	add(b, lines(panel{title: "NTP requests that were refused", unit: "reqps", wide: 12, high: 8, zero: true,
		what:    "Requests that were not answered as asked, a second, by reason: too many of one client (request_rate), not allowed (request_denied), no valid key (request_authentication).",
		queries: []query{{expr: `sum by (reason) (rate(` + of("clockd_ntp_drops_total") + `[$__rate_interval]))`, legend: "{{reason}}"}}}))
	return b.DashboardBuilder
}

func fleetCounts(b *board) {
	count := func(title, what, expr string, steps []step) {
		add(b, figure(panel{title: title, what: what, wide: 4, high: 4, unit: "none", steps: steps, queries: []query{{expr: expr, legend: title}}}))
	}
	count("Synchronised", "Hosts whose clock is synchronised: true time (or, without masters, the group's) is within the bound that they state.",
		`sum(`+of("clockd_clock_status", `status="synchronised"`)+`)`, []step{{0, bad}, {1, good}})
	count("In holdover", "Hosts without a fresh sample whose bound still holds, and grows.", `sum(`+of("clockd_clock_status", `status="holdover"`)+`)`, []step{{0, good}, {1, warning}})
	count("Not to be trusted", "Hosts whose clock guarantees nothing: unsynchronised, or disrupted (suspended, paused, a counter that jumped).",
		`sum(`+of("clockd_clock_status", `status=~"unsynchronised|disrupted"`)+`)`, noneIsGood())
	count("No answer", "Hosts of the job, whichever are chosen, whose clockd does not answer Prometheus. The clock itself may be good: look at the host.", `sum(1 - up{job=~"$job"})`, noneIsGood())
	add(b, figure(panel{title: "Worst bound", unit: "s", wide: 4, high: 4, steps: []step{{0, neutral}},
		what:    "The widest guaranteed error of any host that guarantees one.",
		queries: []query{{expr: `max(` + of("clockd_clock_bound_seconds") + `)`, legend: "worst bound"}}}))
	add(b, figure(panel{title: "Worst part of a limit", unit: "percentunit", wide: 4, high: 4, steps: partsOfLimit(),
		what:    "The largest bound as part of its host's own clock.max_bound. At 100 % that clock becomes unsynchronised; from 50 % on an alert fires.",
		queries: []query{{expr: `max(` + ofLimit() + `)`, legend: "of the limit"}}}))
}

func fleetHosts(b *board) {
	t := rows(panel{title: "Hosts", wide: 24, high: 9,
		what: "One line for each host: its status, what it guarantees and how much of its own limit that is, how many sources it uses and how many are proved false, its group, and why the clock is not better, if it is not.",
		queries: []query{
			{expr: of("clockd_clock_status") + " == 1"},
			{expr: of("clockd_clock_bound_seconds")},
			{expr: ofLimit()},
			{expr: of("clockd_clock_last_sample_age_seconds")},
			{expr: of("clockd_sources", `state="used"`)},
			{expr: of("clockd_sources", `state="false"`)},
			{expr: of("clockd_group_info")},
			{expr: of("clockd_uptime_seconds")},
			{expr: of("clockd_clock_reason"), trouble: true},
		}}, joined("instance", []string{"Value #A", "Value #G", "Value #TroubleI", "state"}, map[string]string{
		"instance": "host", "Value #B": "bound", "Value #C": "of its limit", "Value #D": "last sample", "Value #E": "sources used", "Value #F": "false sources",
		"Value #H": "up for", "reason": "why not better",
	})...)
	column(t, "bound", "s")
	column(t, "of its limit", "percentunit", partsOfLimit()...)
	column(t, "last sample", "s")
	column(t, "up for", "s")
	column(t, "false sources", "none", noneIsGood()...)
	t.OverrideByName("host", []dashboard.DynamicConfigValue{{Id: "links", Value: []map[string]any{{
		"title": "this host", "url": "/d/clockd-host?${datasource:queryparam}&${job:queryparam}&var-host=${__value.raw}",
	}}}})
	add(b, t)
	add(b, states(panel{title: "Status of each clock", wide: 12, high: 9, text: statuses(),
		what:    "Synchronised: the bound holds. Holdover: no fresh sample, the bound still holds and grows. Unsynchronised: nothing is guaranteed. Disrupted: the counter or the host did what no clock survives.",
		queries: []query{{expr: status(), legend: "{{instance}}"}}}))
	add(b, lines(panel{title: "Bound of each clock", unit: "s", wide: 12, high: 9, logarithmic: true,
		what: "What each host guarantees as its largest error, with the smallest configured limit (clock.max_bound) dashed. A gap: nothing is guaranteed. The axis is logarithmic.",
		queries: []query{
			{expr: of("clockd_clock_bound_seconds"), legend: "{{instance}}"},
			{expr: `min(` + of("clockd_clock_max_bound_seconds") + `)`, legend: "smallest limit", limit: true},
		}}))
}

func fleetGroups(b *board) {
	add(b, lines(panel{title: "Precision of each group", unit: "s", wide: 12, high: 9, logarithmic: true,
		what: "How far clocks of one group are apart. Measured: the largest offset that a member measures of another that it uses. At most: no two correct members can be further apart, by what they prove now. Dashed: what the configuration promises beforehand (precision, pi_v).",
		queries: []query{
			{expr: `max by (group) (` + grouped(`(abs(`+of("clockd_peer_offset_seconds")+`) and on (job, instance, peer) `+of("clockd_peer_used")+` == 1)`) + `)`, legend: "{{group}}: measured"},
			{expr: `2 * max by (group) (` + grouped(of("clockd_property_precision_seconds")) + `)`, legend: "{{group}}: at most"},
			{expr: `max by (group) (` + grouped(of("clockd_property_precision_bound_seconds")) + `)`, legend: "{{group}}: promised", limit: true},
		}}))
	add(b, matrix(panel{title: "Map of disagreement between peers", unit: "percentunit", wide: 12, high: 9, steps: partsOfLimit(),
		what:    "Each host's line has what it measures of each peer: the distance of the two clocks, as part of what is promised of correct ones (pi_v). A red column: that peer is off, and all say so. A red line: that host is off itself.",
		queries: []query{{expr: `abs(` + of("clockd_peer_offset_seconds") + `) / on (job, instance) group_left () ` + of("clockd_property_precision_bound_seconds")}}}, "peer"))
	add(b, lines(panel{title: "Members that take part", unit: "none", wide: 8, high: 8, zero: true,
		what: "How many members' clocks were used in each host's last round. Below the dashed line (2f + 1) liars could no longer be outvoted.",
		queries: []query{
			{expr: of("clockd_group_used_members"), legend: "{{instance}}"},
			{expr: `max(2 * ` + of("clockd_group_faults") + ` + 1)`, legend: "2f + 1", limit: true},
		}}))
	add(b, lines(panel{title: "Rounds that were not made", unit: "ops", wide: 8, high: 8, zero: true,
		what:    "Rounds of agreement that were due and not made, a second: too few peers, readings too wide, or the host was too busy.",
		queries: []query{{expr: `rate(` + of("clockd_group_skipped_rounds_total") + `[$__rate_interval])`, legend: "{{instance}}"}}}))
	add(b, lines(panel{title: "Peers that are off for certain", unit: "none", wide: 8, high: 8, zero: true,
		what: "How many peers are further away than two correct clocks can be, even by the narrowest reading; hosts that see none are not shown. One may lie; more than f (dashed) are not all liars, or that host is off itself.",
		queries: []query{
			{expr: `count by (instance) (abs(` + of("clockd_peer_offset_seconds") + `) - ` + of("clockd_peer_half_width_seconds") + ` > on (job, instance) group_left () ` +
				of("clockd_property_precision_bound_seconds") + `)`, legend: "{{instance}}", trouble: true},
			{expr: `max(` + of("clockd_group_faults") + `)`, legend: "f", limit: true},
		}}))
}

func fleetTrouble(b *board) {
	add(b, rows(panel{title: "Alerts that fire", wide: 12, high: 8,
		what:    "clockd's own alerts (deploy/prometheus) that fire now for any host of the job. What to do about each is in docs/runbooks.md. Empty while nothing is wrong.",
		queries: []query{{expr: `ALERTS{job=~"$job", alertname=~"Clockd.*", alertstate="firing"}`, trouble: true}}},
		tidy(map[string]string{"instance": "host", "alertname": "alert"})))
	add(b, rows(panel{title: "Why clocks are not better", wide: 12, high: 8,
		what:    "The reason of every clock that is not synchronised, as a code; `clockd status` on the host has the sentence. Empty while nothing is wrong.",
		queries: []query{{expr: of("clockd_clock_reason"), trouble: true}}}, tidy(map[string]string{"instance": "host"})))
	add(b, matrix(panel{title: "Map of sources", unit: "percentunit", wide: 12, high: 8, steps: partsOfLimit(),
		what:    "Each host's line has what it measures of each source: the distance of the source from the clock, as part of the host's own clock.max_bound. A red column: that source is wrong for all.",
		queries: []query{{expr: `abs(` + of("clockd_source_offset_seconds") + `) / on (job, instance) group_left () ` + of("clockd_clock_max_bound_seconds")}}}, "source"))
	f := rows(panel{title: "False sources", unit: "s", wide: 6, high: 8,
		what:    "Sources that contradict what the others prove, and by how much. Empty while nothing is wrong.",
		queries: []query{{expr: of("clockd_source_falseticker_distance_seconds"), trouble: true}}}, tidy(map[string]string{"instance": "host", "Value": "distance"}))
	add(b, f)
	add(b, rows(panel{title: "Peers that are not used", wide: 6, high: 8,
		what:    "Members whose clock took no part in a host's last round, with the reason. Empty while nothing is wrong.",
		queries: []query{{expr: of("clockd_peer_reason"), trouble: true}}}, tidy(map[string]string{"instance": "host"})))
}
