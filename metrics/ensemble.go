package metrics

import (
	"errors"
	"fmt"
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

// The errors of an Ensemble and of other estimators that are fed in the order of time.
var (
	ErrOrder  = errors.New("metrics: this is earlier than what was told before; feed events in the order of true time")
	ErrNumber = errors.New("metrics: not a finite number")
)

// Segment is a piece of a virtual clock that is affine in true time. It lasts until the clock's next segment begins, or its End.
type Segment struct {
	// From is true time at which it begins, Clock what the virtual clock shows then.
	From, Clock virtualclock.Time
	// Rate is dV/dt − 1: by how much the clock runs too fast.
	Rate float64
	// Epoch is the clock's epoch. A clock that steps begins a new one.
	Epoch virtualclock.Epoch
}

// SegmentOf returns the segment that coefficients make of a counter that reads at when true time is truth and counts hertz ticks per
// true second from there. The segment ends at the latest where the coefficients' slew ends (SlewEnd), and where the counter's
// frequency changes.
func SegmentOf(k *virtualclock.Coefficients, at hw.Ticks, truth virtualclock.Time, hertz float64) Segment {
	line := &k.Steady
	if at.Before(k.SlewEnd) {
		line = &k.Slew
	}
	return Segment{truth, k.Time(at), line.Period.Nanoseconds()*1e-9*hertz - 1, k.Epoch}
}

// EnsembleOptions are what an Ensemble is told once. The zero value is useful.
type EnsembleOptions struct {
	// JumpSeconds is by how much a clock may differ where one segment of an epoch ends and the next begins, for rounding. A larger
	// jump is counted, and the clock's rate is then not known. 0 means 1 ns.
	JumpSeconds float64
	// CellSeconds is the length of the cells into which the time errors are sorted for the envelope rate; 0: it is not measured.
	// The curve begins at one cell. Take the resynchronisation period.
	CellSeconds float64
	// CellsPerWindow is how many cells a long window has: the curve's bracket is wider than the truth by about two cells in so
	// many. It is rounded up to a power of 2; 0 means 32. Memory for one clock is about 64 bytes · CellsPerWindow · octaves.
	CellsPerWindow int
}

// Ensemble follows virtual clocks that are piecewise affine on one true timeline. Feed it with the clocks that are correct and
// synchronised: a clock that begins to lie, crashes or loses its synchronisation leaves it with End. Feed another Ensemble for
// another subset, or with the target clocks instead of the displayed ones.
//
// Events come in the order of true time; those of one instant in any order. All that happens at one instant is one change: what counts
// are the limits from the left, before all of it, and from the right, after all of it. Between two events all clocks are affine, so
// that |V − t| and max V − min V are convex there and have their suprema at the ends: none is missed.
//
// Figures are exact but for the rounding of float64: the time error at a breakpoint is computed from the difference of two
// virtualclock.Time, and elsewhere carried on with an error of at most 2⁻⁵² · |Rate| · (time since the first event).
//
// An event costs O(number of clocks) for the first at its instant and O(1) for others. It is for one goroutine at a time.
type Ensemble struct {
	options EnsembleOptions
	members []member
	active  []int // numbers of the clocks that are in
	origin  virtualclock.Time
	now     virtualclock.Time
	elapsed float64 // now − origin
	begun   bool
	// changed are clocks whose segment began now. sampling and roundEnds ask for what is to be noted once all that happens now
	// is known.
	changed             []int
	dirty               bool
	sampling, roundEnds bool
	// left is the spread before all that happens now, between which clocks.
	left                  float64
	leftAhead, leftBehind int
	leftKnown             bool

	figures ensembleFigures
}

// ensembleFigures are what Reset forgets.
type ensembleFigures struct {
	precision, convergence, before peak
	lastRound                      Figure
	spreads, errors                Quantiles
}

// member is one clock.
type member struct {
	in      bool
	segment Segment
	// The time error is offset + rate·(elapsed − from); position in active.
	offset, from float64
	position     int
	// fresh: the segment began now. before is the end of the one that it follows.
	fresh  bool
	before joint
	// accrued is up to when the segment is in the figures; since is where the present stretch without a step began.
	accrued     float64
	since       float64
	sinceOffset float64
	envelope    *envelope

	accuracy         peak
	squares, present float64
	rate             Figure
	rateLost         bool
	steps, jumps     uint64
	largestJump      float64
	// stretch is the longest stretch without a step that is over, and the mean rate over it.
	stretch, stretchRate float64
}

// joint is where one segment ends, for comparison with where the next begins; not in if the clock was not there.
type joint struct {
	offset float64
	epoch  virtualclock.Epoch
	in     bool
}

func (m *member) at(elapsed float64) float64 { return m.offset + m.segment.Rate*(elapsed-m.from) }

// maxClocks keeps an Ensemble's memory bounded.
const maxClocks = 1 << 16

// minCell is the shortest cell: each takes a step of computation, also while nothing happens.
const minCell = 1e-6

// NewEnsemble returns an ensemble of that many clocks, none of which is in yet.
func NewEnsemble(clocks int, options EnsembleOptions) (*Ensemble, error) {
	if clocks < 1 || clocks > maxClocks {
		return nil, fmt.Errorf("metrics: %d clocks; give 1 to %d", clocks, maxClocks)
	}
	if options.JumpSeconds == 0 {
		options.JumpSeconds = 1e-9
	}
	if !(options.JumpSeconds > 0) || options.CellSeconds != 0 && !(options.CellSeconds >= minCell) || math.IsInf(options.CellSeconds, 0) {
		return nil, fmt.Errorf("metrics: a tolerance of %g s and cells of %g s; give positive numbers, cells of %g s or longer",
			options.JumpSeconds, options.CellSeconds, minCell)
	}
	if options.CellsPerWindow == 0 {
		options.CellsPerWindow = 32
	}
	e := &Ensemble{options: options, members: make([]member, clocks), active: make([]int, 0, clocks), changed: make([]int, 0, clocks)}
	for i := range e.members {
		if options.CellSeconds > 0 {
			e.members[i].envelope = newEnvelope(options.CellSeconds, options.CellsPerWindow)
		}
	}
	return e, nil
}

func (e *Ensemble) member(clock int) (*member, error) {
	if clock < 0 || clock >= len(e.members) {
		return nil, fmt.Errorf("metrics: there is no clock %d; they are numbered from 0 to %d", clock, len(e.members)-1)
	}
	return &e.members[clock], nil
}

// Begin says that a clock's next segment begins, and lets the clock in if it is not in yet. A second segment of the same clock at
// the same instant replaces the first.
func (e *Ensemble) Begin(clock int, s Segment) error {
	m, err := e.member(clock)
	if err != nil {
		return err
	}
	if !finite(s.Rate) {
		return fmt.Errorf("metrics: clock %d's rate: %w", clock, ErrNumber)
	}
	if err := e.moveTo(s.From); err != nil {
		return err
	}
	offset := s.Clock.Seconds(s.From)
	switch {
	case !m.in:
		m.in, m.position, m.before = true, len(e.active), joint{}
		e.active = append(e.active, clock)
	case !m.fresh:
		e.settle(m)
		m.before = joint{m.at(e.elapsed), m.segment.Epoch, true}
	}
	if !m.fresh {
		m.fresh = true
		e.changed = append(e.changed, clock)
	}
	m.segment, m.offset, m.from, m.accrued = s, offset, e.elapsed, e.elapsed
	e.dirty = true
	return nil
}

// join compares the end of a clock's segment with the beginning of its next one, now that it is known which one lasts.
func (e *Ensemble) join(m *member) {
	jump := math.Abs(m.offset - m.before.offset)
	switch {
	case !m.before.in:
		m.begin()
		return
	case m.segment.Epoch != m.before.epoch:
		m.steps++
	case jump > e.options.JumpSeconds:
		m.jumps++
		m.rateLost = true
	default:
		return
	}
	m.largestJump = max(m.largestJump, jump)
	m.closeStretch(e.elapsed, m.before.offset)
	m.begin()
}

// begin starts a stretch without a step.
func (m *member) begin() {
	m.since, m.sinceOffset = m.from, m.offset
	if m.envelope != nil {
		m.envelope.cut()
	}
}

func (m *member) closeStretch(elapsed, offset float64) {
	if length := elapsed - m.since; length > m.stretch {
		m.stretch, m.stretchRate = length, (offset-m.sinceOffset)/length
	}
}

// End says that a clock leaves: what it shows from then on counts no longer.
func (e *Ensemble) End(clock int, at virtualclock.Time) error {
	m, err := e.member(clock)
	if err != nil {
		return err
	}
	if err := e.moveTo(at); err != nil {
		return err
	}
	if !m.in {
		return nil
	}
	if m.fresh {
		if m.before.in {
			m.closeStretch(e.elapsed, m.before.offset)
		}
	} else {
		e.settle(m)
		m.closeStretch(e.elapsed, m.at(e.elapsed))
	}
	m.in = false
	last := len(e.active) - 1
	moved := e.active[last]
	e.active[m.position] = moved
	e.members[moved].position = m.position
	e.active = e.active[:last]
	e.dirty = true
	return nil
}

// settle adds the part of a clock's segment that has passed, up to the limit from the left now, to its figures.
func (e *Ensemble) settle(m *member) {
	if e.elapsed <= m.accrued {
		return
	}
	a, b := m.at(m.accrued), m.at(e.elapsed)
	m.accuracy.note(math.Abs(b), e.now, e.active[m.position], -1)
	length := e.elapsed - m.accrued
	m.squares += (a*a + a*b + b*b) / 3 * length
	m.present += length
	if m.envelope != nil {
		m.envelope.piece(m.accrued, e.elapsed, a, b)
	}
	m.accrued = e.elapsed
	m.noteRate()
}

// noteRate takes the rate of a segment that lasted: max(|r − 1|, |1/r − 1|), r being dV/dt.
func (m *member) noteRate() {
	r := 1 + m.segment.Rate
	if r <= 0 {
		m.rateLost = true
		return
	}
	m.rate = largest(m.rate, Figure{max(math.Abs(m.segment.Rate), math.Abs(m.segment.Rate/r)), 1, true})
}

// moveTo lets true time pass: first what is there after all that happened at the last instant, then what is there just before this one.
func (e *Ensemble) moveTo(at virtualclock.Time) error {
	if !e.begun {
		e.origin, e.now, e.begun = at, at, true
		return nil
	}
	if at == e.now {
		return nil
	}
	if at.Before(e.now) {
		return fmt.Errorf("%w: %v after %v", ErrOrder, at, e.now)
	}
	e.flush()
	e.now, e.elapsed = at, at.Seconds(e.origin)
	e.left, e.leftAhead, e.leftBehind, e.leftKnown = e.spread()
	if e.leftKnown {
		e.figures.precision.note(e.left, at, e.leftAhead, e.leftBehind)
	}
	return nil
}

// flush notes the limits from the right at the present instant.
func (e *Ensemble) flush() {
	for _, clock := range e.changed {
		m := &e.members[clock]
		m.fresh = false
		if m.in {
			m.accuracy.note(math.Abs(m.offset), e.now, clock, -1)
			e.join(m)
		}
	}
	e.changed = e.changed[:0]
	if !e.dirty && !e.sampling && !e.roundEnds {
		return
	}
	spread, ahead, behind, ok := e.spread()
	if ok && e.dirty {
		e.figures.precision.note(spread, e.now, ahead, behind)
	}
	if ok && e.sampling {
		e.figures.spreads.Add(spread)
	}
	if e.sampling {
		for _, clock := range e.active {
			e.figures.errors.Add(math.Abs(e.members[clock].at(e.elapsed)))
		}
	}
	if e.roundEnds {
		e.figures.lastRound = Figure{}
		if ok {
			e.figures.lastRound = known(spread, 1)
			e.figures.convergence.note(spread, e.now, ahead, behind)
		}
	}
	e.dirty, e.sampling, e.roundEnds = false, false, false
}

// spread is the distance of the first clock from the last one now; not ok if there are fewer than two.
func (e *Ensemble) spread() (spread float64, ahead, behind int, ok bool) {
	if len(e.active) < 2 {
		return 0, 0, 0, false
	}
	high, low := math.Inf(-1), math.Inf(1)
	for _, clock := range e.active {
		x := e.members[clock].at(e.elapsed)
		if x > high {
			high, ahead = x, clock
		}
		if x < low {
			low, behind = x, clock
		}
	}
	return high - low, ahead, behind, true
}
