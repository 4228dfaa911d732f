package metrics

import (
	"encoding/json"
	"math"

	"github.com/clockd/clockd/virtualclock"
)

// Figure is one measured number. Value means something only if Known; Samples is how many observations it comes from. Its unit is in
// the name of the field that holds it. In JSON an unknown value is null.
type Figure struct {
	Value   float64
	Samples uint64
	Known   bool
}

// figureJSON is how a Figure is written.
type figureJSON struct {
	Value   *float64 `json:"value"`
	Samples uint64   `json:"samples"`
}

// known is a figure from n observations, unknown if there were none or the value is not a finite number.
func known(value float64, n uint64) Figure {
	if n == 0 || !finite(value) {
		return Figure{Samples: n}
	}
	return Figure{value, n, true}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// pointer is nil for what is not known.
func pointer(value float64, isKnown bool) *float64 {
	if !isKnown || !finite(value) {
		return nil
	}
	return &value
}

// MarshalJSON writes {"value": number or null, "samples": n}.
func (f Figure) MarshalJSON() ([]byte, error) {
	return json.Marshal(figureJSON{pointer(f.Value, f.Known), f.Samples})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Figure) UnmarshalJSON(b []byte) error {
	var j figureJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*f = Figure{Samples: j.Samples}
	if j.Value != nil {
		f.Value, f.Known = *j.Value, true
	}
	return nil
}

// largest returns the larger of two figures, and the sum of their samples; what is unknown does not count.
func largest(a, b Figure) Figure {
	n := a.Samples + b.Samples
	if !a.Known || b.Known && b.Value > a.Value {
		a = b
	}
	a.Samples = n
	return a
}

// Extreme is a supremum and where it was attained first.
type Extreme struct {
	Figure
	// At is true time at which Value was attained, Clocks the numbers of the clocks: one for an accuracy, the one ahead and the one
	// behind for a precision.
	At     virtualclock.Time
	Clocks []int
}

// extremeJSON is how an Extreme is written.
type extremeJSON struct {
	figureJSON
	At     *virtualclock.Time `json:"at"`
	Clocks []int              `json:"clocks"`
}

// MarshalJSON writes a figure with "at" (nanoseconds since the Unix epoch, as text) and "clocks", null if nothing is known.
func (e Extreme) MarshalJSON() ([]byte, error) {
	j := extremeJSON{figureJSON: figureJSON{pointer(e.Value, e.Known), e.Samples}}
	if e.Known {
		j.At, j.Clocks = &e.At, e.Clocks
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Extreme) UnmarshalJSON(b []byte) error {
	var j extremeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*e = Extreme{Figure: Figure{Samples: j.Samples}}
	if j.Value != nil {
		e.Value, e.Known = *j.Value, true
	}
	if j.At != nil {
		e.At, e.Clocks = *j.At, j.Clocks
	}
	return nil
}

// peak follows a supremum without allocating.
type peak struct {
	value         float64
	at            virtualclock.Time
	first, second int
	samples       uint64
	known         bool
}

func (p *peak) note(value float64, at virtualclock.Time, first, second int) {
	p.samples++
	if !p.known || value > p.value {
		p.value, p.at, p.first, p.second, p.known = value, at, first, second, true
	}
}

// extreme returns what was found; second is −1 for figures of single clocks.
func (p *peak) extreme() Extreme {
	e := Extreme{Figure: Figure{Samples: p.samples}}
	if !p.known || !finite(p.value) {
		return e
	}
	e.Value, e.Known, e.At = p.value, true, p.at
	e.Clocks = []int{p.first}
	if p.second >= 0 {
		e.Clocks = append(e.Clocks, p.second)
	}
	return e
}
