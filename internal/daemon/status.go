package daemon

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// answer is the control socket's command, answered in the loop.
func (d *daemon) answer(name string) (any, error) {
	snapshot := d.node.Snapshot(d.now())
	switch name {
	case control.CommandStatus:
		return d.status(&snapshot), nil
	case control.CommandSources:
		return d.sources(&snapshot), nil
	case control.CommandNow:
		now := control.MakeNow(snapshot.Time, snapshot.Interval, d.reason(&snapshot), "socket").As(snapshot.Publication.Clock.Kind)
		return &now, nil
	}
	if why, ok := strings.CutPrefix(name, control.CommandResync+" "); ok {
		return d.resync(why)
	}
	if name == control.CommandSnapshot {
		return d.snapshot(&snapshot), nil
	}
	if name == control.CommandPeers {
		return d.group(&snapshot)
	}
	return nil, fmt.Errorf("no command is called %q", name)
}

// reason is why the clock is not synchronised at the snapshot's reading. Between two publications a deadline may have passed.
func (d *daemon) reason(s *node.Snapshot) reason.Code {
	switch {
	case s.Interval.Status == s.Publication.Clock.Status:
		return s.Publication.Reason
	case s.Interval.Status.Sound():
		return reason.Stale
	}
	return reason.BoundTooWide
}

// age returns how long ago a reading was, in seconds.
func (d *daemon) age(now, then hw.Ticks) *float64 {
	return control.Known(float64(now.Sub(then)) / d.counter.Frequency().Hertz)
}

func (d *daemon) status(s *node.Snapshot) *control.Status {
	why := d.reason(s)
	f := d.counter.Frequency()
	now := control.MakeNow(s.Time, s.Interval, why, "socket")
	out := &control.Status{
		Version: d.options.Version, PID: os.Getpid(), UptimeS: time.Since(d.started).Seconds(),
		Status: s.Interval.Status, Mode: s.Mode, Reason: why, Explanation: why.Explain(), Epoch: s.Interval.Epoch, Steps: s.Steps,
		TimeNS: now.TimeNS, BoundS: now.BoundS, MaxBoundS: d.config.Clock.MaxBound.Seconds(),
		Slewing: s.Slewing, SlewLeftS: s.SlewLeft, Sources: d.count(s),
		Counter: control.Counter{Spec: d.counter.Spec(), Hertz: f.Hertz, ErrorPPB: f.ErrorPPB, DriftBoundPPM: float64(d.config.Counter.DriftBound) * 1e6},
		Page:    d.config.Page.Path, Config: control.Config{Path: d.options.ConfigPath, Reloads: d.reloads, Error: d.reloadError},
		Trouble: d.trouble(), Reports: d.reporter.counts.Map(),
	}
	out.Kind = s.Publication.Clock.Kind.String()
	if s.Group != nil {
		out.Group, _ = d.group(s)
	}
	if !math.IsInf(s.RateStd, 0) {
		out.RatePPM, out.RateStdPPM = control.Known(s.Rate*1e6), control.Known(s.RateStd*1e6)
	}
	if i := selected(s); i >= 0 {
		out.Source = &s.Sources[i].Name
	}
	if s.Interval.Status.Sound() && s.Publication.Server.Stratum > 0 {
		out.Stratum = &s.Publication.Server.Stratum
	}
	if s.Sampled {
		out.LastSampleAgeS = d.age(s.Now, s.LastSample)
	}
	if d.server != nil {
		out.Server = d.server.status()
		if d.ntsServer != nil {
			listening, stats, trouble, _ := d.ntsServer.state()
			out.Server.NTS = &control.NTSServer{Listening: listening, Error: trouble, Exchanges: stats.Granted, Rejected: stats.Rejected.Map(),
				CookieKeys: d.ntsServer.masters.Load().Count()}
		}
	}
	if d.influx != nil {
		out.Influx = d.influx.writer.Status()
	}
	if d.steerer != nil {
		c := d.steerer.Status()
		out.SystemClock = &c
	}
	out.Leap = d.leapStatus(s.Time)
	if d.recorder != nil {
		bytes, ended := d.recorder.Status()
		out.EventLog = &control.EventLog{Path: d.config.Log.Events, Bytes: bytes, Ended: ended}
	}
	return out
}

