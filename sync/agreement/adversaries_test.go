package agreement

import "math"

// adversary is a way to lie, and what goes with it.
type adversary struct {
	name string
	lie  lie
	// slow: the liars' packets are late, so that they are measured with wide intervals.
	slow bool
	// worst: it keeps the clocks apart, best together with oscillators that do too.
	worst bool
}

// toldKey is of whom, in which of the liar's rounds, a lie was told: a liar that is not to be caught tells each peer one story.
type toldKey struct {
	dest, epoch uint32
	round       int64
}

// stories keeps what was told.
type stories map[*host]map[toldKey]float64

// story returns the lie that l tells d of its clock of that round, made up when it is first asked for.
func (s stories) story(l, d *host, epoch uint32, round int64, makeUp func() float64) float64 {
	if s[l] == nil {
		s[l] = map[toldKey]float64{}
	}
	k := toldKey{uint32(d.id), epoch, round}
	x, ok := s[l][k]
	if !ok {
		x = makeUp()
		s[l][k] = x
	}
	return x
}

// shifted is a lie by an offset of the published maps.
func shifted(f func(w *world, l, d *host, round int64) float64) lie {
	s := stories{}
	return func(w *world, l, d *host, honest State) (State, bool) {
		one := func(m *Map, round int64) {
			x := s.story(l, d, honest.Epoch, round, func() float64 { return f(w, l, d, round) })
			m.Base = m.Base.AddSeconds(x)
		}
		one(&honest.Current, honest.Round)
		one(&honest.Previous, honest.Round-1)
		return honest, true
	}
}

// hullAt returns the lowest and the highest correct target clock relative to l's.
func (w *world) hullAt(l *host) (low, high float64) {
	v := l.group.Target(l.rawAt(w.now))
	low, high = math.Inf(1), math.Inf(-1)
	for _, h := range w.correct() {
		x := h.group.Target(h.rawAt(w.now)).Seconds(v)
		low, high = min(low, x), max(high, x)
	}
	return low, high
}

// splitter is the optimal two-faced clock of theory 3.6: it knows all clocks, and shows itself to each peer on the side to which
// that peer is to be kept, just far enough to be trimmed with the extreme ones, or for the egocentric average as far as it counts.
func splitter(w *world, l, d *host, _ int64) float64 {
	low, high := w.hullAt(l)
	reach := w.seen.spread*0.5 + 2*w.config.ReadingError
	if w.config.Algorithm == Egocentric {
		g := d.group
		x := g.Target(d.rawAt(w.now)).Seconds(l.group.Target(l.rawAt(w.now)))
		r := g.promised.Spread * 0.95
		if w.rank(d) >= 0.5 {
			return x + r
		}
		return x - r
	}
	if w.rank(d) >= 0.5 {
		return high + reach
	}
	return low - reach
}

// adversaries is the library of theory 7.3 and issue 4. Each call makes fresh ones, with no memory of other worlds.
func adversaries() []adversary {
	return []adversary{
		{name: "silent", lie: func(*world, *host, *host, State) (State, bool) { return State{}, false }},
		{name: "random", lie: shifted(func(w *world, _, _ *host, _ int64) float64 {
			return w.rng.NormFloat64() * math.Pow(10, float64(w.rng.IntN(9)-5))
		})},
		{name: "stuck", lie: shifted(func(w *world, l, _ *host, _ int64) float64 {
			return -w.now * 0.999
		})},
		{name: "fast", lie: shifted(func(w *world, _, _ *host, _ int64) float64 { return w.now * 300e-6 })},
		{name: "jumping", lie: shifted(func(w *world, _, _ *host, round int64) float64 {
			return float64(round/7%5-2) * 3e-3
		})},
		{name: "two-faced", worst: true, lie: shifted(splitter)},
		{name: "drag", lie: shifted(func(w *world, l, _ *host, _ int64) float64 {
			_, high := w.hullAt(l)
			return high + 0.1*w.config.ReadingError // always a little ahead of the first
		})},
		{name: "wide", slow: true, lie: shifted(func(w *world, l, d *host, _ int64) float64 {
			return w.rng.NormFloat64() * 1e-3
		})},
		{name: "replayed-era", lie: replayer()},
		{name: "colluding", worst: true, lie: shifted(func(w *world, l, d *host, _ int64) float64 {
			low, high := w.hullAt(l) // never outside of where a correct clock may be
			if w.rank(d) >= 0.5 {
				return high
			}
			return low
		})},
		{name: "sleeper", worst: true, lie: shifted(func(w *world, l, d *host, round int64) float64 {
			if w.now < 25 {
				return 0
			}
			return splitter(w, l, d, round)
		})},
		{name: "equivocator", lie: func(w *world, _, _ *host, honest State) (State, bool) {
			honest.Current.Base = honest.Current.Base.AddSeconds(w.rng.NormFloat64() * 1e-3)
			return honest, true
		}},
		{name: "counter", lie: func(w *world, l, _ *host, honest State) (State, bool) {
			l.raw.Line.T0 = l.anchor.AddSeconds(w.rng.NormFloat64() * 100e-6)
			return honest, true
		}},
		// Together with others it pretends to be a group, in rounds of its own, that nobody can enter.
		{name: "false-group", lie: func(w *world, l, _ *host, honest State) (State, bool) {
			honest.Status = Sync
			honest.Round += 1000 * int64(l.id)
			return honest, true
		}},
	}
}

// replayer now and then answers with a state of another era that it once had.
func replayer() lie {
	old := map[*host]State{}
	return func(w *world, l, d *host, honest State) (State, bool) {
		if _, ok := old[l]; !ok && honest.Status == Sync {
			old[l] = honest
		}
		if s, ok := old[l]; ok && w.rng.IntN(5) == 0 {
			s.Era ^= 1
			return s, true
		}
		return honest, true
	}
}

// slowLiars delays the packets of liars by milliseconds.
func slowLiars(w *world) func(from, to *host) float64 {
	return func(from, to *host) float64 {
		d := w.least + w.queue()
		if from.liar || to.liar {
			d += 2e-3 * w.rng.Float64()
		}
		return d
	}
}

// unfairDelays keep readers apart: whoever is ahead reads the others too far ahead, whoever is behind too far behind.
func unfairDelays(w *world) func(from, to *host) float64 {
	return func(from, to *host) float64 {
		a, b := from.group.Target(from.rawAt(w.now)), to.group.Target(to.rawAt(w.now))
		if a.After(b) {
			return w.least + 60e-6
		}
		return w.least
	}
}
