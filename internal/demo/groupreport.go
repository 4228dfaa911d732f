package demo

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// GroupSecond is what a second has of a group. The bound beside the line's precision_s is the promised one (π_v), null if nothing is
// promised.
type GroupSecond struct {
	// OnlineBoundS is the largest sum of two correct hosts' far edges when the precision was worst: what they knew themselves.
	// OnlineBoundMaxS is the largest in the second.
	OnlineBoundS    *float64 `json:"online_bound_s"`
	OnlineBoundMaxS *float64 `json:"online_bound_max_s"`
	// ConvergenceS is δ_v: the largest distance of the correct hosts' target clocks when the last of them had made its round.
	ConvergenceS *float64 `json:"convergence_s"`
	// EpsilonS is ε: the widest reading that a correct host used in its last round. ToUTCS is the largest distance that UTC may
	// have from a correct host's clock by what the members' masters say.
	EpsilonS *float64 `json:"epsilon_s"`
	ToUTCS   *float64 `json:"to_utc_s"`
	// Liars are what the liars tell.
	Liars []LiarSecond `json:"liars"`
}

// LiarSecond is what one liar tells.
type LiarSecond struct {
	Name      string `json:"name"`
	Adversary string `json:"adversary"`
	// ToldS is, for each correct host, by how much the liar last showed its clock ahead of what it is; null: it told nothing.
	ToldS map[string]*float64 `json:"told_s"`
	// SuspectedBy is which correct hosts found what wrong with it in their last round.
	SuspectedBy map[string]reason.Code `json:"suspected_by"`
}

// HostGroup is one member of a group, as its own daemon sees it.
type HostGroup struct {
	Liar bool `json:"liar"`
	// IntervalKind says what bound_s bounds: the distance to true time (EXTERNAL) or to other correct clocks (INTERNAL: the far edge).
	IntervalKind string `json:"interval_kind"`
	// FromMiddleS is its clock minus the middle of all correct ones; only the observer knows it.
	FromMiddleS *float64 `json:"from_middle_s"`
	// The rest is what its daemon says, null if it did not answer. FarEdgeS: two correct hosts differ by at most the sum of theirs.
	Status      *agreement.Status `json:"status"`
	Reason      *reason.Code      `json:"reason"`
	Round       *int64            `json:"round"`
	Rounds      *uint64           `json:"rounds"`
	Skipped     *uint64           `json:"skipped"`
	Margin      *int              `json:"margin"`
	FarEdgeS    *float64          `json:"far_edge_s"`
	EpsilonS    *float64          `json:"epsilon_s"`
	AdjustmentS *float64          `json:"adjustment_s"`
	ToUTCS      *float64          `json:"to_utc_s"`
	// Suspects is what it found wrong with whom in its last round.
	Suspects map[string]reason.Code `json:"suspects"`
}

// GroupSummary is a group over the whole run. precision_s of the summary is the measured π_v, precision_bound_s the promised one.
type GroupSummary struct {
	PeriodS float64 `json:"period_s"`
	// Liars is how many members lied, Faults how many may. Void says why nothing was promised: there were more; else it is null,
	// and so are the bounds then.
	Liars        int     `json:"liars"`
	Faults       int     `json:"faults"`
	Masters      int     `json:"masters"`
	FalseMasters int     `json:"false_masters"`
	Void         *string `json:"void"`
	// OnlineBoundS is the largest sum of two correct hosts' far edges when precision_s was measured, OnlineBoundMaxS the largest of all.
	OnlineBoundS    *float64 `json:"online_bound_s"`
	OnlineBoundMaxS *float64 `json:"online_bound_max_s"`
	// ConvergenceS is the largest δ_v since all were synchronised first, in so many rounds; and what is promised of it.
	ConvergenceS      *float64 `json:"convergence_s"`
	ConvergenceBoundS *float64 `json:"convergence_bound_s"`
	ConvergenceRounds uint64   `json:"convergence_rounds"`
	// EpsilonS is the widest reading that was seen to be used, EpsilonBoundS the widest that may be.
	EpsilonS      *float64 `json:"epsilon_s"`
	EpsilonBoundS *float64 `json:"epsilon_bound_s"`
	// PromisedAccuracyS is α_v, the promised distance from UTC in the steady state of a hybrid.
	PromisedAccuracyS *float64 `json:"promised_accuracy_s"`
	// Of bound_violations, so many are intervals without a common point, clocks further apart than the far edges and than the
	// promise; and the worst was by so much.
	Disjoint         uint64         `json:"violations_disjoint"`
	BeyondOnline     uint64         `json:"violations_online"`
	BeyondPromise    uint64         `json:"violations_promise"`
	WorstViolationS  *float64       `json:"worst_pair_violation_s"`
	WorstBetween     []string       `json:"worst_pair,omitempty"`
	LiarSummaries    []LiarSummary  `json:"lies"`
	CorrectSuspected map[string]int `json:"correct_suspected"`
}

