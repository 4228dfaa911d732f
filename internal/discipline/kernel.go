package discipline

import "math"

// Limits and units of adjtimex(2).
const (
	// FreqUnit is one unit of the kernel's frequency as a ratio: 2⁻¹⁶ ppm.
	FreqUnit = 1e-6 / 65536
	// NominalTick is the kernel's tick in microseconds per 1/100 s.
	NominalTick = 10000
	maxFreq     = 500 * 65536
	minTick     = 9000
	maxTick     = 11000
	// errorGrowth is how fast the kernel lets maxerror grow, s/s: 500 µs at each of the clock's seconds.
	errorGrowth = 500e-6
	// ErrorLimit is the largest maxerror, in microseconds: the kernel then says STA_UNSYNC itself.
	ErrorLimit = 16_000_000
)

// Bits of the kernel's status word.
const (
	StatusPLL      = 0x0001
	StatusPPSFreq  = 0x0002
	StatusPPSTime  = 0x0004
	StatusFLL      = 0x0008
	StatusInsert   = 0x0010
	StatusDelete   = 0x0020
	StatusUnsync   = 0x0040
	StatusFreqHold = 0x0080
	// statusOthers are bits by which something else steers the clock: the kernel's loops, and pulses on a line.
	statusOthers = StatusPLL | StatusFLL | StatusPPSFreq | StatusPPSTime
)

// States of the kernel's clock, what adjtimex(2) returns.
const (
	StateOK     = 0 // nothing is to come
	StateInsert = 1 // a second will be inserted at the end of the day
	StateDelete = 2
	StateOOP    = 3 // in the inserted second
	StateWait   = 4 // it is over; STA_INS has to be cleared
	StateError  = 5 // unsynchronised
)

// Kernel is what adjtimex(2) says of a clock.
type Kernel struct {
	Freq   int64 // units of FreqUnit
	Tick   int64 // µs per 1/100 s
	Status int32
	State  int
	TAI    int32
	// Offset is what the kernel's own loop still has to amortise, 0 unless somebody else uses it.
	Offset int64
}

// Rate returns the programmed rate error, as a ratio: the clock's seconds per second of the kernel's counter, minus 1.
func (k *Kernel) Rate() float64 { return rateOf(k.Tick, k.Freq) }

func rateOf(tick, freq int64) float64 {
	return float64(tick-NominalTick)/NominalTick + float64(freq)*FreqUnit
}

// program returns the tick and the frequency that are nearest to a rate error, clamped to what the kernel takes. The tick stays
// nominal while the frequency alone can do it.
func program(rate float64) (tick, freq int64) {
	tick = NominalTick
	if math.Abs(rate) > maxFreq*FreqUnit {
		tick = NominalTick + int64(math.Round(math.Max(-0.1, math.Min(0.1, rate))*NominalTick))
		tick = min(max(tick, minTick), maxTick)
	}
	rest := rate - float64(tick-NominalTick)/NominalTick
	freq = int64(math.Round(math.Max(-1, math.Min(1, rest)) / FreqUnit))
	return tick, min(max(freq, -maxFreq), maxFreq)
}
