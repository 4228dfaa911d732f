package hw

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The limits of a spec's text: what is longer, deeper or has more steps is a mistake or an attack.
const (
	maxSpecBytes = 4096
	maxSpecDepth = 4
	maxSteps     = 64
)

// description is a parsed spec.
type description struct {
	name string
	// frequency is nil if the spec does not give one. Only for tsc, cntvct and manual.
	frequency *Frequency
	// timeNamespace is the inode that the spec gives, 0 if none. Only for monotonic_raw.
	timeNamespace uint64
	// The rest is for skewed only.
	base                *description
	skew                Skew
	hasStart, hasOrigin bool
}

// CheckSpec says whether a text is a well-formed spec, without touching the hardware. The grammar:
//
//	spec     = "auto"
//	         | "tsc" [ "(" "hz=" NUMBER [ "," "error_ppb=" NUMBER ] ")" ]
//	         | "cntvct" [ the same ]
//	         | "monotonic_raw" [ "(" "timens=" INTEGER ")" ]
//	         | "skewed" "(" spec { "," setting } ")"
//	setting  = "seed=" INTEGER                            seed of the random walk; 0 if absent
//	         | "ppm=" NUMBER                              constant frequency error in parts per million
//	         | "walk=" NUMBER                             random walk: standard deviation of the relative frequency per √s
//	         | "sine=" NUMBER "ppm/" NUMBER "s/" NUMBER   amplitude, period (≥ 10 s), phase at start in turns
//	         | "step=" NUMBER "ppm@" NUMBER "s"           the frequency changes by so much, so long after start; may be repeated
//	         | "jump=" NUMBER "s@" NUMBER "s"             the counter leaves out so much, so long after start; may be repeated
//	         | "ageing=" NUMBER "ppb/day"                 linear drift of the frequency
//	         | "limit=" NUMBER "ppm"                      no frequency error is larger than this; 100000 ppm if absent
//	         | "start=" INTEGER                           the base's reading at which the history begins; if absent, when opened
//	         | "origin=" INTEGER                          what the skewed counter reads there; as start if absent
//
// Spaces between the elements are ignored. A spec without hz, timens, start or origin is completed when it is opened, and the
// counter's Spec has them: it then reads the same in every process of the host. Seconds are those of the base counter at its
// nominal frequency.
func CheckSpec(spec string) error { _, err := parseSpec(spec); return err }

func parseSpec(spec string) (*description, error) {
	if len(spec) > maxSpecBytes {
		return nil, fmt.Errorf("hw: the counter's spec has %d bytes; at most %d are allowed", len(spec), maxSpecBytes)
	}
	d, err := parseDescription(spec, 0)
	if err != nil {
		return nil, fmt.Errorf("hw: counter spec %.200q: %w", spec, err)
	}
	return d, nil
}

