package agreement

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// strikes is how many rounds in a row may ask for an impossible correction before the member takes itself for lost.
	strikes = 3
	// joinPatience is after how many looks in vain a member gives up entering a group, and takes part in forming one.
	joinPatience = 2 * pollsPerRound
	// stuckRounds is after how many rounds in a row without a quorum of members, while enough hosts are there, a group is formed anew.
	stuckRounds = 64
	// pollsPerRound is how often a member that is not in looks whether it can get in.
	pollsPerRound = 8
	// settlingRounds is for how many rounds a group that has just formed waits for hosts that are there and have yet to enter, before it
	// vouches for anything: later they are taken for faulty.
	settlingRounds = 8
	// largestSpread limits how far apart clocks are believed to start, in seconds: ten years.
	largestSpread = 3.2e8
)

// Kind says what a call of Group.Round did.
type Kind uint8

// The kinds.
const (
	Idle     Kind = iota // nothing was due, or what was due has to wait: Reason says for what
	Formed               // a round of the forming of a group was made
	Joined               // the clock was set to the group's
	Adjusted             // a round was made
	Skipped              // a round was due and was not made; Reason says why
)

// String returns idle, formed, joined, adjusted or skipped.
func (k Kind) String() string {
	switch k {
	case Formed:
		return "formed"
	case Joined:
		return "joined"
	case Adjusted:
		return "adjusted"
	case Skipped:
		return "skipped"
	}
	return "idle"
}

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Verdict is what a round made of one peer. Figures are relative to the own target clock before the round, in seconds.
type Verdict struct {
	// Reason is OK, or why the peer was left out (PeerSilent, PeerRestarted, PeerJoining, PeerRound, PeerEquivocates), or what
	// is wrong with a peer that takes part all the same (PeerTooWide, PeerOutlier).
	Reason reason.Code `json:"reason"`
	// Used: the peer's reading took part.
	Used bool `json:"used"`
	// Centre ± HalfWidth is the reading, around its point estimate.
	Centre    float64 `json:"centre_s"`
	HalfWidth float64 `json:"half_width_s"`
	// TrimmedLow and TrimmedHigh: the reading's lower or upper edge was beyond the trimmed interval.
	TrimmedLow  bool `json:"trimmed_low"`
	TrimmedHigh bool `json:"trimmed_high"`
}

// Outcome is what a call of Group.Round did. It is the Group's own and is overwritten by the next call.
type Outcome struct {
	Kind   Kind        `json:"kind"`
	Reason reason.Code `json:"reason"`
	Status Status      `json:"status"`
	Round  int64       `json:"round"`
	// At is the raw time of the call.
	At virtualclock.Time `json:"at"`
	// Adjustment is what the target clock was moved by, in seconds; Refused what it was not moved by. Step: outside of the rounds, not to be slewed.
	Adjustment float64 `json:"adjustment_s"`
	Refused    float64 `json:"refused_s"`
	Step       bool    `json:"step"`
	// Epsilon is h*, the half-width that readings had after trimming and widening: the ε of this round.
	Epsilon float64 `json:"epsilon_s"`
	// Trimmed is the interval [L, U] of the guaranteed readings, relative to the target clock before the round.
	Trimmed Interval `json:"trimmed_s"`
	// Present counts the clocks that took part, the own one included; Wide those of them that were too wide; Outliers those proved wrong.
	Present  int `json:"present"`
	Wide     int `json:"wide"`
	Outliers int `json:"outliers"`
	// Margin is how many more liars the round's promises bear: f − missing − wide − outliers. Negative: they are not vouched for.
	Margin int `json:"margin"`
	// Pull is the masters' part of Adjustment, Masters how many members' estimates of UTC took part.
	Pull    float64 `json:"pull_s"`
	Masters int     `json:"masters"`
	// Verdicts has one entry for each peer.
	Verdicts []Verdict `json:"verdicts"`
}

// peer is what is known of another member.
type peer struct {
	state   State
	heard   virtualclock.Time // raw
	known   bool
	accused bool
}

