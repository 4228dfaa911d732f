package web

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/reason"
)

// maxRows is how many sources, peers and events one page shows.
const maxRows = 200

// view is what the page shows of one instant. Texts are for people; null is not known.
type view struct {
	Host    string        `json:"host"`
	Version string        `json:"version"`
	Status  string        `json:"status"`
	Level   explain.Level `json:"level"`
	Sign    string        `json:"sign"`
	Title   string        `json:"title"`
	Bound   string        `json:"bound"`
	Why     []string      `json:"why"`
	Advice  []string      `json:"advice"`
	// Short is for the browser's tab: the bound, or the status.
	Short string `json:"short"`
	// TimeMS is the clock in milliseconds since 1970.
	TimeMS *float64 `json:"time_ms"`
	// External: the interval bounds true time. LimitS is clock.max_bound, PromisedS the precision that a group's configuration promises.
	External  bool     `json:"external"`
	LimitS    float64  `json:"limit_s"`
	PromisedS *float64 `json:"promised_s"`
	Figures   []figure `json:"figures"`
	Sources   []row    `json:"sources"`
	// Group is what is said of the group, "" without one.
	Group   string   `json:"group"`
	Peers   []row    `json:"peers"`
	More    string   `json:"more"`
	Trouble []string `json:"trouble"`
}

type figure struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Note  string `json:"note"`
}

// row is a source or a peer.
type row struct {
	Name    string        `json:"name"`
	Address string        `json:"address"`
	Level   explain.Level `json:"level"`
	Sign    string        `json:"sign"`
	State   string        `json:"state"`
	Words   string        `json:"words"`
	Advice  string        `json:"advice"`
	Offset  string        `json:"offset"`
	Bound   string        `json:"bound"`
	Delay   string        `json:"delay"`
	Last    string        `json:"last"`
	// Reach has a 1 for each of the last eight requests that was answered, the newest last; Answered counts them.
	Reach    string   `json:"reach"`
	Answered int      `json:"answered"`
	More     []string `json:"more"`
}

// event is an entry of the journal.
type event struct {
	// At and Last are seconds since the daemon's start.
	At    float64       `json:"at"`
	Last  float64       `json:"last"`
	Count uint64        `json:"count"`
	Level explain.Level `json:"level"`
	Sign  string        `json:"sign"`
	State string        `json:"state"`
	Words string        `json:"words"`
}

func makeView(host string, s *control.Snapshot) *view {
	t, list := s.Status, s.Sources.Sources
	verdict := explain.Clock(t, list)
	v := &view{
		Host: host, Version: t.Version, Status: t.Status.String(), Level: verdict.Level, Sign: verdict.Level.Sign(), Title: explain.Sentence(verdict.Title),
		Bound: explain.Sentence(verdict.Bound), Why: sentences(verdict.Why), Advice: sentences(verdict.Advice), Short: t.Status.String(),
		External: t.Kind == control.KindExternal, LimitS: t.MaxBoundS, Figures: figures(s), Sources: []row{}, Peers: []row{}, Trouble: append([]string{}, t.Trouble...), // which may begin with a name

	}
	if t.BoundS != nil && v.External {
		v.Short = "± " + explain.Seconds(*t.BoundS)
	}
	if t.TimeNS != nil {
		ms := float64(*t.TimeNS) / 1e6
		v.TimeMS = &ms
	}
	for i := range list {
		if i == maxRows {
			v.More = fmt.Sprintf("%d more sources: clockd sources shows them", len(list)-maxRows)
			break
		}
		v.Sources = append(v.Sources, sourceRow(&list[i]))
	}
	if g := t.Group; g != nil {
		v.PromisedS, v.Group = g.PrecisionBoundS, groupText(g)
		for i := range g.Peers[:min(len(g.Peers), maxRows)] {
			v.Peers = append(v.Peers, peerRow(&g.Peers[i]))
		}
	}
	return v
}

func sentences(list []string) []string {
	out := make([]string, 0, len(list))
	for _, text := range list {
		out = append(out, explain.Sentence(text))
	}
	return out
}

func groupText(g *control.Group) string {
	return fmt.Sprintf("%d members, of which %d may do anything at all; round %d, this host's standing: %s", g.Members, g.Faults, g.Round, g.Status)
}

