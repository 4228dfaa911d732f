package explain

import (
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
)

// Sources says in sentences what the sources are worth together.
func Sources(s *control.Sources) []string {
	var v Verdict
	v.sources(&control.Status{Status: s.Status, Reason: s.Reason, Sources: s.Count}, s.Sources)
	return v.Why
}

// Group says how a host stands in its group, and how far apart the clocks in it can be.
func Group(g *control.Group) Verdict {
	v := Verdict{Level: Good, Title: "the group agrees", Bound: apartOnly(g)}
	switch g.Status {
	case agreement.Sync:
		if g.Margin < 0 {
			v.Level, v.Title = Caution, "the last round could not outvote all liars"
		}
	case agreement.Holdover:
		v.Level, v.Title = Caution, "this host has missed its last round"
	case agreement.Join:
		v = Verdict{Level: Waiting, Title: "this host enters its group", Bound: "its clock is not used there yet"}
	default:
		v = Verdict{Level: Waiting, Title: "the group has not agreed yet", Bound: "nothing is known of how far apart its clocks are"}
	}
	used, liars, away := takingPart(g)
	v.because("%d of %d members took part in the last round; %d may lie without harm", used, g.Members, g.Faults)
	if need := 2*g.Faults + 1; used < need {
		v.because("at least %d must, for liars to be outvoted", need)
		if v.Level == Good {
			v.Level, v.Title = Caution, "too few members agree"
		}
	}
	if len(liars) > 0 {
		v.because("%s told what no correct peer can tell", nouns(liars, "peer"))
	}
	if len(away) > 0 {
		v.because("not in it: %s", list(away))
	}
	if g.SpreadS != nil && g.Status == agreement.Sync {
		v.because("by the last round this clock is within %s of the time that all correct ones share", Seconds(*g.SpreadS))
	}
	if g.ToUTCS != nil {
		v.because("by the masters of all members, UTC is within %s of this clock", Seconds(*g.ToUTCS))
	}
	if g.Reason != reason.OK {
		v.because("%s", g.Reason.Explain())
		v.advise(Advice(g.Reason, ""))
	}
	for i := range g.Peers {
		v.advise(Peer(&g.Peers[i]).Advice)
	}
	return v
}

// apartOnly says how far two correct clocks can be apart. What the configuration promises rests on rounds with few enough liars.
func apartOnly(g *control.Group) string {
	switch {
	case g.Status == agreement.Sync && g.Margin < 0:
		return "nothing is promised of how far apart its clocks are: too many of them are wrong or missing"
	case g.Status != agreement.Sync && g.SpreadS != nil:
		return "it is within " + Seconds(*g.SpreadS) + " of the time that the correct clocks share, and that grows"
	case g.Status != agreement.Sync:
		return "how far apart its clocks are is not known at present"
	case g.PrecisionBoundS == nil:
		return "how closely is not known"
	}
	return "no two correct clocks in it are more than " + Seconds(*g.PrecisionBoundS) + " apart"
}