// LiarSummary is one liar over the whole run.
type LiarSummary struct {
	Name      string `json:"name"`
	Adversary string `json:"adversary"`
	// Answers counts what it told its peers, Altered those answers that were lies, Unanswered the requests that it left without one.
	Answers    uint64 `json:"answers"`
	Altered    uint64 `json:"altered"`
	Unanswered uint64 `json:"unanswered"`
	// ToldLowS and ToldHighS are the extremes of how far ahead of what it is it showed its clock.
	ToldLowS  *float64 `json:"told_low_s"`
	ToldHighS *float64 `json:"told_high_s"`
	// Verdicts counts what correct hosts thought of it when they were asked, once a second each. "ok": it was not noticed.
	Verdicts map[string]uint64 `json:"verdicts"`
}

// void reports whether nothing was promised.
func (s *Summary) void() bool { return s.Group != nil && s.Group.Void != nil }

// void is why nothing is promised, nil if it is.
func (r *run) void() *string {
	o := &r.options
	liars, borne := o.Liars, agreement.MaxFaults(o.Hosts)
	why := ""
	switch {
	case liars > borne:
		why = fmt.Sprintf("%d of %d hosts lie, and %d may: nothing is promised", liars, o.Hosts, borne)
	case o.FalseMasters > falseBorne:
		why = fmt.Sprintf("%d of %d masters are false, and %d may be: nothing is promised of UTC", o.FalseMasters, o.masters(), falseBorne)
	default:
		return nil
	}
	return &why
}

// second reports the second that has just ended.
func (r *run) second() *Second {
	s := r.observer.second(r.start)
	g := r.observer.group
	if g == nil {
		return s
	}
	precision, online := r.observer.tally.second.precision, r.observer.tally.second.online
	out := &GroupSecond{
		OnlineBoundS: known(precision.claim, precision.known), OnlineBoundMaxS: known(online.value, online.known),
		ConvergenceS: known(g.second.value, g.second.known), Liars: []LiarSecond{},
	}
	s.PrecisionBoundS = r.promise(g.promised.Precision)
	for i, h := range r.fleet.hosts {
		x := r.hostGroup(i)
		s.Hosts[i].Group = x
		if h.liar != nil {
			out.Liars = append(out.Liars, r.liarSecond(i))
			continue
		}
		out.EpsilonS, out.ToUTCS = larger(out.EpsilonS, x.EpsilonS), larger(out.ToUTCS, x.ToUTCS)
	}
	s.Group = out
	return s
}

// promise is a promised figure, nil if nothing is promised.
func (r *run) promise(x float64) *float64 { return known(x, r.void() == nil) }

