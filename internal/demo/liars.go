package demo

import (
	"math"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/internal/sim/adversary"
)

// longestHold is how long a liar may hold an answer back at most.
const longestHold = 50 * time.Millisecond

// liar is what makes a host lie to its peers: its daemon is honest, but what it answers is altered before it leaves.
type liar struct {
	crowd     *crowd
	mind      adversary.Liar
	adversary string
	self      int

	mu sync.Mutex
	// answers counts those that left, silent the requests that got none.
	answers, silent uint64
	// told is by how much its clock was shown ahead of what it is, to each peer the last time, NaN for nothing; low and high are
	// the extremes.
	told      []float64
	low, high float64
	altered   uint64
}

func newLiar(c *crowd, mind adversary.Liar, name string, self int) *liar {
	l := &liar{crowd: c, mind: mind, adversary: name, self: self, told: make([]float64, len(c.members)), low: math.Inf(1), high: math.Inf(-1)}
	for i := range l.told {
		l.told[i] = math.NaN()
	}
	return l
}

// answer is daemon.Options.Lie: the goroutine that answers waits here while an answer is held back.
func (l *liar) answer(to keys.PublicKey, a *peerwire.Answer) bool {
	peer, ok := l.crowd.identities[to]
	if !ok {
		return true
	}
	honest := *a
	answered := l.mind.Answer(l.crowd, l.self, peer, a)
	hold := l.mind.Hold(l.crowd, l.self, peer)
	l.note(peer, answered, &honest, a)
	if hold > 0 {
		time.Sleep(min(time.Duration(hold*1e9), longestHold))
	}
	return answered
}

// note keeps what was told.
func (l *liar) note(peer int, answered bool, honest, told *peerwire.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !answered {
		l.silent++
		return
	}
	l.answers++
	if *told != *honest {
		l.altered++
	}
	x := shownAhead(honest, told)
	l.told[peer], l.low, l.high = x, min(l.low, x), max(l.high, x)
}

// shownAhead is by how much the one who is told sees the liar's clock ahead of what it is: it takes the counter's reading from the
// stamps, and the clock from that by the map.
func shownAhead(honest, told *peerwire.Answer) float64 {
	at := honest.Transmit
	// By as much as its counter is shown ahead, all that is computed from it is.
	counter := told.Transmit.Seconds(honest.Transmit)
	return told.State.Current.At(at.AddSeconds(counter)).Seconds(honest.State.Current.At(at))
}

// lies is what a liar has told, for people.
type lies struct {
	answers, silent, altered uint64
	told                     []float64
	low, high                float64
}

func (l *liar) lies() lies {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lies{l.answers, l.silent, l.altered, append([]float64(nil), l.told...), l.low, l.high}
}
