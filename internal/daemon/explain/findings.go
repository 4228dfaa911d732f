package explain

import (
	"fmt"
	"strings"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Finding is what is to be thought of a source, a peer or an event.
type Finding struct {
	Level Level
	// State is one word or two; Words say why; Advice what to do, "" for nothing.
	State, Words, Advice string
}

// Source says whether a source is used, and why or why not.
func Source(x *control.Source) Finding {
	switch {
	case x.Reason == reason.OK && x.Selected:
		return Finding{Level: Good, State: "used, best", Words: "has the greatest weight, " + percent(x.Weight)}
	case x.Reason == reason.OK && x.Weight > 0:
		return Finding{Level: Good, State: "used", Words: "weight " + percent(x.Weight)}
	case x.Reason == reason.OK:
		return Finding{Level: Good, State: "answers", Words: "is measured, and adds nothing to the estimate at present"}
	}
	f := Finding{Level: Bad, State: stateOf(x.Reason), Words: x.Reason.Explain(), Advice: Advice(x.Reason, queried(x))}
	switch x.Reason {
	case reason.SourceWaiting, reason.KeyExchangeWaiting:
		f.Level = Waiting
	case reason.SourceTooWide, reason.SourceDuplicate:
		f.Level = Caution
	case reason.SourceFalseticker:
		if x.DistanceS != nil {
			f.Words = "its time contradicts what the other sources prove, by at least " + Seconds(*x.DistanceS)
		}
	}
	if x.Detail != "" {
		f.Words += " (" + x.Detail + ")"
	}
	return f
}

// queried is what `clockd query` must be told to ask a source. A server of a pool has a number behind the pool's name.
func queried(x *control.Source) string {
	if strings.Contains(x.Name, "#") && x.Address != nil {
		return *x.Address
	}
	return x.Name
}

func percent(part float64) string {
	if part < 0.005 {
		return "below 1 %"
	}
	return fmt.Sprintf("%.0f %%", 100*part)
}

// Peer says whether a peer takes part, and why or why not.
func Peer(p *control.Peer) Finding {
	if p.Used {
		return Finding{Level: Good, State: "takes part", Words: "its clock was used in the last round"}
	}
	if p.Reason == reason.OK {
		return Finding{Level: Caution, State: "not used", Words: "its clock was not used in the last round"}
	}
	f := Finding{Level: Caution, State: stateOf(p.Reason), Words: p.Reason.Explain(), Advice: Advice(p.Reason, p.Name)}
	switch {
	case p.Reason == reason.PeerJoining || p.Reason == reason.PeerRestarted || p.Reason == reason.PeerRound:
		f.Level = Waiting
	case lies(p.Reason) || p.Reason == reason.PeerSilent || p.Reason == reason.SourceUnreachable:
		f.Level = Bad
	}
	if p.Detail != "" {
		f.Words += " (" + p.Detail + ")"
	}
	return f
}

// lies: no correct peer does so.
func lies(c reason.Code) bool {
	return c == reason.PeerMalformed || c == reason.PeerEquivocates || c == reason.PeerOutlier
}

// stateOf is a reason in a word or two.
func stateOf(c reason.Code) string {
	switch c {
	case reason.SourceFalseticker, reason.PeerOutlier:
		return "false"
	case reason.PeerEquivocates, reason.PeerMalformed:
		return "lies"
	case reason.SourceUnreachable, reason.PeerSilent:
		return "silent"
	case reason.SourceWaiting, reason.KeyExchangeWaiting:
		return "waiting"
	case reason.KeyExchangeConnect, reason.KeyExchangeCertificate, reason.KeyExchangeCertificateTime, reason.KeyExchangeMalformed,
		reason.KeyExchangeNegotiation, reason.KeyExchangeRefused, reason.KissNTSN:
		return "no keys"
	case reason.NTSMalformed, reason.NTSMissing, reason.NTSUniqueID, reason.NTSAuthenticator, reason.PacketAuthentication:
		return "forged"
	case reason.SourceResolve:
		return "no address"
	case reason.SourceTooWide, reason.PeerTooWide:
		return "too wide"
	case reason.SourceDuplicate:
		return "duplicate"
	case reason.ServerUnsynchronised:
		return "not set"
	case reason.PeerJoining, reason.PeerRestarted, reason.PeerRound:
		return "joining"
	case reason.KissDeny, reason.KissRate, reason.KissOther:
		return "refuses"
	}
	return "not used"
}

// Event says what happened.
func Event(e *journal.Entry) Finding {
	switch e.Topic {
	case journal.TopicClock:
		return clockEvent(e)
	case journal.TopicEpoch:
		return Finding{Level: Caution, State: fmt.Sprintf("epoch %d", e.Epoch), Words: "the clock was set: what was read of it before may have been wrong"}
	case journal.TopicSource, journal.TopicPeer:
		what := "source " + e.Name
		if e.Topic == journal.TopicPeer {
			what = "peer " + e.Name
		}
		if e.Reason == reason.OK {
			return Finding{Level: Good, State: "used", Words: what + " is good, and is used"}
		}
		f := Finding{Level: Bad, State: stateOf(e.Reason), Words: what + " is not used: " + e.Reason.Explain()}
		if e.Value > 0 {
			f.Words += ", by " + Seconds(e.Value)
		}
		if f.State == "waiting" || f.State == "joining" {
			f.Level = Waiting
		}
		return f
	case journal.TopicDisruption:
		return Finding{Level: Bad, State: "disruption", Words: e.Reason.Explain()}
	}
	if e.Reason == reason.OK {
		return Finding{Level: Good, State: "configuration", Words: "the configuration was read again"}
	}
	return Finding{Level: Bad, State: "configuration", Words: e.Reason.Explain()}
}

func clockEvent(e *journal.Entry) Finding {
	f := Finding{Level: Bad, State: e.Status.String(), Words: e.Reason.Explain()}
	switch e.Status {
	case virtualclock.Synchronised:
		f.Level, f.Words = Good, "the clock is good"
		if e.Reason != reason.OK {
			f.Level, f.Words = Caution, "the clock is usable: "+e.Reason.Explain()
		}
		if e.Value > 0 {
			f.Words += ", its interval ± " + Seconds(e.Value)
		}
	case virtualclock.Holdover:
		f.Level = Caution
	default:
		if e.Reason == reason.NeverSynchronised || e.Reason == reason.SourceWaiting || e.Reason == reason.GroupForming {
			f.Level = Waiting
		}
	}
	return f
}

// SourceBound is the largest distance of a source's true offset to its estimate, nil if it is not known.
func SourceBound(x *control.Source) *float64 {
	if x.LowS == nil || x.HighS == nil || x.OffsetS == nil {
		return nil
	}
	b := max(*x.OffsetS-*x.LowS, *x.HighS-*x.OffsetS)
	return &b
}