// Group is one member's part in its group. All times passed in are its own raw times and do not go back.
type Group struct {
	config   Config
	model    Model
	promised Guarantee
	radius   float64 // Δ of the egocentric average
	state    State
	peers    []peer
	sights   []sight
	readings []Reading // of the present call only
	masters  External  // of the present call only
	outcome  Outcome

	next int64             // the number of the round that is due next
	due  virtualclock.Time // raw

	spans    [2]span // of the last two rounds
	hold     span    // where the others are, by what was promised when the last good round was made
	utc      span    // where UTC is
	floor    virtualclock.Time
	shown    virtualclock.Time // the displayed clock at slewFrom
	residual float64           // displayed − target at slewFrom
	slewFrom virtualclock.Time // raw

	strikes, stuck int
	void           reason.Code // why nothing is vouched for although Status is Sync or Holdover
	joined         bool        // while Status is Join: the clock is set, the first round is awaited
	proven         int         // rounds in a row whose promises hold
	settling       int         // rounds for which hosts that have yet to enter may still be correct

	formTimer   virtualclock.Time // raw
	formRounds  int
	formSpread  float64
	formSettled int
	joinPolls   int // looks for a group to enter without success
	shun        int // rounds of forming for which no group is entered

	// working memory
	halves, centres, scratch, rates []float64
	soft, hard                      []Interval
}

// New returns a member whose target clock reads start at raw time raw. era must be new for each start of the host, at random; the
// raw timeline must not be moved while it lasts. The peers are numbered from 0 to c.Members−2.
func New(c Config, era uint64, raw, start virtualclock.Time) (*Group, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	g := &Group{config: c, model: c.Model(), peers: make([]peer, c.Members-1), sights: make([]sight, c.Members-1)}
	promised, err := Bounds(g.model)
	if err != nil {
		return nil, fmt.Errorf("agreement: %w", err)
	}
	g.promised = promised
	g.radius = promised.Spread*(1+4*g.model.virtualDrift()) + c.ReadingError
	n := c.Members
	g.halves, g.centres, g.scratch, g.rates = make([]float64, 0, n), make([]float64, 0, n), make([]float64, 0, n), make([]float64, 0, n)
	g.soft, g.hard = make([]Interval, 0, n), make([]Interval, 0, n)
	g.outcome.Verdicts = make([]Verdict, n-1)
	m := Map{Ref: raw, Base: start}
	g.shown, g.floor = virtualclock.MinTime(), virtualclock.MinTime()
	g.state = State{Era: era, Version: 1, Current: m, Previous: m}
	g.startForming(raw)
	return g, nil
}

// State is what to publish to the peers. It changes with every call of Round.
func (g *Group) State() *State { return &g.state }

// Promised is what the configuration promises beforehand, with the widest readings that it admits.
func (g *Group) Promised() Guarantee { return g.promised }

// Config returns the configuration with its defaults filled in.
func (g *Group) Config() Config { return g.config }

// Due returns the raw time at which Round is to be called next.
func (g *Group) Due() virtualclock.Time { return g.due }

// Receive takes the state that a peer sent, at raw time raw; s is copied. It returns OK, or PeerRestarted if the peer has begun a
// new era (all that was measured of it is to be forgotten), or why the state is not used: PeerMalformed, PeerEquivocates.
// States may come late, twice and in any order.
func (g *Group) Receive(raw virtualclock.Time, from int, s *State) reason.Code {
	if from < 0 || from >= len(g.peers) {
		return reason.PeerMalformed
	}
	if code := s.check(g.config.RateLimit); code != reason.OK {
		return code
	}
	p := &g.peers[from]
	if !p.known || p.state.Era != s.Era {
		code := reason.OK
		if p.known {
			code = reason.PeerRestarted
		}
		*p = peer{state: *s, heard: raw, known: true}
		return code
	}
	if p.state.contradicts(s) {
		p.accused = true
	}
	if p.accused {
		return reason.PeerEquivocates
	}
	if s.Version >= p.state.Version {
		p.state, p.heard = *s, raw
	}
	return reason.OK
}

