package metrics

import (
	"math"
	"math/bits"
)

// envelope brackets the MTIE of a time error that is continuous and piecewise affine, over windows of 1, 2, 4 … cells of true time.
// The extent of a cell is exact, since it is attained at breakpoints and at the cell's ends. A window of w cells touches w+1 cells, and
// w whole cells are such a window: that is the bracket.
type envelope struct {
	cell    float64
	cascade *cascade
	// start is when the present stretch began, and with it its first cell, so that all cells but the last are whole. number is the
	// present cell, present its extent so far.
	start, number float64
	present       extent
	started       bool
}

// maxCellsPerWindow keeps the memory bounded.
const maxCellsPerWindow = 1 << 14

// logarithm returns the smallest j with 2^j ≥ n, at most that of limit.
func logarithm(n, limit int) int { return bits.Len(uint(min(max(n, 1), limit) - 1)) }

func newEnvelope(cellSeconds float64, cellsPerWindow int) *envelope {
	return &envelope{cell: cellSeconds, cascade: newCascade(logarithm(cellsPerWindow, maxCellsPerWindow), false)}
}

// cut says that the clock stepped, or that it was not there: no window reaches across.
func (v *envelope) cut() {
	if v.started {
		v.cascade.cut(v.present)
		v.started = false
	}
}

// piece takes the error from a to b, in seconds, where it goes from x to y in a straight line. It begins where the last one ended,
// unless there was a cut.
func (v *envelope) piece(a, b, x, y float64) {
	if !v.started {
		v.started, v.start, v.number, v.present = true, a, 0, nothing()
	}
	from, to := (a-v.start)/v.cell, (b-v.start)/v.cell
	slope := (y - x) / (to - from)
	v.present = v.present.with(extent{x, x})
	for next := v.number + 1; next <= to; next = v.number + 1 {
		end := min(max(x+slope*(next-from), min(x, y)), max(x, y))
		v.cascade.add(v.present.with(extent{end, end}), true)
		v.number, v.present = next, extent{end, end}
	}
	v.present = v.present.with(extent{y, y})
}

// EnvelopePoint is one point of the curve MTIE(w)/w. The supremum over all windows of that length is between AtLeast and AtMost.
type EnvelopePoint struct {
	WindowSeconds float64 `json:"window_s"`
	// MTIESeconds is the larger side of the bracket, and Samples the windows that were looked at.
	MTIESeconds        Figure `json:"mtie_s"`
	MTIEAtLeastSeconds Figure `json:"mtie_at_least_s"`
	// AtMost and AtLeast are the same divided by the window: rates.
	AtMost  Figure `json:"rate"`
	AtLeast Figure `json:"rate_at_least"`
}

// curve returns the points for which there was a whole window.
func (v *envelope) curve() []EnvelopePoint {
	var out []EnvelopePoint
	tail := nothing()
	if v.started {
		tail = v.present
	}
	for k, f := range v.cascade.brackets(tail) {
		if f.windows == 0 {
			break
		}
		w := math.Ldexp(v.cell, k)
		out = append(out, EnvelopePoint{
			w, known(f.high, f.windows), known(f.low, f.windows), known(f.high/w, f.windows), known(f.low/w, f.windows),
		})
	}
	return out
}