func larger(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// hostGroup is member i.
func (r *run) hostGroup(i int) *HostGroup {
	o, h := r.observer, r.fleet.hosts[i]
	x := &HostGroup{Liar: h.liar != nil, IntervalKind: virtualclock.External.String(), Suspects: map[string]reason.Code{}}
	l := &o.looks[i]
	if l.internal || r.options.Mode == ModeInternal {
		x.IntervalKind = virtualclock.Internal.String()
	}
	if m, ok := o.middle(); ok && l.sound {
		x.FromMiddleS = known(l.time.Seconds(m), true)
	}
	g := r.taken(i)
	if g == nil {
		return x
	}
	x.Status, x.Reason, x.Round, x.Rounds, x.Skipped, x.Margin = &g.Status, &g.Reason, &g.Round, &g.Rounds, &g.Skipped, &g.Margin
	x.FarEdgeS, x.EpsilonS, x.AdjustmentS, x.ToUTCS = g.SpreadS, g.EpsilonS, &g.AdjustmentS, g.ToUTCS
	for j := range g.Peers {
		if p := &g.Peers[j]; p.Reason != reason.OK {
			x.Suspects[p.Name] = p.Reason
		}
	}
	return x
}

// taken is what member i's daemon said last, nil if it did not answer.
func (r *run) taken(i int) *control.Group {
	if r.survey == nil {
		return nil
	}
	return r.survey.taken[i]
}

func (r *run) liarSecond(i int) LiarSecond {
	h := r.fleet.hosts[i]
	x := LiarSecond{Name: h.name, Adversary: h.liar.adversary, ToldS: map[string]*float64{}, SuspectedBy: map[string]reason.Code{}}
	told := h.liar.lies().told
	for j, other := range r.fleet.hosts {
		if other.liar != nil {
			continue
		}
		x.ToldS[other.name] = known(told[j], true)
		g := r.taken(j)
		if g == nil {
			continue
		}
		for k := range g.Peers {
			if p := &g.Peers[k]; p.Name == h.name && p.Reason != reason.OK {
				x.SuspectedBy[other.name] = p.Reason
			}
		}
	}
	return x
}

// summary reports the whole run.
func (r *run) summary() *Summary {
	s := r.observer.summary(r.start, &r.options)
	g, o := r.observer.group, &r.options
	if g == nil {
		return s
	}
	precision, online := r.observer.tally.total.precision, r.observer.tally.total.online
	out := &GroupSummary{
		PeriodS: o.Period.Seconds(), Liars: o.Liars, Faults: agreement.MaxFaults(o.Hosts), Masters: o.masters(), FalseMasters: o.FalseMasters, Void: r.void(),
		OnlineBoundS: known(precision.claim, precision.known), OnlineBoundMaxS: known(online.value, online.known), ConvergenceS: known(g.total.value, g.total.known), ConvergenceRounds: g.rounds,
		ConvergenceBoundS: r.promise(g.promised.Convergence), EpsilonBoundS: r.promise(o.readingError.Seconds()),
		PromisedAccuracyS: r.promise(g.promised.Accuracy),
		Disjoint:          g.broken.disjoint, BeyondOnline: g.broken.beyondEdges, BeyondPromise: g.broken.beyondPromise,
		LiarSummaries: []LiarSummary{}, CorrectSuspected: map[string]int{},
	}
	s.PrecisionBoundS = r.promise(g.promised.Precision)
	if r.observer.tally.pairs > 0 {
		out.WorstViolationS = known(g.broken.worst, true)
		out.WorstBetween = []string{r.fleet.hosts[g.broken.i].name, r.fleet.hosts[g.broken.j].name}
	}
	if r.survey != nil {
		out.EpsilonS = known(r.survey.epsilon, r.survey.epsilon > 0)
	}
	for i, h := range r.fleet.hosts {
		r.judged(out, i, h)
	}
	s.Group = out
	return s
}

// judged adds what is known of member i's reputation.
func (r *run) judged(out *GroupSummary, i int, h *host) {
	verdicts := map[reason.Code]uint64{}
	if r.survey != nil {
		verdicts = r.survey.verdicts[i]
	}
	if h.liar == nil {
		for code, n := range verdicts {
			if code != reason.OK {
				out.CorrectSuspected[code.String()] += int(n)
			}
		}
		return
	}
	l := h.liar.lies()
	x := LiarSummary{
		Name: h.name, Adversary: h.liar.adversary, Answers: l.answers, Altered: l.altered, Unanswered: l.silent,
		ToldLowS: known(l.low, !math.IsInf(l.low, 0)), ToldHighS: known(l.high, !math.IsInf(l.high, 0)), Verdicts: map[string]uint64{},
	}
	for code, n := range verdicts {
		x.Verdicts[code.String()] = n
	}
	out.LiarSummaries = append(out.LiarSummaries, x)
}
