package adversary

import (
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/sync/agreement"
)

// prompt holds nothing back.
type prompt struct{}

func (prompt) Hold(Sight, int, int) float64 { return 0 }

// silent never answers.
type silent struct{ prompt }

func (silent) Answer(Sight, int, int, *peerwire.Answer) bool { return false }

// offset makes up by how much self's clock of that round is shown wrong to peer to, in seconds.
type offset func(s Sight, self, to int, round int64) float64

// story is what one peer was told of the last two rounds of one epoch. A liar that is not to be caught sticks to it.
type story struct {
	era         uint64
	epoch       uint32
	round       int64
	now, before float64
	told        bool
}

// shifter lies by an offset of its published clocks.
type shifter struct {
	prompt
	by      offset
	stories map[int]*story
}

func newShifter(by offset) *shifter { return &shifter{by: by, stories: map[int]*story{}} }

// tell returns the offsets of the current round and of the one before.
func (l *shifter) tell(s Sight, self, to int, honest *agreement.State) (now, before float64) {
	t := l.stories[to]
	if t == nil {
		t = &story{}
		l.stories[to] = t
	}
	same := t.told && t.era == honest.Era && t.epoch == honest.Epoch
	switch {
	case same && t.round == honest.Round:
	case same && t.round == honest.Round-1:
		t.before, t.now = t.now, l.by(s, self, to, honest.Round)
	default:
		t.before, t.now = l.by(s, self, to, honest.Round-1), l.by(s, self, to, honest.Round)
	}
	t.told, t.era, t.epoch, t.round = true, honest.Era, honest.Epoch, honest.Round
	return t.now, t.before
}

// sleepUntil makes it honest until then. A sleeper that woke up in the middle of a round would contradict itself.
func (l *shifter) sleepUntil(until float64) {
	by := l.by
	l.by = func(s Sight, self, to int, round int64) float64 {
		if s.Now() < until {
			return 0
		}
		return by(s, self, to, round)
	}
}

func (l *shifter) Answer(s Sight, self, to int, a *peerwire.Answer) bool {
	now, before := l.tell(s, self, to, &a.State)
	a.State.Current.Base = a.State.Current.Base.AddSeconds(now)
	a.State.Previous.Base = a.State.Previous.Base.AddSeconds(before)
	return true
}

// anywhere draws an offset of any order of magnitude.
func anywhere(rng *rand.Rand) offset {
	return func(Sight, int, int, int64) float64 {
		return rng.NormFloat64() * math.Pow(10, float64(rng.IntN(9)-5))
	}
}

// hull is the lowest and the highest correct clock relative to self's; not known while nobody has a clock.
func hull(s Sight, self int) (low, high float64, known bool) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, m := range s.Correct() {
		if x, ok := s.Ahead(m, self); ok {
			low, high, known = min(low, x), max(high, x), true
		}
	}
	return low, high, known
}

// high reports whether peer to is in the upper half of the correct clocks. Equal ones are told apart by their numbers.
func high(s Sight, to int) bool {
	behind, n := 0, 0
	for _, m := range s.Correct() {
		if m == to {
			continue
		}
		x, ok := s.Ahead(m, to)
		if !ok {
			continue
		}
		n++
		if x < 0 || x == 0 && m < to {
			behind++
		}
	}
	return 2*behind >= n
}

// split is the optimal two-faced clock of theory 3.6: it knows all clocks, and shows itself to each peer on the side to which that peer is
// to be kept, just far enough to be trimmed with the extreme ones; to the egocentric average as far as that counts.
func split(s Sight, self, to int, _ int64) float64 {
	c := s.Config()
	if c.Algorithm == agreement.Egocentric {
		x, known := s.Ahead(to, self)
		g, err := agreement.Bounds(c.Model())
		if !known || err != nil || math.IsInf(g.Spread, 1) {
			return 0
		}
		if high(s, to) {
			return x + 0.95*g.Spread
		}
		return x - 0.95*g.Spread
	}
	low, top, known := hull(s, self)
	if !known {
		return 0
	}
	reach := (top-low)/2 + 2*c.ReadingError
	if high(s, to) {
		return top + reach
	}
	return low - reach
}

// drag is always a little ahead of the first.
func drag(s Sight, self, _ int, _ int64) float64 {
	_, top, known := hull(s, self)
	if !known {
		return 0
	}
	return top + 0.1*s.Config().ReadingError
}

// collude never leaves the range of where a correct clock may be.
func collude(s Sight, self, to int, _ int64) float64 {
	low, top, known := hull(s, self)
	switch {
	case !known:
		return 0
	case high(s, to):
		return top
	}
	return low
}