func figures(s *control.Snapshot) []figure {
	t := s.Status
	var list []figure
	add := func(name, value, note string) { list = append(list, figure{name, value, note}) }
	note := "distance to true time, never exceeded"
	if t.Kind == control.KindInternal {
		note = "distance to an edge of the group's interval"
	}
	add("Error bound", explain.Known(t.BoundS, explain.Seconds), note)
	if s.EstimateS != nil {
		add("Estimated error", explain.Signed(-*s.EstimateS), "± "+explain.Known(s.EstimateStdS, explain.Seconds)+", one standard deviation")
	}
	if g := t.Group; g != nil {
		add("Precision", explain.Known(g.SpreadS, explain.Seconds), "to the time that all correct clocks share; two are promised to be within "+explain.Known(g.PrecisionBoundS, explain.Seconds))
	}
	if t.RatePPM != nil {
		add("Oscillator", explain.PPM(*t.RatePPM), "± "+strings.TrimPrefix(explain.Known(t.RateStdPPM, explain.PPM), "+")+"; at most "+fmt.Sprintf("%g ppm", t.Counter.DriftBoundPPM)+" is assumed")
	}
	if t.Source != nil {
		add("Best source", *t.Source, stratum(t))
	}
	if t.LastSampleAgeS != nil {
		add("Last sample", explain.Seconds(*t.LastSampleAgeS)+" ago", "")
	}
	if t.Slewing && (t.BoundS == nil || math.Abs(t.SlewLeftS) > *t.BoundS/100) { // less is nobody's business
		add("Correction", explain.Signed(t.SlewLeftS), "under way; the clock never jumps for it")
	}
	add("Epoch", fmt.Sprint(t.Epoch), "grows when the clock is set anew")
	if n := t.Server; n != nil {
		add("Serving", fmt.Sprintf("%d answers", n.Answers), fmt.Sprintf("to %d requests at %s", n.Requests, strings.Join(n.Listening, ", ")))
	}
	add("Daemon up", explain.Seconds(t.UptimeS), "process "+fmt.Sprint(t.PID))
	return list
}

func stratum(t *control.Status) string {
	if t.Stratum == nil {
		return ""
	}
	return fmt.Sprintf("this host is stratum %d", *t.Stratum)
}

func sourceRow(x *control.Source) row {
	f := explain.Source(x)
	r := row{Name: x.Name, Address: other(x.Address, x.Name), Offset: explain.Known(x.OffsetS, explain.Signed), Bound: explain.Known(explain.SourceBound(x), explain.Seconds),
		Delay: explain.Known(x.DelayS, explain.Seconds), Last: explain.Known(x.LastSampleAgeS, ago)}
	r.found(f)
	r.reached(x.Reach)
	if x.Stratum != nil {
		r.More = append(r.More, fmt.Sprintf("stratum %d, follows %s", *x.Stratum, explain.Known(x.ReferenceID, func(s string) string { return s })))
	}
	r.More = append(r.More, "asked every "+explain.Seconds(x.PollS))
	r.common(x.Received, x.TransmitStamp, x.ReceiveStamp, x.Key, x.Rejections)
	if x.Interleaved {
		r.More = append(r.More, "interleaved")
	}
	return r
}

func peerRow(x *control.Peer) row {
	r := row{Name: x.Name, Address: other(x.Address, x.Name), Offset: explain.Known(x.OffsetS, explain.Signed), Bound: explain.Known(x.ErrorS, explain.Seconds),
		Delay: explain.Known(x.DelayS, explain.Seconds), Last: "-"}
	if x.Status != nil {
		r.Last = x.Status.String()
	}
	r.found(explain.Peer(x))
	r.reached(x.Reach)
	r.common(x.Received, x.TransmitStamp, x.ReceiveStamp, x.Key, x.Rejections)
	return r
}

func ago(x float64) string { return explain.Seconds(x) + " ago" }

// other is an address, "" if it is the name.
func other(address *string, name string) string {
	if address == nil || *address == name {
		return ""
	}
	return *address
}

func (r *row) found(f explain.Finding) {
	r.Level, r.Sign, r.State, r.Words, r.Advice = f.Level, f.Level.Sign(), f.State, explain.Sentence(f.Words), explain.Sentence(f.Advice)
}

func (r *row) reached(bits uint8) {
	r.Reach = fmt.Sprintf("%08b", bits)
	r.Answered = strings.Count(r.Reach, "1")
}

func (r *row) common(received uint64, transmit, receive, key string, rejections map[string]uint64) {
	if received > 0 {
		r.More = append(r.More, "stamps "+transmit+"/"+receive)
	}
	if key != "" {
		r.More = append(r.More, "authenticated by "+key)
	}
	var names []string
	for name := range rejections {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var c reason.Code
		text := name
		if c.UnmarshalText([]byte(name)) == nil {
			text = c.Explain()
		}
		r.More = append(r.More, fmt.Sprintf("rejected %d×: %s", rejections[name], text))
	}
}

func makeEvents(started time.Time, list []journal.Entry) []event {
	out := []event{}
	for i := max(0, len(list)-maxRows); i < len(list); i++ {
		e := &list[i]
		f := explain.Event(e)
		out = append(out, event{At: e.First.Sub(started).Seconds(), Last: e.Last.Sub(started).Seconds(), Count: e.Count, Level: f.Level, Sign: f.Level.Sign(),
			State: f.State, Words: explain.Sentence(f.Words)})
	}
	return out
}
