package hw

import (
	"fmt"
	"strconv"
	"sync/atomic"
)

// Manual is a counter whose reading is set by whoever owns it: for simulations and tests. It may be read and set concurrently.
// It exists in one process only: its Spec describes it, but Open refuses it.
type Manual struct {
	reading   atomic.Uint64
	frequency Frequency
}

// NewManual returns a Manual that reads 0 and says that it has the given nominal frequency.
func NewManual(f Frequency) *Manual { return &Manual{frequency: f} }

// Read returns what was set last.
func (m *Manual) Read() Ticks { return Ticks(m.reading.Load()) }

// Set sets the reading. It may be set backwards, as a broken counter goes.
func (m *Manual) Set(c Ticks) { m.reading.Store(uint64(c)) }

// Advance adds n ticks and returns the new reading.
func (m *Manual) Advance(n int64) Ticks { return Ticks(m.reading.Add(uint64(n))) }

// Frequency returns the nominal frequency.
func (m *Manual) Frequency() Frequency { return m.frequency }

// Spec returns the counter's description.
func (m *Manual) Spec() string { return nameManual + frequencyText(m.frequency) }

// frequencyText writes a frequency as the arguments of a spec, exactly.
func frequencyText(f Frequency) string {
	text := "(hz=" + strconv.FormatFloat(f.Hertz, 'f', -1, 64)
	if f.ErrorPPB != 0 {
		text += ",error_ppb=" + strconv.FormatFloat(f.ErrorPPB, 'g', -1, 64)
	}
	return text + ")"
}

var errManual = fmt.Errorf("it is set by hand inside one process and cannot be opened from a text")
