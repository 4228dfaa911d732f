package virtualclock

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// newTestPage is a Local whose counter the test sets.
func newTestPage(hertz float64) (*Local, *hw.Manual) {
	m := hw.NewManual(hw.Frequency{Hertz: hertz, ErrorPPB: 3})
	return NewLocal(m), m
}

func TestPageHoldsWhatWasPublished(t *testing.T) {
	r := newRand(t, 30)
	l, m := newTestPage(1e9)
	l.page.instance = 77
	for i := range 20_000 {
		k := randomCoefficients(r)
		k.Epoch = Epoch(i) // a new epoch each time: nothing is bridged
		if k.check() != nil {
			k.Status = Disrupted
		}
		why := reason.Code(r.IntN(int(reason.Count)))
		now := randomTicks(r)
		m.Set(now)
		leap := LeapState{TAI: int32(r.Uint32()), TAIKnown: r.IntN(2) == 0, Sign: int8(r.IntN(3) - 1), At: int64(r.Uint64()), Expires: int64(r.Uint64())}
		l.page.leap = leap
		if err := l.PublishReason(&k, why); err != nil {
			t.Fatal(err)
		}
		if got := l.view.words.decodeLeap(); got != leap {
			t.Fatalf("published %+v, read %+v", leap, got)
		}
		var got content
		c, bad := l.view.load(&got)
		want := content{Coefficients: k, notBefore: now - 1e6, published: now, frequency: hw.Frequency{Hertz: 1e9, ErrorPPB: 3}, instance: 77, why: why}
		if got != want || c != now || bad != reason.OK {
			t.Fatalf("published %+v\nread      %+v at %d: %v", want, got, c, bad)
		}
	}
}

// randomWords fills a page with words that are noise, or edges, or those of a proper page.
func randomWords(r *rand.Rand, p *pageWords, m *hw.Manual) {
	k := randomCoefficients(r)
	k.Status = []Status{Synchronised, Synchronised, Synchronised, Holdover, Disrupted}[r.IntN(5)]
	b := publisher{words: p, counter: m, sequence: uint64(r.IntN(1000)) * 2}
	m.Set(k.At + hw.Ticks(r.Uint64N(1<<30)))
	_ = b.publish(&k, reason.OK)
	for range r.IntN(4) {
		word := wordSequence + r.IntN(wordReason-wordSequence)
		switch r.IntN(4) {
		case 0:
			p.store(word, r.Uint64())
		case 1:
			p.store(word, []uint64{0, 1, math.MaxUint64, 1 << 63, 1<<63 - 1, 1 << 47, 1 << 48}[r.IntN(7)])
		case 2:
			p.store(word, p.load(word)^1<<r.IntN(64))
		case 3:
			p.store(word, p.load(wordSequence+r.IntN(wordReason-wordSequence)))
		}
	}
	switch r.IntN(4) {
	case 0:
		m.Set(k.At + hw.Ticks(int64(r.Uint64())>>r.IntN(63)))
	case 1:
		edge := []hw.Ticks{k.At, k.StaleAfter, k.VoidAfter, k.SlewEnd, k.At - 1e6}[r.IntN(5)]
		m.Set(edge + hw.Ticks(r.IntN(5)) - 2)
	default:
		m.Advance(r.Int64N(1 << 40))
	}
}

// TestFastPathAgreesWithSlowPath compares the two implementations of reading on pages of all kinds, damaged ones included.
func TestFastPathAgreesWithSlowPath(t *testing.T) {
	r := newRand(t, 31)
	m := hw.NewManual(hw.Frequency{Hertz: 1e9})
	v := newView(new(pageWords), m)
	var sound, fast int
	n := 300_000
	if raceEnabled {
		n = 30_000
	}
	for range n {
		randomWords(r, v.words, m)
		if v.words.load(wordSequence)&1 != 0 {
			v.words.store(wordSequence, 0) // waiting is tested elsewhere, and takes long
		}
		reading, want := v.look()
		earliest, latest, epoch, worth, why := v.now()
		status := worth.standing().Status
		if got := (Interval{earliest, latest, epoch, worth.standing()}); got != reading.Interval || why != want {
			t.Fatalf("now: %+v, %v; look: %+v, %v", got, why, reading.Interval, want)
		}
		if status.Sound() {
			sound++
		}
		if status == Synchronised {
			fast++
		}
		if latest.Before(earliest) {
			t.Fatalf("inverted: %v to %v", earliest, latest)
		}
	}
	if sound < n/10 || fast < n/20 {
		t.Errorf("only %d of %d were sound, %d fast", sound, n, fast)
	}
}