func parseDescription(text string, depth int) (*description, error) {
	if depth >= maxSpecDepth {
		return nil, fmt.Errorf("counters are nested more than %d deep", maxSpecDepth)
	}
	name, arguments, err := splitCall(strings.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	d := &description{name: name}
	switch name {
	case nameAuto:
		if len(arguments) > 0 {
			return nil, fmt.Errorf("auto takes no settings")
		}
	case nameTSC, nameCNTVCT, nameManual:
		err = d.parseFrequency(arguments)
	case nameMonotonicRaw:
		err = d.parseTimeNamespace(arguments)
	case nameSkewed:
		err = d.parseSkewed(arguments, depth)
	default:
		err = fmt.Errorf("there is no counter %.40q; there are auto, tsc, cntvct, monotonic_raw and skewed(...)", name)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// splitCall splits "name(a,b(c,d),e)" into the name and its arguments, which are separated by the commas outside of inner
// parentheses.
func splitCall(text string) (name string, arguments []string, err error) {
	name, rest, called := strings.Cut(text, "(")
	name = strings.TrimSpace(name)
	if !called {
		return name, nil, nil
	}
	rest, closed := strings.CutSuffix(rest, ")")
	if !closed {
		return "", nil, fmt.Errorf("%.40q has no closing parenthesis at its end", name)
	}
	depth, begin := 0, 0
	for i := range len(rest) {
		switch rest[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				arguments = append(arguments, strings.TrimSpace(rest[begin:i]))
				begin = i + 1
			}
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return "", nil, fmt.Errorf("the parentheses of %.40q do not match", name)
	}
	return name, append(arguments, strings.TrimSpace(rest[begin:])), nil
}

// setting is one "key=value".
type setting struct{ key, value string }

// settings splits the arguments; only "step" and "jump" may appear twice.
func settings(arguments []string) ([]setting, error) {
	list := make([]setting, 0, len(arguments))
	seen := map[string]bool{}
	for _, a := range arguments {
		key, value, ok := strings.Cut(a, "=")
		s := setting{strings.TrimSpace(key), strings.TrimSpace(value)}
		if !ok || s.key == "" || s.value == "" {
			return nil, fmt.Errorf("%.40q is not of the form key=value", a)
		}
		if seen[s.key] && s.key != "step" && s.key != "jump" {
			return nil, fmt.Errorf("%s is given twice", s.key)
		}
		seen[s.key] = true
		list = append(list, s)
	}
	return list, nil
}

func (d *description) parseFrequency(arguments []string) error {
	list, err := settings(arguments)
	if err != nil || len(list) == 0 {
		return err
	}
	f := Frequency{}
	for _, s := range list {
		switch s.key {
		case "hz":
			f.Hertz, err = number(s.value, minHertz, maxHertz)
		case "error_ppb":
			f.ErrorPPB, err = number(s.value, 0, 1e9)
		default:
			err = fmt.Errorf("%s has no setting %.40q; it has hz and error_ppb", d.name, s.key)
		}
		if err != nil {
			return fmt.Errorf("%.40s: %w", s.key, err)
		}
	}
	if f.Hertz == 0 {
		return fmt.Errorf("%s: error_ppb without hz says nothing", d.name)
	}
	d.frequency = &f
	return nil
}

func (d *description) parseTimeNamespace(arguments []string) error {
	list, err := settings(arguments)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.key != "timens" {
			return fmt.Errorf("monotonic_raw has no setting %.40q; it has timens", s.key)
		}
		if d.timeNamespace, err = integer(s.value); err != nil {
			return fmt.Errorf("timens: %w", err)
		}
		if d.timeNamespace == 0 {
			return fmt.Errorf("timens: there is no time namespace 0; leave it out")
		}
	}
	return nil
}

func (d *description) parseSkewed(arguments []string, depth int) error {
	if len(arguments) == 0 {
		return fmt.Errorf("skewed needs the counter below it, as in skewed(tsc,ppm=30)")
	}
	base, err := parseDescription(arguments[0], depth+1)
	if err != nil {
		return err
	}
	list, err := settings(arguments[1:])
	if err != nil {
		return err
	}
	d.base = base
	for _, s := range list {
		if err := d.parseSkewSetting(s); err != nil {
			return fmt.Errorf("%.40s: %w", s.key, err)
		}
	}
	return d.skew.check()
}

func (d *description) parseSkewSetting(s setting) (err error) {
	k := &d.skew
	var n uint64
	switch s.key {
	case "seed":
		k.Seed, err = integer(s.value)
	case "ppm":
		k.PPM, err = number(s.value, -maxPPM, maxPPM)
	case "walk":
		k.WalkPerRootSecond, err = number(s.value, 0, maxWalk)
	case "sine":
		k.Sine, err = parseSine(s.value)
	case "step":
		var step FrequencyStep
		step, err = parseStep(s.value)
		k.Steps = append(k.Steps, step)
	case "jump":
		var jump CounterJump
		jump, err = parseJump(s.value)
		k.Jumps = append(k.Jumps, jump)
	case "ageing":
		k.AgeingPPBPerDay, err = suffixed(s.value, "ppb/day", -maxAgeing, maxAgeing)
	case "limit":
		k.LimitPPM, err = suffixed(s.value, "ppm", minLimit, maxPPM)
	case "start":
		n, err = integer(s.value)
		k.Start, d.hasStart = Ticks(n), true
	case "origin":
		n, err = integer(s.value)
		k.Origin, d.hasOrigin = Ticks(n), true
	default:
		err = fmt.Errorf("skewed has no such setting; it has seed, ppm, walk, sine, step, jump, ageing, limit, start and origin")
	}
	return err
}

func parseSine(text string) (Sine, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return Sine{}, fmt.Errorf("%.40q is not of the form 1ppm/3600s/0.25 (amplitude, period, phase in turns)", text)
	}
	amplitude, err := suffixed(parts[0], "ppm", -maxPPM, maxPPM)
	if err != nil {
		return Sine{}, err
	}
	period, err := suffixed(parts[1], "s", minSinePeriod, maxSeconds)
	if err != nil {
		return Sine{}, err
	}
	phase, err := number(parts[2], 0, 1)
	return Sine{amplitude, period, phase}, err
}

func parseStep(text string) (FrequencyStep, error) {
	by, at, ok := strings.Cut(text, "@")
	if !ok {
		return FrequencyStep{}, fmt.Errorf("%.40q is not of the form 2ppm@100s", text)
	}
	ppm, err := suffixed(by, "ppm", -maxPPM, maxPPM)
	if err != nil {
		return FrequencyStep{}, err
	}
	seconds, err := suffixed(at, "s", 0, maxSeconds)
	return FrequencyStep{ppm, seconds}, err
}

func parseJump(text string) (CounterJump, error) {
	by, at, ok := strings.Cut(text, "@")
	if !ok {
		return CounterJump{}, fmt.Errorf("%.40q is not of the form 2s@100s", text)
	}
	seconds, err := suffixed(by, "s", minJump, maxJump)
	if err != nil {
		return CounterJump{}, err
	}
	after, err := suffixed(at, "s", 0, maxSeconds)
	return CounterJump{seconds, after}, err
}

// suffixed reads a number with its unit.
func suffixed(text, unit string, least, most float64) (float64, error) {
	digits, ok := strings.CutSuffix(text, unit)
	if !ok {
		return 0, fmt.Errorf("%.40q does not end in %s", text, unit)
	}
	return number(digits, least, most)
}

// number reads a finite number in [least, most].
func number(text string, least, most float64) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a number", text)
	}
	if math.IsNaN(x) || x < least || x > most {
		return 0, fmt.Errorf("%.40s is outside of %g to %g", text, least, most)
	}
	return x + 0, nil // −0 becomes 0, which has one text only
}