// bloc is 10 ms ahead of the middle of the correct clocks, and the same for all: more than f of that sort are found out.
func bloc(s Sight, self, _ int, _ int64) float64 {
	low, top, known := hull(s, self)
	if !known {
		return 0
	}
	return (low+top)/2 + 10e-3
}

// rateLiar claims the largest rate that is admitted to one half and the smallest to the other.
type rateLiar struct{ *shifter }

func (l *rateLiar) Answer(s Sight, self, to int, a *peerwire.Answer) bool {
	l.shifter.Answer(s, self, to, a)
	rate, t := s.Config().RateLimit*float64(1-2*(to%2)), l.stories[to]
	if t.now != 0 { // not asleep
		a.State.Current.Rate = rate
	}
	if t.before != 0 {
		a.State.Previous.Rate = rate
	}
	return true
}

// slow holds packets up, so that its intervals are wide.
type slow struct {
	*shifter
	rng         *rand.Rand
	most, until float64
}

func (l *slow) sleepUntil(until float64) {
	l.until = until
	l.shifter.sleepUntil(until)
}

func (l *slow) Hold(s Sight, _, _ int) float64 {
	if s.Now() < l.until {
		return 0
	}
	return l.most * l.rng.Float64()
}

// replayer answers with what it said when it had just come in, as if that had been an era of its own.
type replayer struct {
	prompt
	rng  *rand.Rand
	old  peerwire.Answer
	kept bool
}

func (l *replayer) Answer(_ Sight, _, _ int, a *peerwire.Answer) bool {
	if !l.kept && a.State.Status == agreement.Sync {
		l.old, l.kept = *a, true
		if l.old.State.Era ^= 1; l.old.State.Era == 0 {
			l.old.State.Era = 2
		}
	}
	if l.kept && l.rng.IntN(5) == 0 {
		*a = l.old
	}
	return true
}

// asleep returns l, but honest until a moment.
func asleep(l Liar, until float64) Liar {
	if s, ok := l.(interface{ sleepUntil(float64) }); ok {
		s.sleepUntil(until)
		return l
	}
	return &sleeper{Liar: l, until: until}
}

// sleeper is honest until a moment.
type sleeper struct {
	Liar
	until float64
}

func (l *sleeper) Answer(s Sight, self, to int, a *peerwire.Answer) bool {
	return s.Now() < l.until || l.Liar.Answer(s, self, to, a)
}

func (l *sleeper) Hold(s Sight, self, peer int) float64 {
	if s.Now() < l.until {
		return 0
	}
	return l.Liar.Hold(s, self, peer)
}

// equivocator contradicts itself.
type equivocator struct{ rng *rand.Rand }

func (l *equivocator) Answer(_ Sight, _, _ int, a *peerwire.Answer) bool {
	a.State.Current.Base = a.State.Current.Base.AddSeconds(l.rng.NormFloat64() * 1e-3)
	return true
}

func (*equivocator) Hold(Sight, int, int) float64 { return 0 }

// counterLiar moves its raw timeline about.
type counterLiar struct{ rng *rand.Rand }

func (l *counterLiar) Answer(_ Sight, _, _ int, a *peerwire.Answer) bool {
	x := l.rng.NormFloat64() * 100e-6
	a.Receive, a.Transmit = a.Receive.AddSeconds(x), a.Transmit.AddSeconds(x)
	return true
}

func (*counterLiar) Hold(Sight, int, int) float64 { return 0 }

// falseGroup is always in rounds of its own.
type falseGroup struct{ prompt }

func (falseGroup) Answer(_ Sight, self, _ int, a *peerwire.Answer) bool {
	a.State.Status = agreement.Sync
	a.State.Round += 1000 * int64(self+1)
	return true
}

// utcLiar is two-faced about UTC, also where it has no masters. Its clock is honest.
type utcLiar struct{ prompt }

func (*utcLiar) Answer(_ Sight, _, to int, a *peerwire.Answer) bool {
	x := 0.5 * float64(1-2*(to%2))
	for _, p := range []struct {
		e *agreement.External
		m *agreement.Map
	}{{&a.State.External, &a.State.Current}, {&a.State.ExternalPrevious, &a.State.Previous}} {
		if !p.e.Known {
			*p.e = agreement.External{Known: true, At: p.m.Ref, Base: p.m.Base, Low: -1e-6, High: 1e-6}
		}
		p.e.Base = p.e.Base.AddSeconds(x)
	}
	return true
}