// Hear takes a peer's testimony on another: what State.Digest it computed of subject's state of that era and version. It returns
// PeerEquivocates if this member has seen another state of the same era and version, which proves that the subject or the
// reporter is faulty (so nobody is left out for it), and OK otherwise.
func (g *Group) Hear(subject int, era, version, digest uint64) reason.Code {
	if subject < 0 || subject >= len(g.peers) {
		return reason.PeerMalformed
	}
	p := &g.peers[subject]
	if p.known && p.state.Era == era && p.state.Version == version && p.state.Digest() != digest {
		return reason.PeerEquivocates
	}
	return reason.OK
}

// Round does what is due at raw time now. readings are the peers' offsets at now, one for each; external is what the own masters
// say. Call it at Due; the later, the worse (Config.Lateness); calls before Due do nothing.
func (g *Group) Round(now virtualclock.Time, readings []Reading, external External) *Outcome {
	o := &g.outcome
	*o = Outcome{At: now, Round: g.state.Round, Verdicts: o.Verdicts}
	clear(o.Verdicts)
	g.masters = External{}
	if external.Known && external.valid() {
		g.masters = external
	}
	if !now.Before(g.due) {
		g.readings = readings
		switch {
		case g.state.Status == Init:
			g.form(now)
		case g.state.Status == Join && !g.joined:
			g.join(now)
		default:
			g.common(now)
		}
		g.readings = nil
	}
	o.Status, o.Round = g.state.Status, g.state.Round
	return o
}

// instant is k·P on the virtual timeline.
func (g *Group) instant(k int64) virtualclock.Time {
	return virtualclock.Unix(k*int64(g.config.Period), 0)
}

// number is the number of the round in which the clock reads v.
func (g *Group) number(v virtualclock.Time) int64 {
	p := int64(g.config.Period)
	k := v.UnixNano() / p
	if v.UnixNano()%p < 0 {
		k--
	}
	return k
}

// quorum is 2f+1, without which no round is made.
func (g *Group) quorum() int { return 2*g.config.Faults + 1 }

// common makes the round that is due.
func (g *Group) common(now virtualclock.Time) {
	o := &g.outcome
	v := g.state.Current.At(now)
	if late := v.Seconds(g.instant(g.next)); late > g.config.Lateness {
		g.skip(now, v, reason.RoundLate)
		return
	}
	g.look(now, v, byRound, g.next-1)
	g.judge(g.reach(now, v))
	g.weigh(true)
	switch {
	case o.Present < g.quorum():
		g.skip(now, v, reason.TooFewPeers)
		return
	case o.Outliers > g.config.Faults:
		g.skip(now, v, reason.TooManyLiars)
		return
	case o.Epsilon > g.config.ReadingError:
		g.skip(now, v, reason.ReadingsTooWide)
		return
	}
	value, _ := g.converge(g.config.Algorithm, true)
	o.Pull = g.pulled(now, v, value)
	value += o.Pull
	limit := g.promised.Adjustment
	if g.proven < len(g.spans) {
		limit += 2 * g.config.ReadingError // a group that has just formed
	}
	if math.Abs(value) > limit {
		o.Refused, o.Pull = value, 0
		g.skip(now, v, reason.AdjustmentLimit)
		return
	}
	g.adjust(now, v, value)
}

// adjust applies a round.
func (g *Group) adjust(now, v virtualclock.Time, value float64) {
	o := &g.outcome
	rate := g.agreedRate(true)
	trimmed := span{round: g.next, at: now, base: v, Interval: o.Trimmed, ok: true}
	trimmed.slow, trimmed.fast = g.slopes()
	g.raiseFloor(now)
	g.retarget(now, Map{Ref: now, Base: v.AddSeconds(value), Rate: rate}, false)
	o.Kind, o.Adjustment = Adjusted, value
	g.state.Round, g.state.Status = g.next, Sync
	g.strikes, g.stuck, g.void, g.joined = 0, 0, reason.OK, false
	switch {
	case o.Margin < 0:
		// More are missing than may be faulty. The clock stays among the correct ones (2f+1 took part), but nothing is promised.
		o.Reason, g.state.Status, g.proven = reason.TooFewPeers, Holdover, 0
	case g.unsettled():
		o.Reason = reason.GroupForming
	default:
		g.proven++
		g.remember(trimmed)
		if g.fresh() {
			g.setHold(now)
		}
	}
	g.schedule()
}

