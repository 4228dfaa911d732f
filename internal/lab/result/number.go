package result

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// Number is a figure that may be missing. The zero Number is missing, and null in JSON.
type Number struct {
	x     float64
	known bool
}

// Of returns x as a Number: missing if x is not a number or infinite.
func Of(x float64) Number {
	if !finite(x) {
		return Number{}
	}
	return Number{x, true}
}

// Value returns the figure; not ok if it is missing.
func (n Number) Value() (x float64, ok bool) { return n.x, n.known }

// Float returns the figure, not a number if it is missing.
func (n Number) Float() float64 {
	if !n.known {
		return math.NaN()
	}
	return n.x
}

// MarshalJSON writes the number, or null if it is missing.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.known {
		return []byte("null"), nil
	}
	return appendNumber(nil, n.x), nil
}

// UnmarshalJSON reads a number or null.
func (n *Number) UnmarshalJSON(b []byte) error {
	x, err := parseNumber(b)
	*n = Of(x)
	return err
}

// Column is a row of figures, as many as the times beside it; not a number where one is missing, which is null in JSON.
type Column []float64

// MarshalJSON writes an array of numbers and nulls.
func (c Column) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 2+12*len(c)), '[')
	for i, x := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if finite(x) {
			b = appendNumber(b, x)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, ']'), nil
}

// UnmarshalJSON reads an array of numbers and nulls.
func (c *Column) UnmarshalJSON(b []byte) error {
	var all []Number
	if err := json.Unmarshal(b, &all); err != nil {
		return &json.UnmarshalTypeError{Value: "what is no list of numbers and nulls", Type: reflect.TypeFor[Column]()}
	}
	*c = make(Column, len(all))
	for i, n := range all {
		(*c)[i] = n.Float()
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// appendNumber writes the shortest text that reads as x, in the way of encoding/json.
func appendNumber(b []byte, x float64) []byte {
	format := byte('f')
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, x, format, -1, 64)
}

func parseNumber(b []byte) (float64, error) {
	if string(b) == "null" {
		return math.NaN(), nil
	}
	x, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !finite(x) {
		return math.NaN(), &json.UnmarshalTypeError{Value: strconv.Quote(clip(string(b), 40)), Type: reflect.TypeFor[float64]()}
	}
	return x, nil
}

// clip shortens foreign text for a message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