func integer(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a whole number from 0 to 2⁶⁴−1", text)
	}
	return n, nil
}

// text writes the settings of a skew, each number exactly, in a fixed order.
func (k *Skew) text() string {
	g := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	var b strings.Builder
	fmt.Fprintf(&b, ",seed=%d", k.Seed)
	if k.PPM != 0 {
		b.WriteString(",ppm=" + g(k.PPM))
	}
	if k.WalkPerRootSecond != 0 {
		b.WriteString(",walk=" + g(k.WalkPerRootSecond))
	}
	if k.Sine.PPM != 0 {
		b.WriteString(",sine=" + g(k.Sine.PPM) + "ppm/" + g(k.Sine.PeriodSeconds) + "s/" + g(k.Sine.PhaseTurns))
	}
	for _, s := range k.Steps {
		b.WriteString(",step=" + g(s.PPM) + "ppm@" + g(s.AtSeconds) + "s")
	}
	for _, j := range k.Jumps {
		b.WriteString(",jump=" + g(j.Seconds) + "s@" + g(j.AtSeconds) + "s")
	}
	if k.AgeingPPBPerDay != 0 {
		b.WriteString(",ageing=" + g(k.AgeingPPBPerDay) + "ppb/day")
	}
	if k.LimitPPM != 0 {
		b.WriteString(",limit=" + g(k.LimitPPM) + "ppm")
	}
	fmt.Fprintf(&b, ",start=%d,origin=%d", uint64(k.Start), uint64(k.Origin))
	return b.String()
}
