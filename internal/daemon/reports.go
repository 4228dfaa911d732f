package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// quietFor is how long a repeated report is only counted.
const quietFor = time.Minute

// reportKey makes reports alike. Its strings are constants of the node, so a look-up allocates nothing.
type reportKey struct {
	topic  string
	source int
	reason reason.Code
	status virtualclock.Status
}

type reportState struct {
	last       time.Time
	suppressed uint64
}

// reporter logs what the node reports: a change at once, repetitions once a minute with their number. What changes what the clock is
// worth goes into the journal too.
type reporter struct {
	log     *slog.Logger
	now     func() time.Time
	seen    map[reportKey]*reportState
	counts  reason.Counts
	journal *journal.Journal
}

func newReporter(log *slog.Logger, now func() time.Time, j *journal.Journal) *reporter {
	return &reporter{log: log, now: now, seen: map[reportKey]*reportState{}, journal: j}
}

// maxReportKeys bounds the memory: sources come and go with reloads.
const maxReportKeys = 4096

// Report counts one report and logs it, unless it was just logged. name is the source's.
func (r *reporter) Report(p *node.Report, name string) {
	r.counts.Add(p.Reason)
	r.note(p, name)
	level := reportLevel(p)
	if !r.log.Enabled(context.Background(), level) {
		return
	}
	key := reportKey{p.Topic, p.Source, p.Reason, p.Status}
	if p.Topic == "clock" || p.Topic == "disruption" {
		r.write(level, p, name, 0) // the clock's own changes are few, and each matters
		return
	}
	s, known := r.seen[key]
	if !known {
		if len(r.seen) >= maxReportKeys {
			clear(r.seen)
		}
		s = &reportState{}
		r.seen[key] = s
	}
	now := r.now()
	if known && now.Sub(s.last) < quietFor {
		s.suppressed++
		return
	}
	r.write(level, p, name, s.suppressed)
	s.last, s.suppressed = now, 0
}

// note puts a report into the journal, unless it is about a single packet, sample or round.
func (r *reporter) note(p *node.Report, name string) {
	e := journal.Entry{Name: name, Reason: p.Reason, Value: p.Value}
	switch p.Topic {
	case "clock":
		e.Topic, e.Status = journal.TopicClock, p.Status
	case "disruption":
		e.Topic = journal.TopicDisruption
	case "source":
		e.Topic = journal.TopicSource
	case "peer":
		e.Topic = journal.TopicPeer
	case "config":
		e.Topic = journal.TopicConfig
	default:
		return
	}
	r.journal.Add(e)
}

func (r *reporter) write(level slog.Level, p *node.Report, name string, suppressed uint64) {
	attrs := make([]slog.Attr, 0, 6)
	switch {
	case name == "":
	case p.Topic == "peer":
		attrs = append(attrs, slog.String("peer", name))
	default:
		attrs = append(attrs, slog.String("source", name))
	}
	if p.Topic == "clock" {
		attrs = append(attrs, slog.String("status", p.Status.String()))
	}
	attrs = append(attrs, slog.String("reason", p.Reason.String()))
	if p.Reason != reason.OK {
		attrs = append(attrs, slog.String("explanation", p.Reason.Explain()))
	}
	if p.Value != 0 {
		attrs = append(attrs, slog.Float64("seconds", p.Value))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Uint64("repeated", suppressed))
	}
	r.log.LogAttrs(context.Background(), level, p.Topic, attrs...)
}

// reportLevel: what changes what the clock is worth is for everybody, single packets are for the curious.
func reportLevel(p *node.Report) slog.Level {
	switch p.Topic {
	case "clock":
		if p.Status == virtualclock.Synchronised || p.Reason == reason.NeverSynchronised || p.Reason == reason.SourceWaiting || p.Reason == reason.KeyExchangeWaiting {
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case "disruption":
		return slog.LevelWarn
	case "source":
		if p.Reason == reason.OK || p.Reason == reason.SourceWaiting || p.Reason == reason.KeyExchangeWaiting {
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case "peer":
		switch p.Reason {
		case reason.OK, reason.PeerJoining, reason.PeerRestarted, reason.PeerRound:
			return slog.LevelInfo // of members that come
		}
		return slog.LevelWarn
	case "config":
		return slog.LevelError
	}
	return slog.LevelDebug
}
