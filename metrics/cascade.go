package metrics

import "slices"

// cascade brackets the largest extent within windows of 1, 2, 4, 8 … entries of a series, in memory that grows with the logarithm of
// its length. Level 0 sees the entries; each entry of level l+1 is the extent of two of level l. Windows of up to 2^top entries are
// followed at level 0, one entry at a time, and longer ones where they are 2^top entries long.
type cascade struct {
	top int
	// points: the entries are points in time and a window of m intervals holds m+1 of them. Otherwise they are intervals
	// themselves, and a window that begins within one touches m+1 of them, but holds no more than m whole ones for certain.
	points bool
	levels []*cascadeLevel
	found  []bracket
}

type cascadeLevel struct {
	sliding *sliding
	entries uint64
	// run is how many of the last entries were complete.
	run uint64
	// pending is the first entry of the pair that makes the next level's.
	pending         extent
	pendingComplete bool
	half            bool
}

// bracket is what is known of the windows of one length.
type bracket struct {
	// low: some window certainly has that extent. high: no complete window has a larger one.
	low, high float64
	// windows were complete, excluded had an entry that was not.
	windows, excluded uint64
}

// maxLevels is more than a lifetime of nanoseconds needs.
const maxLevels = 64

func newCascade(top int, points bool) *cascade {
	return &cascade{top: top, points: points, found: make([]bracket, top+1)}
}

// add takes the next entry. One that is not complete counts only for what some window has at least.
func (c *cascade) add(e extent, complete bool) {
	for number := range maxLevels {
		if number == len(c.levels) {
			c.levels = append(c.levels, &cascadeLevel{sliding: newSliding(c.top)})
			if number > 0 {
				c.found = append(c.found, bracket{})
			}
		}
		l := c.levels[number]
		l.sliding.add(e)
		l.entries++
		l.run++
		if !complete {
			l.run = 0
		}
		if number > 0 {
			c.note(c.top+number, l, c.top, false)
		} else {
			for j := range c.top + 1 {
				c.note(j, l, j, c.points)
			}
		}
		if !l.half {
			l.pending, l.pendingComplete, l.half = e, complete, true
			return
		}
		l.half = false
		e, complete = l.pending.with(e), complete && l.pendingComplete
	}
}

// note looks at the windows of 2^j entries of a level that end with the last one.
func (c *cascade) note(octave int, l *cascadeLevel, j int, exact bool) {
	f := &c.found[octave]
	wide := l.sliding.wider(j).length()
	narrow := wide
	if !exact {
		narrow = l.sliding.window(j).length()
	}
	span := uint64(1) << j
	// Since a cut there may have been less than a window yet: a stretch that is shorter has none of that length.
	if l.entries > span || l.entries == span && !exact {
		f.low = max(f.low, narrow) // the length of nothing is −∞
	}
	switch {
	case l.run > span:
		f.high = max(f.high, wide)
		f.windows++
	case l.entries > span:
		f.excluded++
	}
}

// cut says that what comes has nothing to do with what was, up to the tail: no window reaches across.
func (c *cascade) cut(tail extent) {
	c.found = c.brackets(tail)
	for _, l := range c.levels {
		*l = cascadeLevel{sliding: newSliding(c.top)}
	}
}

// brackets returns what is known of windows of 1, 2, 4 … entries, up to the very end: tail is the extent of an entry that is not over
// yet, or nothing. Blocks of a level that are not whole count as if they were: there is no more in them.
func (c *cascade) brackets(tail extent) []bracket {
	out := slices.Clone(c.found)
	for number, l := range c.levels {
		if number > 0 {
			c.touch(&out[c.top+number], l, c.top, tail)
		} else if !c.points {
			for j := range c.top + 1 {
				c.touch(&out[j], l, j, tail)
			}
		}
		if l.half {
			if !l.pendingComplete {
				break
			}
			tail = l.pending.with(tail)
		}
	}
	return out
}

// touch looks at the windows that reach from the last 2^j entries into the tail.
func (c *cascade) touch(f *bracket, l *cascadeLevel, j int, tail extent) {
	if l.run < 1<<j || c.points && tail == nothing() {
		return
	}
	f.high = max(f.high, l.sliding.window(j).with(tail).length())
	f.windows = max(f.windows, 1)
}