// FuzzPage: whatever 4096 bytes are called a page, reading them never panics and never gives a sound interval that is inverted.
func FuzzPage(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		m := hw.NewManual(hw.Frequency{Hertz: 1e9})
		p := new(pageWords)
		h := header{kind: kindOther, boot: [2]uint64{1, 2}, spec: m.Spec()}
		h.store(p)
		randomWords(r, p, m)
		b := make([]byte, pageSize)
		for i := range p {
			binary.LittleEndian.PutUint64(b[8*i:], p.load(i))
		}
		f.Add(b, uint64(m.Read()))
	}
	f.Add([]byte(pageMagic), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, c uint64) {
		m := hw.NewManual(hw.Frequency{Hertz: 1e9})
		m.Set(hw.Ticks(c))
		v := newView(new(pageWords), m)
		for i := 0; i+8 <= min(len(b), pageSize); i += 8 {
			v.words.store(i/8, binary.LittleEndian.Uint64(b[i:]))
		}
		if h, err := parseHeader(v.words); err == nil && (len(h.spec) == 0 || len(h.spec) > specBytes) {
			t.Fatalf("the spec has %d bytes", len(h.spec))
		}
		earliest, latest, _, worth, why := v.now()
		status := worth.standing().Status
		reading, _ := v.look()
		if latest.Before(earliest) || status > Synchronised || why >= reason.Count || status != Synchronised && why == reason.OK {
			t.Fatalf("%v to %v, %v, %v", earliest, latest, status, why)
		}
		if i := reading.Interval; i.Earliest != earliest || i.Latest != latest || i.Standing != worth.standing() {
			t.Fatalf("two readings at one counter reading: %+v and %v to %v %v", reading, earliest, latest, status)
		}
	})
}

// goodCoefficients is a clock at one tick per nanosecond, ±1000 ns at 10⁹, stale after 1 s, void after 2 s.
func goodCoefficients() *Coefficients {
	c := NewClock(1<<48, 500e-6)
	c.Step(1e9, Unix(5e18, 0), 0)
	c.SetBounds(1e9, Unix(5e18-1000, 0), Unix(5e18+1000, 0), Period(1<<48).Scale(-1e-4), Period(1<<48).Scale(1e-4))
	c.SetStatus(Synchronised, 2e9, 3e9)
	c.SetDifference(1 << 48)
	return c.Coefficients()
}

func TestPageLivesAndDies(t *testing.T) {
	l, m := newTestPage(1e9)
	expect := func(at hw.Ticks, status Status, why reason.Code) {
		t.Helper()
		m.Set(at)
		i, got := l.NowReason()
		r, again := l.ReadReason()
		if i.Status != status || got != why || again != why || r.Interval != i || r.Ticks != at {
			t.Errorf("at %d: %v, %v, %+v, %v; want %v, %v", at, i.Status, got, r, again, status, why)
		}
		if !i.Sound() && (i.Earliest != MinTime() || i.Latest != MaxTime() || l.After(MinTime()) || l.Before(MaxTime())) {
			t.Errorf("at %d: an unsound interval says something: %+v", at, i)
		}
	}
	expect(1, Unsynchronised, reason.NeverSynchronised)
	if got := l.Read().Time; got != MinTime() {
		t.Errorf("a clock that was never set shows %v", got)
	}
	m.Set(1e9)
	if err := l.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	expect(1e9, Synchronised, reason.OK)
	expect(2e9, Synchronised, reason.OK)
	expect(2e9+1, Holdover, reason.Stale)
	expect(3e9, Holdover, reason.Stale)
	expect(3e9+1, Unsynchronised, reason.PageVoid)
	expect(1e9-1e6, Synchronised, reason.OK) // another processor's counter, a little behind
	expect(1e9-1e6-1, Disrupted, reason.CounterBackwards)
	expect(5, Disrupted, reason.CounterBackwards)
	if got := l.Read().Time; got != MinTime() {
		t.Errorf("a counter that was reset shows %v", got)
	}
	m.Set(1.5e9)
	k := goodCoefficients()
	k.Status = Holdover
	for why, want := range map[reason.Code]reason.Code{reason.OK: reason.Stale, reason.BoundTooWide: reason.BoundTooWide} {
		if err := l.PublishReason(k, why); err != nil {
			t.Fatal(err)
		}
		expect(1.5e9, Holdover, want)
		expect(2.5e9, Holdover, want)
		m.Set(1.5e9)
	}
	k.Status = Disrupted
	if err := l.PublishReason(k, reason.HostSuspended); err != nil {
		t.Fatal(err)
	}
	expect(1.6e9, Disrupted, reason.HostSuspended)
}