// unsettled reports whether the round that was looked at is one of a group that has just formed and is not complete: a correct host that
// enters a round later than the others is missed by all of them, besides f liars that all of them read. So the margin, which
// takes those who are missing for faulty, says nothing yet.
func (g *Group) unsettled() bool {
	if g.settling == 0 {
		return false
	}
	g.settling--
	if g.entering() > 0 {
		return true
	}
	g.settling = 0
	return false
}

// entering counts the peers that are there and took no part in what was looked at because they have yet to enter, or have entered in
// another round.
func (g *Group) entering() int {
	n := 0
	for i := range g.sights {
		if !g.recent(i) {
			continue
		}
		switch g.outcome.Verdicts[i].Reason {
		case reason.PeerJoining:
			if !g.peers[i].state.Status.member() {
				n++
			}
		case reason.PeerRound:
			// Who joins looks at one round, in the middle of which the others may be; who is many rounds off is no late-comer.
			if off := g.peers[i].state.Round - g.next; g.state.Status != Join && off >= -3 && off <= 3 {
				n++
			}
		}
	}
	return n
}

// schedule sets what is due after a round.
func (g *Group) schedule() {
	g.next = max(g.next+1, g.number(g.state.Current.Base)+1)
	g.due = g.state.Current.When(g.instant(g.next))
}

// retarget replaces the target clock at raw time now. The displayed clock goes there over the slew window, or steps.
func (g *Group) retarget(now virtualclock.Time, m Map, step bool) {
	shown := g.Display(now)
	g.state.Previous, g.state.Current = g.state.Current, m
	g.state.ExternalPrevious, g.state.External = g.state.External, g.masters
	g.state.Version++
	g.shown, g.residual, g.slewFrom = shown, shown.Seconds(m.At(now)), now
	if step {
		g.shown = virtualclock.MinTime()
		g.outcome.Step = true
		g.residual = 0
		g.state.Epoch++
		g.state.Previous, g.state.ExternalPrevious = m, g.masters
		g.floor = virtualclock.MinTime()
	}
}

// skip counts the round that is due as made, without an adjustment.
func (g *Group) skip(now, v virtualclock.Time, code reason.Code) {
	o := &g.outcome
	o.Kind, o.Reason = Skipped, code
	g.raiseFloor(now)
	g.count(code)
	g.state.Round = max(g.next, g.number(v))
	if g.state.Status == Sync {
		g.state.Status = Holdover
	}
	m := g.state.Current
	if code == reason.TooFewPeers || code == reason.ReadingsTooWide {
		m = g.followMasters(now, v)
	}
	g.retarget(now, m, false)
	g.next = g.state.Round
	g.schedule()
	switch {
	case g.strikes >= strikes, g.state.Status == Join:
		g.startJoin(now)
	case g.stuck >= stuckRounds:
		g.startForming(now)
	}
}

// count keeps the account of what goes wrong.
func (g *Group) count(code reason.Code) {
	g.proven = 0
	switch {
	case code == reason.TooManyLiars, code == reason.AdjustmentLimit:
		g.strikes++
		if g.state.Status == Sync || code == reason.TooManyLiars {
			// A correct clock among at most f liars never gets here: what was proved before rests on a broken assumption.
			g.void, g.hold.ok, g.spans = code, false, [2]span{}
		}
	case code == reason.TooFewPeers && g.elsewhere() >= g.quorum():
		g.strikes++
	default:
		g.strikes = 0
	}
	if code == reason.TooFewPeers && g.visible() >= g.config.Members-g.config.Faults {
		g.stuck++
	} else {
		g.stuck = 0
	}
}

// elsewhere counts the peers that are in rounds, but not in this member's.
func (g *Group) elsewhere() int {
	n := 0
	for i := range g.sights {
		if g.outcome.Verdicts[i].Reason == reason.PeerRound && g.peers[i].state.Status == Sync && g.recent(i) {
			n++
		}
	}
	return n
}

// visible counts the hosts that are heard and measured, this one included, whatever their status.
func (g *Group) visible() int {
	n := 1
	for i := range g.peers {
		if g.readable(i) == reason.OK && g.recent(i) {
			n++
		}
	}
	return n
}
