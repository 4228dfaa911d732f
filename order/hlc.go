package order

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Hybrid is a timestamp of a hybrid logical clock: a time, and a counter for events that share it.
type Hybrid struct {
	Time    virtualclock.Time
	Logical uint32
}

// Compare returns −1, 0 or +1. Timestamps of different nodes may be equal; a Key of time, node and counter never is.
func (h Hybrid) Compare(o Hybrid) int {
	if c := h.Time.Compare(o.Time); c != 0 {
		return c
	}
	return cmp.Compare(h.Logical, o.Logical)
}

// HybridSize is the length of an encoded Hybrid in bytes.
const HybridSize = 16

// AppendBinary appends the timestamp in HybridSize bytes whose order, byte by byte, is that of the timestamps: nanoseconds since the
// Unix epoch plus 2⁶³, the fraction in 2⁻³² ns, the counter, all big-endian.
func (h Hybrid) AppendBinary(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(appendTime(b, h.Time), h.Logical), nil
}

// MarshalBinary is AppendBinary to nothing.
func (h Hybrid) MarshalBinary() ([]byte, error) { return h.AppendBinary(make([]byte, 0, HybridSize)) }

// UnmarshalBinary reads what AppendBinary wrote.
func (h *Hybrid) UnmarshalBinary(b []byte) error {
	if len(b) != HybridSize {
		return fmt.Errorf("order: a hybrid timestamp has %d bytes, not %d: %w", HybridSize, len(b), reason.EncodingMalformed)
	}
	*h = Hybrid{readTime(b), binary.BigEndian.Uint32(b[12:])}
	return nil
}

// HLC is a hybrid logical clock (Kulkarni et al. 2014): if one event may have caused another its timestamp is less, and each timestamp
// is close to the time at which it was given. How close is not a constant that somebody guessed but the clock's interval:
// every timestamp that is given lies in the interval that was read for it. Three things follow:
//
//   - if the intervals of two events tell their order, so do their timestamps, whether the events hear of each other or not;
//   - a message whose timestamp is after the receiver's latest possible time proves that some clock is out of its bound, since an
//     honest sender's timestamp is not after its own earliest possible time. It is refused (ClockAhead) and changes nothing;
//   - no sender, whatever it sends, gets the clock further ahead than the receiver's own bound.
//
// Any number of goroutines may use it.
type HLC struct {
	mu    sync.Mutex
	guard guard
	last  Hybrid
}

// NewHLC makes a hybrid logical clock.
func NewHLC(clock virtualclock.Source) *HLC {
	return &HLC{guard: guard{clock: clock}, last: Hybrid{Time: virtualclock.MinTime()}}
}

// Now returns the timestamp of a local event, or of the sending of a message. It refuses while the clock is not sound and when it was
// stepped, until Resume; and with ClockAhead if the last timestamp is after the latest possible time, which can be only if a clock
// was out of its bound, and passes as time goes on.
func (h *HLC) Now() (Hybrid, error) {
	h.mu.Lock()
	i, err := h.guard.look("take a timestamp")
	if err != nil {
		h.mu.Unlock()
		return Hybrid{}, err
	}
	t, ok := h.advance(&i, Hybrid{Time: virtualclock.MinTime()})
	h.mu.Unlock()
	if !ok {
		return Hybrid{}, ahead(t, &i)
	}
	return t, nil
}

// Receive returns the timestamp of the receipt of a message that carries timestamp m: later than m and than all before. It refuses as
// Now does, and with ClockAhead if no clock within its bound can have given m; then m has left no trace.
func (h *HLC) Receive(m Hybrid) (Hybrid, error) {
	h.mu.Lock()
	i, err := h.guard.look("receive a timestamp")
	if err != nil {
		h.mu.Unlock()
		return Hybrid{}, err
	}
	t, ok := h.advance(&i, m)
	h.mu.Unlock()
	if !ok {
		return Hybrid{}, ahead(t, &i)
	}
	return t, nil
}

// advance gives the next timestamp after h.last and m, in the interval. Not ok: there is none, and the one in the way is returned.
func (h *HLC) advance(i *virtualclock.Interval, m Hybrid) (Hybrid, bool) {
	t := h.last
	if t.Compare(m) < 0 {
		t = m
	}
	switch {
	case t.Time.Before(i.Earliest):
		t = Hybrid{Time: i.Earliest}
	case i.Latest.Before(t.Time) || t.Logical == math.MaxUint32:
		return t, false
	default:
		t.Logical++
	}
	h.last = t
	return t, true
}

// ahead says why there is no timestamp after t in the interval.
func ahead(t Hybrid, i *virtualclock.Interval) error {
	if t.Logical == math.MaxUint32 && !i.Latest.Before(t.Time) {
		return fmt.Errorf("order: no timestamp after %v, %d: %w", t.Time, t.Logical, reason.CounterExhausted)
	}
	return fmt.Errorf("order: the timestamp %v is after the latest possible time %v: %w", t.Time, i.Latest, reason.ClockAhead)
}

// Last returns the last timestamp; its Time is MinTime if there was none.
func (h *HLC) Last() Hybrid {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Resume goes on after the clock was stepped: the caller says by it that it has dealt with timestamps that may have been wrong. They
// go on growing: if the clock was stepped back, Now refuses with ClockAhead until time has caught up.
func (h *HLC) Resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guard.resume()
}