func TestPageTellsTornFromRetired(t *testing.T) {
	l, m := newTestPage(1e9)
	m.Set(1e9)
	if err := l.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	good := l.view.words.load(wordSequence)
	for sequence, want := range map[uint64]reason.Code{good + 1: reason.PageTorn, pageRetired: reason.PageRetired, good: reason.OK} {
		l.view.words.store(wordSequence, sequence)
		if i, why := l.NowReason(); why != want || i.Sound() != (want == reason.OK) {
			t.Errorf("sequence %d: %+v, %v", sequence, i, why)
		}
		if _, why := l.Coefficients(); why != want {
			t.Errorf("sequence %d: coefficients: %v", sequence, why)
		}
	}
}

func TestContradictionsAreNotPublished(t *testing.T) {
	for name, spoil := range map[string]func(*Coefficients){
		"bounds":  func(k *Coefficients) { k.Earliest = k.Latest.Add(1) },
		"drift":   func(k *Coefficients) { k.Slow, k.Fast = k.Fast, k.Slow },
		"no rate": func(k *Coefficients) { k.Slow = 0 },
		"not set": func(k *Coefficients) { k.Steady = Line{} },
		"slewing": func(k *Coefficients) { k.Slew.Period = 0 },
		"status":  func(k *Coefficients) { k.Status = 9 },
	} {
		l, m := newTestPage(1e9)
		m.Set(1e9)
		k := goodCoefficients()
		if err := l.Publish(k); err != nil {
			t.Fatal(err)
		}
		spoil(k)
		if err := l.Publish(k); !errors.Is(err, reason.Contradiction) {
			t.Errorf("%s: %v", name, err)
		}
		if i, why := l.NowReason(); i.Status != Unsynchronised || why != reason.Contradiction {
			t.Errorf("%s: readers see %+v, %v", name, i, why)
		}
	}
}

func TestReasonsSurviveAnotherVersion(t *testing.T) {
	p := new(pageWords)
	for c := range reason.Count {
		if n := len(c.String()); n >= reasonBytes {
			t.Errorf("%v has %d characters; the page has room for %d and a NUL", c, n, reasonBytes-1)
		}
		p.storeText(wordReason, reasonBytes, c.String())
		for _, hint := range []reason.Code{c, 1, c + 1, 255} {
			if got := p.decodeReason(hint); got != c {
				t.Errorf("%v with hint %d was read as %v", c, hint, got)
			}
		}
	}
	p.storeText(wordReason, reasonBytes, "a_reason_of_the_far_future_12345678")
	if got := p.decodeReason(3); got != reason.OK {
		t.Errorf("an unknown name was read as %v", got)
	}
}