// snapshot is all that can be said at one instant.
func (d *daemon) snapshot(s *node.Snapshot) *control.Snapshot {
	out := &control.Snapshot{Status: d.status(s), Sources: d.sources(s), KernelStamps: d.config.Stamps.Kernel}
	if s.Steps > 0 {
		out.CorrectionS = control.Known(s.Time.Seconds(s.Raw))
	}
	if s.Group != nil {
		out.Promised, out.GroupName = &s.Group.Promised, d.secrets.groupName
	}
	if k := &s.Publication.Clock; s.Interval.Status.Sound() && k.Kind == virtualclock.External {
		out.RateBound = control.Known(rateBound(k, s.Now))
	}
	if s.Interval.Status.Sound() {
		out.LowS, out.HighS = control.Known(s.Interval.Earliest.Seconds(s.Time)), control.Known(s.Interval.Latest.Seconds(s.Time))
	}
	if e := &s.Estimate; s.Steps > 0 && e.Used > 0 && e.Reason == reason.OK {
		// The estimate is of the raw timeline at its instant; since then true time has gone on at the estimated rate.
		since := float64(s.Now.Sub(e.At)) / d.counter.Frequency().Hertz
		out.EstimateS = control.Known(e.Offset + e.Rate*since - s.Time.Seconds(s.Raw))
		out.EstimateStdS = control.Known(e.OffsetStd)
	}
	return out
}

// rateBound is the largest |d(true)/d(clock) - 1| that the coefficients allow at a reading: a tick is no shorter than Slow and no
// longer than Fast (docs/bounds.md), and counts for the period of the line that the clock is on.
func rateBound(k *virtualclock.Coefficients, now hw.Ticks) float64 {
	line := &k.Steady
	if now.Before(k.SlewEnd) {
		line = &k.Slew
	}
	p := line.Period.Nanoseconds()
	return max(k.Fast.Nanoseconds()/p-1, 1-k.Slow.Nanoseconds()/p)
}

// trouble is what is wrong with the daemon itself.
func (d *daemon) trouble() []string {
	out := []string{}
	add := func(what, detail string) {
		if detail != "" {
			out = append(out, what+detail)
		}
	}
	add("", d.reloadError)
	if d.server != nil {
		add("not all addresses are served: ", d.server.status().Error)
	}
	if d.ntsServer != nil {
		_, _, trouble, _ := d.ntsServer.state()
		add("keys for NTS: ", trouble)
	}
	for _, e := range d.allEntries() {
		if x := e.slots[0]; x.nts != nil && x.detail != "" {
			add(e.config.Address.String()+" has no NTS keys: ", x.detail)
		} else if !e.resolved && x.nts == nil {
			add(e.config.Address.String()+" has no address yet: ", x.detail)
		}
	}
	add("the state file: ", d.stateError)
	add("the control socket: ", d.controlError)
	if d.web != nil {
		add("HTTP: ", d.web.Trouble())
	}
	if d.influx != nil {
		add("InfluxDB: ", d.influx.writer.Status().Trouble)
	}
	if d.steerer != nil {
		if c := d.steerer.Status(); c.State == control.SystemClockRefused {
			add("the system clock is not steered: ", c.Explanation+": "+c.Detail)
		}
	}
	if d.recorder != nil {
		if _, ended := d.recorder.Status(); ended != "" {
			add("the event log ended: ", ended)
		}
	}
	add("the counter: ", d.counterError)
	return out
}

// selected returns the index of the source with the greatest weight, −1 if none has any.
func selected(s *node.Snapshot) int {
	best := -1
	for i := range s.Sources {
		if x := &s.Sources[i]; x.Reason == reason.OK && x.Weight > 0 && (best < 0 || x.Weight > s.Sources[best].Weight) {
			best = i
		}
	}
	return best
}

