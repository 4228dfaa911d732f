package peerwire

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Stamper is what a host's answers to its peers are made of: its state and the raw timeline of the same era.
type Stamper struct {
	State agreement.State `json:"state"`
	// Raw is the raw timeline. It does not change while State.Era stays.
	Raw virtualclock.Line `json:"raw"`
	// Granularity of the counter in ticks: a reading c stands for the time from c to c+Granularity.
	Granularity uint64 `json:"granularity"`
}

// Answer returns the answer to a request that arrived with that stamp, where now is a counter reading just before the answer
// leaves. A stamp that says less than now is replaced by it.
func (s *Stamper) Answer(arrival hw.Stamp, now hw.Ticks) Answer {
	at := now
	if arrival.Kind != hw.StampNone && arrival.NotAfter().Before(now) {
		at = arrival.NotAfter()
	}
	a := Answer{State: s.State, Transmit: s.Raw.At(now)}
	// Rounded up: Line.At rounds down to 2⁻³² ns after its anchor. So it may be after Transmit, by no more than a tick.
	a.Receive = s.Raw.At(at.Add(int64(s.Granularity))).AddSeconds(1e-9)
	return a
}