// TestPublicationIsMonotone: readers follow the old rate until a correction is published, which happens later than it is decided.
// Even so nobody ever sees the clock go back within an epoch, it never runs more than 10 ppm faster or slower than it was told
// to, and it comes back to what was decided.
func TestPublicationIsMonotone(t *testing.T) {
	r := newRand(t, 32)
	for range 2000 {
		hertz := math.Pow(10, 6+3.7*r.Float64())
		l, m := newTestPage(hertz)
		period := PeriodOf(hertz)
		c := NewClock(period, 500e-6)
		m.Set(hw.Ticks(r.Uint64()))
		c.Step(m.Read(), Unix(5e18, 0), 0)
		drift := 1e-3
		show := func() {
			c.SetBounds(m.Read(), c.Time(m.Read()).AddSeconds(-1), c.Time(m.Read()).AddSeconds(1), period.Scale(-drift), period.Scale(drift))
			c.SetStatus(Synchronised, m.Read()+hw.Ticks(hertz*1e4), m.Read()+hw.Ticks(hertz*2e4))
			if err := l.Publish(c.Coefficients()); err != nil {
				t.Fatal(err)
			}
		}
		show()
		last := l.Read()
		look := func() {
			now := l.Read()
			if now.Time.Before(last.Time) || now.Interval.Epoch != last.Interval.Epoch {
				t.Fatalf("%g Hz: %v at %d, after %v at %d", hertz, now.Time, now.Ticks, last.Time, last.Ticks)
			}
			elapsed := float64(now.Ticks-last.Ticks) / hertz
			if rate := now.Time.Seconds(last.Time)/elapsed - 1; elapsed > 1e-4 && math.Abs(rate) > 720e-6 {
				t.Fatalf("%g Hz: ran at %g for %g s", hertz, rate, elapsed)
			}
			last = now
		}
		for range 20 {
			c.Steer(m.Read(), c.Time(m.Read()).AddSeconds((r.Float64()-0.5)*1e-3), (r.Float64()-0.5)*400e-6, r.Float64())
			// The decision takes from 0 to 10 ms to be published; readers go on reading.
			for range 3 {
				m.Advance(int64(r.Float64() * math.Pow(10, -float64(r.IntN(6))) * 3e-3 * hertz))
				look()
			}
			show()
			for range 3 {
				look()
				m.Advance(int64(r.Float64() * math.Pow(10, -float64(r.IntN(8))) * hertz))
				look()
			}
		}
		m.Advance(int64(hertz * 100))
		look()
		if off := math.Abs(last.Time.Seconds(c.Time(last.Ticks))); off > 1e-9 {
			t.Fatalf("%g Hz: %g s away from what was decided", hertz, off)
		}
	}
}

func TestEpochsMayStep(t *testing.T) {
	l, m := newTestPage(1e9)
	m.Set(1e9)
	c := NewClock(1<<48, 500e-6)
	for i := range 5 {
		at := Unix(int64(5e18)-int64(i)*1e9, 0)
		c.Step(m.Read(), at, 0)
		c.SetBounds(m.Read(), at, at, 1<<48, 1<<48)
		c.SetStatus(Synchronised, m.Read()+1e9, m.Read()+1e9)
		if err := l.Publish(c.Coefficients()); err != nil {
			t.Fatal(err)
		}
		if r := l.Read(); r.Time != at || r.Interval != (Interval{at, at, Epoch(i + 1), Standing{Status: Synchronised}}) || r.Bound() != 0 {
			t.Errorf("after step %d: %+v", i, r)
		}
		m.Advance(1000)
	}
	if k, why := l.Coefficients(); why != reason.OK || k != *c.Coefficients() {
		t.Errorf("coefficients %+v, %v", k, why)
	}
}

func TestHeaderMistakesAreNamed(t *testing.T) {
	m := hw.NewManual(hw.Frequency{Hertz: 1e9})
	good := func() *pageWords {
		p := new(pageWords)
		h := header{kindOther, [2]uint64{7, 8}, m.Spec()}
		h.store(p)
		return p
	}
	if h, err := parseHeader(good()); err != nil || h.spec != m.Spec() || h.boot != [2]uint64{7, 8} || !h.sameCounter(m) {
		t.Errorf("%+v, %v", h, err)
	}
	for want, spoil := range map[reason.Code]func(*pageWords){
		reason.PageMagic:   func(p *pageWords) { p.store(wordMagic, 5) },
		reason.PageVersion: func(p *pageWords) { p.store(wordVersion, 2|pageSize<<32) },
		reason.PageSize:    func(p *pageWords) { p.store(wordVersion, 1|8192<<32) },
	} {
		p := good()
		spoil(p)
		if _, err := parseHeader(p); !errors.Is(err, want) {
			t.Errorf("%v: %v", want, err)
		}
	}
	for _, n := range []uint64{0, specBytes + 1, math.MaxUint64} {
		p := good()
		p.store(wordSpecLength, n)
		if _, err := parseHeader(p); !errors.Is(err, reason.PageSize) {
			t.Errorf("spec of %d bytes: %v", n, err)
		}
	}
	if (&header{kind: kindOther, spec: "manual(hz=5)"}).sameCounter(m) || (&header{kind: kindTSC, spec: m.Spec()}).sameCounter(m) {
		t.Error("two counters are taken for one")
	}
}
