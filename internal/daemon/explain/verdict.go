package explain

import (
	"fmt"
	"slices"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Level is how good or bad something is.
type Level string

// The levels.
const (
	Good    Level = "good"
	Caution Level = "caution" // usable, but somebody should look
	Bad     Level = "bad"
	Waiting Level = "waiting" // not yet, and nothing is wrong so far
)

// Sign is the level without colours.
func (l Level) Sign() string {
	switch l {
	case Good:
		return "✓"
	case Caution:
		return "!"
	case Waiting:
		return "…"
	}
	return "✗"
}

// Verdict is what is to be thought of a clock. Its texts begin small and have no full stop.
type Verdict struct {
	Level Level
	// Title says it in a few words, Bound how good it is or why it is not.
	Title, Bound string
	// Why are the grounds, Advice what to do, each most important first.
	Why, Advice []string
}

const (
	// patient is how long after its start a clock may be without its first synchronisation.
	patient = 60
	// wide is which part of the largest allowed bound is worth a word; it is that of the alert ClockdBoundTooWide.
	wide = 0.5
)

// Clock says what is to be thought of the clock.
func Clock(s *control.Status, sources []control.Source) Verdict {
	var v Verdict
	switch s.Status {
	case virtualclock.Synchronised:
		v = synchronised(s)
	case virtualclock.Holdover:
		v = holdover(s)
	default:
		v = unsound(s)
	}
	v.sources(s, sources)
	v.group(s)
	v.todo(s, sources)
	if s.Group != nil {
		for i := range s.Group.Peers {
			v.advise(Peer(&s.Group.Peers[i]).Advice)
		}
	}
	return v
}

// todo says what to do about the clock's reason and about each sort of trouble that sources have.
func (v *Verdict) todo(s *control.Status, sources []control.Source) {
	told := map[reason.Code]bool{reason.OK: true}
	own := slices.IndexFunc(sources, func(x control.Source) bool { return x.Reason == s.Reason })
	if s.Reason != reason.OK && own < 0 && v.Level != Waiting {
		v.advise(Advice(s.Reason, ""))
	}
	for i := range sources {
		if x := &sources[i]; !told[x.Reason] {
			told[x.Reason] = true
			v.advise(Source(x).Advice)
		}
	}
}

func (v *Verdict) because(format string, args ...any) {
	v.Why = append(v.Why, fmt.Sprintf(format, args...))
}

// mostAdvice is how much one can be told to do at a time.
const mostAdvice = 3

func (v *Verdict) advise(text string) {
	if text != "" && len(v.Advice) < mostAdvice && !slices.Contains(v.Advice, text) {
		v.Advice = append(v.Advice, text)
	}
}

// lower takes a good verdict down: the clock holds, but not if anything more breaks.
func (v *Verdict) lower() {
	if v.Level == Good {
		v.Level, v.Title = Caution, "this clock is usable, but look at it"
	}
}

func synchronised(s *control.Status) Verdict {
	v := Verdict{Level: Good, Title: "this clock is good"}
	switch {
	case s.Mode == "local":
		v.Title, v.Bound = "this host is the reference", "its clock is true by definition"
		if s.BoundS != nil && *s.BoundS > 0 {
			v.Bound += ", within " + Seconds(*s.BoundS)
		}
		v.because("the configuration says so ([local]): nobody checks this clock")
	case s.Kind == control.KindInternal:
		v.Title, v.Bound = "this clock agrees with its group", apart(s.Group)
	case s.BoundS == nil:
		v.Level, v.Title, v.Bound = Caution, "this clock is synchronised", "its bound is not known"
	default:
		v.Bound = "true time is within " + Seconds(*s.BoundS) + " of it"
		if *s.BoundS > wide*s.MaxBoundS {
			v.Level, v.Title = Caution, "this clock is usable"
			v.because("the bound is more than half of the limit of %s (clock.max_bound), beyond which the clock is not synchronised", Seconds(s.MaxBoundS))
			v.advise("use nearer sources, or ask them more often (source.poll)")
		}
	}
	if s.Reason != reason.OK {
		v.lower()
		v.because("%s", s.Reason.Explain())
	}
	return v
}

// apart says how far two correct clocks of a group can be apart.
func apart(g *control.Group) string {
	const only = "; nothing is said of true time"
	if g == nil {
		return "how closely is not known" + only
	}
	return apartOnly(g) + only
}

func holdover(s *control.Status) Verdict {
	v := Verdict{Level: Caution, Title: "this clock is usable for now"}
	if s.Kind == control.KindInternal {
		v.Bound = apart(s.Group)
		v.because("the group makes no rounds at present: %s", s.Reason.Explain())
		return v
	}
	v.Bound = "true time is still within " + Known(s.BoundS, Seconds) + " of it, and that grows"
	news := "nothing new is heard"
	if s.LastSampleAgeS != nil {
		news = "nothing new was heard for " + Seconds(*s.LastSampleAgeS)
	}
	if left := timeLeft(s); left > 0 {
		news += "; at worst the bound reaches the limit of " + Seconds(s.MaxBoundS) + " in " + Seconds(left)
	}
	v.because("%s", news)
	if s.Reason != reason.OK && s.Reason != reason.Stale {
		v.because("%s", s.Reason.Explain())
	}
	return v
}

// timeLeft is how long a bound takes at least to grow to its limit, 0 if that is not known: a clock's rate and the oscillator's can
// both be wrong by the drift bound.
func timeLeft(s *control.Status) float64 {
	rho := s.Counter.DriftBoundPPM * 1e-6
	if s.BoundS == nil || !(rho > 0) || *s.BoundS >= s.MaxBoundS {
		return 0
	}
	return (s.MaxBoundS - *s.BoundS) / (2 * rho)
}

// starting are the reasons for which a clock is not synchronised at its start, without anything being wrong.
var starting = []reason.Code{reason.NeverSynchronised, reason.SourceWaiting, reason.KeyExchangeWaiting, reason.GroupForming, reason.TooFewSources, reason.TooFewPeers,
	reason.PeerJoining, reason.PeerRound}

func unsound(s *control.Status) Verdict {
	if s.Status == virtualclock.Disrupted {
		return Verdict{Level: Bad, Title: "do not trust this clock", Bound: s.Reason.Explain() + "; time is being measured anew"}
	}
	if s.Steps == 0 && s.UptimeS < patient && slices.Contains(starting, s.Reason) {
		return Verdict{Level: Waiting, Title: "this clock is not set yet", Bound: "it started " + Seconds(s.UptimeS) + " ago, and " + stillTo(s)}
	}
	return Verdict{Level: Bad, Title: "do not trust this clock", Bound: s.Reason.Explain()}
}

func stillTo(s *control.Status) string {
	if s.Mode == "internal" {
		return "the group has to agree on a time first"
	}
	return "its sources have to be measured first"
}

// sources adds what the sources have to do with it.
func (v *Verdict) sources(s *control.Status, all []control.Source) {
	n := &s.Sources
	if n.Configured == 0 || s.Mode == "local" {
		return
	}
	if s.Status == virtualclock.Synchronised || n.Used > 0 {
		v.because("%d of %s %s used", n.Used, count(n.Configured, "source"), is(n.Used))
	}
	if n.False > 0 {
		v.because("%s the others%s: %d of %d may be false without harm", nameFalse(all, n.False), outvoted(s, n), n.MaxFalse, n.Configured)
	}
	if silent := names(all, silent); len(silent) > 0 {
		v.because("%s not answer (%s)", does(len(silent)), list(silent))
	}
	if n.Answering > 0 && n.MaxFalse == 0 && s.Status.Sound() {
		v.because("none may be false: with so few sources nobody would outvote it")
	}
}

func is(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func does(n int) string {
	if n == 1 {
		return "1 does"
	}
	return fmt.Sprintf("%d do", n)
}

func outvoted(s *control.Status, n *control.SourceCount) string {
	if s.Status.Sound() && n.False <= n.MaxFalse {
		if n.False == 1 {
			return " and is outvoted"
		}
		return " and are outvoted"
	}
	return ""
}

func nameFalse(all []control.Source, n int) string {
	who := names(all, isFalse)
	if len(who) != n {
		return fmt.Sprintf("%d %s", n, verb(n, "contradict"))
	}
	return nouns(who, "source") + " " + verb(n, "contradict")
}

// silent is a source that has not answered its last eight requests, after it was given the time to.
func silent(x *control.Source) bool {
	return x.Reach == 0 && x.Reason != reason.SourceWaiting && x.Reason != reason.KeyExchangeWaiting
}

func isFalse(x *control.Source) bool { return x.Reason == reason.SourceFalseticker }

// names returns the names of the sources that are so.
func names(all []control.Source, so func(*control.Source) bool) []string {
	var out []string
	for i := range all {
		if so(&all[i]) {
			out = append(out, all[i].Name)
		}
	}
	return out
}

// group adds what the peers have to do with it.
func (v *Verdict) group(s *control.Status) {
	g := s.Group
	if g == nil {
		return
	}
	used, liars, away := takingPart(g)
	v.because("%d of %d members took part in the last round; %d may lie without harm", used, g.Members, g.Faults)
	if len(liars) > 0 {
		v.because("%s told what no correct peer can tell", nouns(liars, "peer"))
	}
	if len(away) > 0 && v.Level != Waiting {
		v.because("not in it: %s", list(away))
	}
	if need := 2*g.Faults + 1; used < need && s.Status.Sound() {
		v.because("at least %d must, for liars to be outvoted", need)
		v.lower()
	}
	if g.Margin < 0 && s.Status.Sound() {
		v.lower()
	}
	if g.Reason != reason.OK && g.Reason != s.Reason {
		v.because("%s", g.Reason.Explain())
		v.advise(Advice(g.Reason, ""))
	}
	if s.Kind == control.KindInternal && g.SpreadS != nil && g.Status == agreement.Sync {
		v.because("by the last round this clock is within %s of the time that all correct ones share", Seconds(*g.SpreadS))
	}
	if g.ToUTCS != nil && s.Status.Sound() {
		v.because("by the masters of all members, UTC is within %s of this clock", Seconds(*g.ToUTCS))
	}
}

// takingPart counts the members that took part in the last round, this host included, and names the others.
func takingPart(g *control.Group) (used int, liars, away []string) {
	used = 1
	for i := range g.Peers {
		p := &g.Peers[i]
		switch {
		case p.Used:
			used++
		case lies(p.Reason):
			liars = append(liars, p.Name)
		default:
			away = append(away, p.Name)
		}
	}
	return used, liars, away
}