func (d *daemon) count(s *node.Snapshot) control.SourceCount {
	n := control.SourceCount{Configured: len(s.Sources), MaxFalse: s.MaxFalse}
	for i := range s.Sources {
		x := &s.Sources[i]
		if x.Reach != 0 {
			n.Answering++
		}
		if x.Reason == reason.OK && x.Weight > 0 {
			n.Used++
		}
		if x.Reason == reason.SourceFalseticker {
			n.False++
		}
	}
	return n
}

func (d *daemon) sources(s *node.Snapshot) *control.Sources {
	out := &control.Sources{Status: s.Interval.Status, Reason: d.reason(s), Count: d.count(s), Sources: []control.Source{}}
	best := selected(s)
	for i := range s.Sources {
		x := d.source(s, &s.Sources[i])
		x.Selected = i == best
		out.Sources = append(out.Sources, x)
	}
	return out
}

func (d *daemon) source(s *node.Snapshot, x *node.SourceStatus) control.Source {
	r := &x.Reading
	out := control.Source{
		Name: x.Name, Authentication: "none", Reason: x.Reason, Weight: x.Weight, Reach: x.Reach, PollS: x.Poll,
		NextPollS:   float64(x.NextPoll.Sub(s.Now)) / d.counter.Frequency().Hertz,
		Interleaved: x.Interleaved, TransmitStamp: x.TransmitStamp.String(), ReceiveStamp: x.ReceiveStamp.String(),
		Sent: x.Sent, Received: x.Received, Samples: r.Samples, LastRejection: x.LastRejection, Rejections: x.Rejections.Map(),
	}
	if x.Address != "" {
		out.Address = &x.Address
	}
	if slot := d.roster.find(x.ID); slot != nil {
		if slot.key != nil {
			out.Key, out.Authentication = slot.key.String(), "key"
		}
		if slot.nts != nil {
			slot.nts.show(&out)
		}
		if !slot.address.IsValid() && out.Reason != reason.OK {
			out.Reason = slot.why
		}
		if out.Reason != reason.OK && slot.why != reason.OK {
			out.Detail = slot.detail
		}
	}
	if out.Reason == reason.SourceFalseticker && d.smears(s, x) {
		out.Reason = reason.SourceSmears
	}
	out.Explanation = out.Reason.Explain()
	if x.Received > 0 {
		reference := showReferenceID(x.ReferenceID, x.Stratum)
		out.Stratum, out.Leap, out.ReferenceID = &x.Stratum, &x.Leap, &reference
		out.ServerErrorS = control.Known(x.ServerError)
	}
	if x.Reason == reason.SourceFalseticker {
		out.DistanceS = control.Known(x.Distance)
	}
	if r.Samples > 0 {
		// The filter speaks of the raw timeline; people ask about the clock, once there is one.
		clock := 0.0
		if s.Steps > 0 {
			clock = s.Time.Seconds(s.Raw)
		}
		out.LowS, out.HighS = control.Known(r.Low-clock), control.Known(r.High-clock)
		out.OffsetS, out.OffsetStdS = control.Known(r.Offset-clock), control.Known(r.OffsetStd)
		out.DelayS, out.MinDelayS, out.JitterS = control.Known(r.Delay), control.Known(r.MinDelay), control.Known(r.Jitter)
		out.LastSampleAgeS = d.age(s.Now, r.LastSample)
		if !math.IsInf(r.RateStd, 0) && r.RateStd > 0 {
			out.RatePPM = control.Known(r.Rate * 1e6)
		}
	}
	return out
}

// showReferenceID writes a reference id as people know it: four letters at stratum 1, an address above.
func showReferenceID(id uint32, stratum uint8) string {
	b := [4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
	if stratum > 1 {
		return netip.AddrFrom4(b).String()
	}
	text := ""
	for _, c := range b {
		if c == 0 {
			break
		}
		if c < 0x20 || c > 0x7e {
			return fmt.Sprintf("%08X", id)
		}
		text += string(rune(c))
	}
	return text
}
