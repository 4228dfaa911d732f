package result

import (
	"errors"
	"fmt"
	"math"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// What a result may have at the most.
const (
	maxText   = 1 << 12
	maxSource = 1 << 18
	maxClocks = 1000
	maxList   = 20_000
	maxPoints = 100_000
	// maxTotal is how many points all series, curves and plots have together.
	maxTotal = 4_000_000
	// maxErrors is how many mistakes are told at once.
	maxErrors = 10
)

// complete makes all that is missing explicit: the format, and lists that are empty rather than null.
func (r *Result) complete() {
	r.Format, r.FormatVersion = Format, FormatVersion
	fill(reflect.ValueOf(r).Elem())
}

// fill replaces nil slices by empty ones.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Number]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		switch v.Type().Elem().Kind() {
		case reflect.Struct, reflect.Slice, reflect.Pointer:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		}
	}
}

// checker collects what is wrong, with its place.
type checker struct {
	errs   []error
	clocks map[string]bool
	total  int
}

func (c *checker) bad(place, format string, a ...any) {
	if len(c.errs) < maxErrors {
		c.errs = append(c.errs, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, a...)))
	}
}

// text checks a text: its length, and that no terminal is played with.
func (c *checker) text(place, s string, limit int) {
	switch {
	case len(s) > limit:
		c.bad(place, "%d bytes are more than the %d that are allowed", len(s), limit)
	case !utf8.ValidString(s):
		c.bad(place, "is no valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 }):
		c.bad(place, "has control characters")
	}
}

// texts checks every text in v, at any depth, and every number of elements.
func (c *checker) texts(place string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		limit := maxText
		if strings.HasSuffix(place, "scenario.source") {
			limit = maxSource
		}
		c.text(place, v.String(), limit)
	case reflect.Pointer:
		if !v.IsNil() {
			c.texts(place, v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Number]() {
			return
		}
		for i := range v.NumField() {
			c.texts(join(place, v.Type().Field(i).Tag.Get("json")), v.Field(i))
		}
	case reflect.Slice:
		limit := maxList
		if v.Type() == reflect.TypeFor[Column]() || v.Type() == reflect.TypeFor[[]uint64]() {
			limit = maxPoints
			c.total += v.Len()
		}
		if v.Len() > limit {
			c.bad(place, "%d elements are more than the %d that are allowed", v.Len(), limit)
			return
		}
		switch v.Type().Elem().Kind() {
		case reflect.Struct, reflect.Slice, reflect.String:
			for i := range v.Len() {
				c.texts(fmt.Sprintf("%s[%d]", place, i), v.Index(i))
			}
		}
	}
}

func join(place, key string) string {
	if place == "" {
		return key
	}
	return place + "." + key
}

// member checks that a value is one of a list.
func member[T ~string](c *checker, place string, x T, all ...T) {
	if !slices.Contains(all, x) {
		c.bad(place, "%q is none of %v", clip(string(x), 40), all)
	}
}

// check tells all that is wrong with a result.
func (r *Result) check() error {
	c := &checker{clocks: map[string]bool{}}
	c.texts("", reflect.ValueOf(r).Elem())
	if c.total > maxTotal {
		c.bad("series", "%d points in all are more than the %d that are allowed", c.total, maxTotal)
	}
	if len(c.errs) > 0 {
		return errors.Join(c.errs...)
	}
	member(c, "mode", r.Mode, ModeSim, ModeLive, ModeObserve, ModeCompare, ModeCourse)
	member(c, "truth", r.Truth, TruthExact, TruthEstimated)
	c.head(r)
	c.clockList(r.Clocks)
	for i := range r.Properties {
		c.property(fmt.Sprintf("properties[%d]", i), &r.Properties[i])
	}
	if k := &r.Checks; (k.Checked == nil) != (k.Wrong == nil) || k.Wrong != nil && *k.Wrong > *k.Checked {
		c.bad("checks", "intervals_wrong must be some of intervals_checked, or both null")
	}
	for i := range r.Violations {
		c.clock(fmt.Sprintf("violations[%d].clock", i), r.Violations[i].Clock)
	}
	c.seriesList(r.Series)
	for i := range r.Stability {
		c.curve(fmt.Sprintf("stability[%d]", i), &r.Stability[i])
	}
	for i := range r.Histograms {
		c.histogram(fmt.Sprintf("histograms[%d]", i), &r.Histograms[i])
	}
	for i := range r.Rounds {
		c.clock(fmt.Sprintf("rounds[%d].clock", i), r.Rounds[i].Clock)
	}
	for i := range r.Events {
		place := fmt.Sprintf("events[%d]", i)
		c.clock(place+".clock", r.Events[i].Clock)
		member(c, place+".kind", r.Events[i].Kind, EventStatus, EventFault, EventRepair, EventFinding, EventNote)
	}
	c.disagreement(r.Disagreement)
	for i := range r.Plots {
		for j := range r.Plots[i].Curves {
			if p := &r.Plots[i].Curves[j]; len(p.X) != len(p.Y) {
				c.bad(fmt.Sprintf("plots[%d].curves[%d]", i, j), "%d values of x and %d of y", len(p.X), len(p.Y))
			}
		}
	}
	return errors.Join(c.errs...)
}

func (c *checker) head(r *Result) {
	if r.Began != nil {
		if _, err := time.Parse(time.RFC3339Nano, *r.Began); err != nil {
			c.bad("began", "%q is no time of RFC 3339", clip(*r.Began, 40))
		}
	}
	if l, ok := r.Length.Value(); ok && l < 0 {
		c.bad("length_s", "%g is negative", l)
	}
	if r.Mode == ModeSim && (r.Seed == nil || r.Scenario == nil) {
		c.bad("seed", "a simulated run has a seed and a scenario")
	}
}

func (c *checker) clockList(all []Clock) {
	if len(all) > maxClocks {
		c.bad("clocks", "%d are more than the %d that are allowed", len(all), maxClocks)
	}
	for i := range all {
		place := fmt.Sprintf("clocks[%d]", i)
		k := &all[i]
		if k.Name == "" || c.clocks[k.Name] {
			c.bad(place+".name", "%q is empty or used twice", clip(k.Name, 40))
		}
		c.clocks[k.Name] = true
		member(c, place+".role", k.Role, RoleHost, RoleMaster, RolePeer, RoleLiar, RoleServer)
	}
}

// clock checks that there is such a clock.
func (c *checker) clock(place, name string) {
	if name != "" && !c.clocks[name] {
		c.bad(place, "there is no clock %q in clocks", clip(name, 40))
	}
}

func (c *checker) property(place string, p *Property) {
	if p.Name == "" {
		c.bad(place+".name", "is missing")
	}
	member(c, place+".known", p.Known, KnownExact, KnownSampled, KnownEstimated, KnownClaimed, KnownGiven, KnownNot)
	if _, ok := p.Value.Value(); !ok && p.Reason == "" {
		c.bad(place+".reason", "the value is missing, and nothing says why")
	}
	if u, ok := p.Uncertainty.Value(); ok && u < 0 {
		c.bad(place+".uncertainty", "%g is negative", u)
	}
}

func (c *checker) seriesList(all []Series) {
	seen := map[[3]string]bool{}
	for i := range all {
		s := &all[i]
		place := fmt.Sprintf("series[%d]", i)
		c.clock(place+".clock", s.Clock)
		member(c, place+".quantity", s.Quantity, TimeError, IntervalLow, IntervalHigh, ClaimedBound, Uncertainty, FrequencyError, Delay, Precision,
			PrecisionBound, Accuracy, AccuracyBound)
		if key := [3]string{s.Name, s.Clock, s.Peer}; seen[key] {
			c.bad(place+".name", "%q is used twice for the same clock", clip(s.Name, 40))
		} else {
			seen[key] = true
		}
		if s.File != "" && (path.IsAbs(s.File) || path.Clean(s.File) != s.File || strings.HasPrefix(s.File, "..") || strings.Contains(s.File, "\\")) {
			c.bad(place+".file", "%q is not inside of the result's directory", clip(s.File, 40))
		}
		if len(s.Times) != len(s.Values) {
			c.bad(place, "%d times and %d values", len(s.Times), len(s.Values))
		}
		c.rising(place+".t_s", s.Times, false)
	}
}

// rising checks that all values are known and that none is smaller than the one before, or, if strict, equal to it.
func (c *checker) rising(place string, x Column, strict bool) {
	for i, v := range x {
		if math.IsNaN(v) {
			c.bad(fmt.Sprintf("%s[%d]", place, i), "is missing")
			return
		}
		if i > 0 && (v < x[i-1] || strict && v == x[i-1]) {
			c.bad(fmt.Sprintf("%s[%d]", place, i), "%g comes after %g", v, x[i-1])
			return
		}
	}
}

func (c *checker) curve(place string, s *Curve) {
	c.clock(place+".clock", s.Clock)
	member(c, place+".statistic", s.Statistic, ADEV, OADEV, MDEV, TDEV, HDEV, MTIE, EnvelopeRate)
	n := len(s.Tau)
	if len(s.Values) != n || len(s.Counts) != n || len(s.Low) != len(s.High) || len(s.Low) != 0 && len(s.Low) != n {
		c.bad(place, "the lists tau_s, value, n and, if given, low and high are not of one length")
	}
	c.rising(place+".tau_s", s.Tau, true)
	if n > 0 && s.Tau[0] <= 0 {
		c.bad(place+".tau_s[0]", "%g is not above 0", s.Tau[0])
	}
}

func (c *checker) histogram(place string, h *Histogram) {
	c.clock(place+".clock", h.Clock)
	member(c, place+".direction", h.Direction, DirectionTo, DirectionFrom, DirectionRoundTrip)
	if len(h.Edges) != len(h.Counts)+1 {
		c.bad(place, "%d counts want one more edge, not %d", len(h.Counts), len(h.Edges))
	}
	c.rising(place+".edges", h.Edges, true)
}

func (c *checker) disagreement(d *Disagreement) {
	if d == nil {
		return
	}
	n := len(d.Clocks)
	for i, name := range d.Clocks {
		c.clock(fmt.Sprintf("disagreement.clocks[%d]", i), name)
	}
	square := func(key string, rows int, length func(i int) int) {
		if rows != n {
			c.bad("disagreement."+key, "%d rows for %d clocks", rows, n)
			return
		}
		for i := range rows {
			if length(i) != n {
				c.bad(fmt.Sprintf("disagreement.%s[%d]", key, i), "%d values for %d clocks", length(i), n)
			}
		}
	}
	square("offset_s", len(d.Offset), func(i int) int { return len(d.Offset[i]) })
	square("uncertainty_s", len(d.Uncertainty), func(i int) int { return len(d.Uncertainty[i]) })
	square("disagree", len(d.Disagree), func(i int) int { return len(d.Disagree[i]) })
}
