package order

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/clockd/clockd/reason"
)

// Lamport is a logical clock (Lamport 1978): if one event may have caused another, its timestamp is less. The zero value is at 0. It
// needs no clock and no bound, and tells nothing of events that do not hear of each other. Any number of goroutines may use it.
type Lamport struct{ last atomic.Uint64 }

// Tick returns the timestamp of a local event, or of the sending of a message.
func (l *Lamport) Tick() (uint64, error) { return l.Witness(0) }

// Witness returns the timestamp of the receipt of a message that carries a timestamp. CounterExhausted: the message carries the largest
// number there is, and nothing has changed.
func (l *Lamport) Witness(remote uint64) (uint64, error) {
	for {
		last := l.last.Load()
		most := max(last, remote)
		if most == math.MaxUint64 {
			return last, fmt.Errorf("order: no timestamp after %d: %w", most, reason.CounterExhausted)
		}
		if l.last.CompareAndSwap(last, most+1) {
			return most + 1, nil
		}
	}
}

// Last returns the last timestamp.
func (l *Lamport) Last() uint64 { return l.last.Load() }
