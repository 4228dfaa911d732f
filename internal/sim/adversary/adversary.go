package adversary

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/sync/agreement"
)

// Sight is what an omniscient liar sees at this instant. Members are numbered from 0 to Members()−1.
type Sight interface {
	// Now is true time in seconds since the beginning.
	Now() float64
	Members() int
	// Correct lists who does not lie.
	Correct() []int
	// Ahead is the clock of member minus that of of, in seconds; not known while one of them has none.
	Ahead(member, of int) (seconds float64, known bool)
	// Config is what the members have in common.
	Config() agreement.Config
}

// Liar is one lying member. It is used by one goroutine, and lies the same way whenever seed, calls and Sight are the same.
type Liar interface {
	// Answer may alter what self is about to tell a peer; false: it does not answer at all.
	Answer(s Sight, self, to int, a *peerwire.Answer) bool
	// Hold is for how long a packet between self and peer is held back on its way, in seconds.
	Hold(s Sight, self, peer int) float64
}

// Description is one behaviour.
type Description struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
}

// behaviour makes liars of one kind.
type behaviour struct {
	Description
	make func(rng *rand.Rand) Liar
}

// SleeperWakes is how long a "sleeper" behaves, in seconds.
const SleeperWakes = 25

// behaviours is the library. A function, so that nobody can change it.
func behaviours() []behaviour {
	shift := func(name, summary string, by func(rng *rand.Rand) offset) behaviour {
		return behaviour{Description{name, summary}, func(rng *rand.Rand) Liar { return newShifter(by(rng)) }}
	}
	plain := func(by offset) func(*rand.Rand) offset { return func(*rand.Rand) offset { return by } }
	return []behaviour{
		{Description{"silent", "never answers"}, func(*rand.Rand) Liar { return silent{} }},
		shift("random", "is off by anything from 10 µs to 1000 s, anew in each round for each peer", anywhere),
		shift("stuck", "its clock hardly moves", plain(func(s Sight, _, _ int, _ int64) float64 { return -0.999 * s.Now() })),
		shift("fast", "its clock runs 300 ppm fast", plain(func(s Sight, _, _ int, _ int64) float64 { return 300e-6 * s.Now() })),
		shift("jumping", "jumps by 3 ms every seven rounds", plain(func(_ Sight, _, _ int, round int64) float64 {
			return float64(round/7%5-2) * 3e-3
		})),
		shift("two-faced", "keeps the others apart: shows itself high to the high ones and low to the low ones (the optimal splitter)", plain(split)),
		{Description{"two-faced-rate", "two-faced in its clock and in the rate that it claims"}, func(*rand.Rand) Liar {
			return &rateLiar{newShifter(split)}
		}},
		shift("drag", "is always a little ahead of the first correct clock, at the edge of what is accepted", plain(drag)),
		{Description{"wide", "its packets are up to 2 ms late and its clock is off by about 1 ms"}, func(rng *rand.Rand) Liar {
			return &slow{shifter: newShifter(func(Sight, int, int, int64) float64 { return rng.NormFloat64() * 1e-3 }), rng: rng, most: 2e-3}
		}},
		{Description{"replayed-era", "now and then answers with what it said in an earlier era"}, func(rng *rand.Rand) Liar {
			return &replayer{rng: rng}
		}},
		shift("colluding", "with the others of its sort shows the high ones the highest and the low ones the lowest correct clock", plain(collude)),
		shift("bloc", "with the others of its sort shows all the same clock, 10 ms ahead of the correct ones", plain(bloc)),
		{Description{"sleeper", "is honest for 25 s, then two-faced"}, func(*rand.Rand) Liar {
			return asleep(newShifter(split), SleeperWakes)
		}},
		{Description{"equivocator", "tells another story in every answer"}, func(rng *rand.Rand) Liar { return &equivocator{rng} }},
		{Description{"counter", "lies about its raw counter by about 100 µs, anew in every answer"}, func(rng *rand.Rand) Liar {
			return &counterLiar{rng}
		}},
		{Description{"false-group", "pretends to be in rounds of its own, which nobody can enter"}, func(*rand.Rand) Liar { return falseGroup{} }},
		{Description{"false-utc", "shows each peer another estimate of UTC, half a second early or late"}, func(*rand.Rand) Liar {
			return &utcLiar{}
		}},
	}
}

// Names lists the behaviours.
func Names() []Description {
	var all []Description
	for _, b := range behaviours() {
		all = append(all, b.Description)
	}
	return all
}

// New returns a liar of the named sort. NAME@SECONDS is honest until then. seed must be another for each liar.
func New(name string, seed uint64) (Liar, error) {
	kind, at, waits := strings.Cut(name, "@")
	until := 0.0
	if waits {
		var err error
		if until, err = strconv.ParseFloat(at, 64); err != nil || !(until >= 0 && until <= 1e9) {
			return nil, fmt.Errorf("adversary: %.40q: what follows @ must be a number of seconds", name)
		}
	}
	var known []string
	for _, b := range behaviours() {
		known = append(known, b.Name)
		if b.Name != kind {
			continue
		}
		l := b.make(rand.New(rand.NewPCG(seed, 0x11a2)))
		if waits {
			l = asleep(l, until)
		}
		return l, nil
	}
	return nil, fmt.Errorf("adversary: there is no liar called %.40q; there are %s, and NAME@SECONDS for one that is honest until then",
		name, strings.Join(known, ", "))
}

// Mix returns count liars; the names are taken in turns.
func Mix(names []string, count int, seed uint64) ([]Liar, error) {
	if count > 0 && len(names) == 0 {
		return nil, fmt.Errorf("adversary: no behaviour is named for %d liars", count)
	}
	var all []Liar
	for i := range count {
		l, err := New(names[i%len(names)], seed+uint64(i)*0x9e3779b97f4a7c15)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}
