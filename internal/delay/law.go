package delay

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Law is a distribution of delays, written as an expression:
//
//	50us                        always so long; const(50us) is the same
//	uniform(a, b)               evenly between a and b
//	normal(mean, deviation)     a normal distribution, cut off below 0
//	exp(mean)                   an exponential distribution
//	lognormal(median, sigma)    median·e^(sigma·N)
//	pareto(scale, alpha)        scale·U^(−1/alpha), never below scale
//	5% X                        X with a probability of 5 %, and 0 otherwise
//	X + Y                       the sum of independent draws
//	( X )                       for grouping
//
// Lengths have a unit: ps, ns, us, µs, ms, s, min, h. A draw is never negative and at most 1000 s. The zero value is always 0.
type Law struct {
	text  string
	terms []term
}

type kind uint8

const (
	constant kind = iota
	uniform
	normal
	exponential
	logNormal
	pareto
	group
)

// term is one summand: a law with two parameters (seconds, or a shape), or a group.
type term struct {
	kind        kind
	a, b        float64
	probability float64
	group       []term
}

// What an expression may ask for.
const (
	maxDelay = 1000.0
	maxText  = 1000
	maxDepth = 8
)

// laws are the named laws: how many parameters they have, and which of them is a shape and not a length.
var laws = map[string]struct {
	kind       kind
	parameters int
	shape      bool // the second parameter is a number without unit
}{
	"const":       {constant, 1, false},
	"uniform":     {uniform, 2, false},
	"normal":      {normal, 2, false},
	"exp":         {exponential, 1, false},
	"exponential": {exponential, 1, false},
	"lognormal":   {logNormal, 2, true},
	"pareto":      {pareto, 2, true},
}

// Names returns the names of the laws, in order.
func Names() []string { return slices.Sorted(maps.Keys(laws)) }

// String returns the expression.
func (d Law) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// UnmarshalText reads an expression.
func (d *Law) UnmarshalText(b []byte) (err error) {
	*d, err = Parse(string(b))
	return err
}

// MarshalText writes the expression.
func (d Law) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Constant returns the distribution that is always s seconds.
func Constant(s float64) Law {
	s = min(max(s, 0), maxDelay)
	return Law{fmt.Sprintf("%gs", s), []term{{kind: constant, a: s, probability: 1}}}
}

// Draw returns one delay in seconds.
func (d *Law) Draw(r *rand.Rand) float64 { return min(drawSum(d.terms, r), maxDelay) }

// IsZero reports whether the delay is always 0.
func (d *Law) IsZero() bool { return len(d.terms) == 0 }

func drawSum(terms []term, r *rand.Rand) float64 {
	sum := 0.0
	for i := range terms {
		t := &terms[i]
		if t.probability < 1 && r.Float64() >= t.probability {
			continue
		}
		sum += t.draw(r)
	}
	return sum
}

func (t *term) draw(r *rand.Rand) float64 {
	switch t.kind {
	case uniform:
		return t.a + (t.b-t.a)*r.Float64()
	case normal:
		// The mean is not negative, so that at least every second draw is accepted.
		for {
			if x := t.a + t.b*r.NormFloat64(); x >= 0 {
				return x
			}
		}
	case exponential:
		return t.a * r.ExpFloat64()
	case logNormal:
		return t.a * math.Exp(t.b*r.NormFloat64())
	case pareto:
		return t.a * math.Exp(r.ExpFloat64()/t.b)
	case group:
		return drawSum(t.group, r)
	}
	return t.a
}

// Least returns the least delay that can be drawn, in seconds.
func (d *Law) Least() float64 { return leastSum(d.terms) }

func leastSum(terms []term) float64 {
	sum := 0.0
	for i := range terms {
		switch t := &terms[i]; {
		case t.probability < 1:
		case t.kind == constant, t.kind == uniform, t.kind == pareto:
			sum += t.a
		case t.kind == group:
			sum += leastSum(t.group)
		}
	}
	return sum
}

// Moments returns mean and variance in seconds and s², +Inf where a Pareto law has none. The limit of 1000 s is left aside.
func (d *Law) Moments() (mean, variance float64) { return momentsSum(d.terms) }

func momentsSum(terms []term) (mean, variance float64) {
	for i := range terms {
		t := &terms[i]
		m, v := t.moments()
		// A mixture with 0.
		p := t.probability
		mean += p * m
		variance += p*(v+m*m) - p*m*p*m
	}
	return mean, variance
}

func (t *term) moments() (mean, variance float64) {
	switch t.kind {
	case uniform:
		return (t.a + t.b) / 2, (t.b - t.a) * (t.b - t.a) / 12
	case normal:
		if t.b == 0 {
			return t.a, 0
		}
		// The truncated normal distribution: λ is the hazard at the cut.
		cut := -t.a / t.b
		lambda := math.Exp(-cut*cut/2) / math.Sqrt(2*math.Pi) / (math.Erfc(cut/math.Sqrt2) / 2)
		return t.a + t.b*lambda, t.b * t.b * (1 + cut*lambda - lambda*lambda)
	case exponential:
		return t.a, t.a * t.a
	case logNormal:
		s2 := t.b * t.b
		return t.a * math.Exp(s2/2), t.a * t.a * math.Exp(s2) * math.Expm1(s2)
	case pareto:
		mean, variance = math.Inf(1), math.Inf(1)
		if t.b > 1 {
			mean = t.a * t.b / (t.b - 1)
		}
		if t.b > 2 {
			variance = t.a * t.a * t.b / ((t.b - 1) * (t.b - 1) * (t.b - 2))
		}
		return mean, variance
	case group:
		return momentsSum(t.group)
	}
	return t.a, 0
}

// Parse reads an expression; an error says what is wrong and where.
func Parse(text string) (Law, error) {
	p := parser{text: text}
	if len(text) > maxText {
		return Law{}, fmt.Errorf("delay: an expression of %d bytes is longer than the %d that are allowed", len(text), maxText)
	}
	terms, err := p.sum(0)
	if err != nil {
		return Law{}, err
	}
	if p.skip(); p.at < len(p.text) {
		return Law{}, p.fail("expected + or the end")
	}
	return Law{strings.TrimSpace(text), simplify(terms)}, nil
}

// simplify drops the zeros, so that a delay that is always 0 has no terms.
func simplify(terms []term) []term {
	kept := terms[:0]
	for _, t := range terms {
		if t.kind == constant && t.a == 0 || t.probability == 0 {
			continue
		}
		kept = append(kept, t)
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

type parser struct {
	text string
	at   int
}

func (p *parser) fail(format string, a ...any) error {
	return fmt.Errorf("delay: %q: %s at character %d, such as 50us + exp(10us) + 5%% exp(1ms)", p.text, fmt.Sprintf(format, a...), p.at+1)
}

func (p *parser) skip() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t') {
		p.at++
	}
}

// take skips blanks and takes the byte c if it is next.
func (p *parser) take(c byte) bool {
	p.skip()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// sum := term { "+" term }
func (p *parser) sum(depth int) ([]term, error) {
	if depth > maxDepth {
		return nil, p.fail("more than %d brackets inside one another", maxDepth)
	}
	var terms []term
	for {
		t, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
		if !p.take('+') {
			return terms, nil
		}
	}
}

// term := [ number "%" ] ( law "(" … ")" | length | "(" sum ")" )
func (p *parser) term(depth int) (term, error) {
	p.skip()
	probability := 1.0
	start := p.at
	if word := p.word("0123456789.eE"); word != "" && p.take('%') {
		x, err := ParseNumber(word)
		if err != nil || !(x >= 0 && x <= 100) {
			p.at = start
			return term{}, p.fail("a probability is from 0%% to 100%%, not %s%%,", word)
		}
		probability = x / 100
	} else {
		p.at = start
	}
	t, err := p.factor(depth)
	t.probability = probability
	return t, err
}

func (p *parser) factor(depth int) (term, error) {
	p.skip()
	start := p.at
	if p.take('(') {
		terms, err := p.sum(depth + 1)
		if err != nil {
			return term{}, err
		}
		if !p.take(')') {
			return term{}, p.fail("a bracket is not closed")
		}
		return term{kind: group, group: simplify(terms)}, nil
	}
	word := p.word("")
	if word == "" {
		return term{}, p.fail("expected a length or a law")
	}
	law, known := laws[word]
	if known {
		return p.law(word, law.kind, law.parameters, law.shape)
	}
	s, err := p.length(word, start)
	return term{kind: constant, a: s}, err
}

// word takes characters of the set, or letters, digits and dots if the set is empty.
func (p *parser) word(set string) string {
	start := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		ok := strings.IndexByte(set, c) >= 0
		if set == "" {
			ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c >= 0x80 ||
				(c == '-' || c == '+') && p.at > start && (p.text[p.at-1] == 'e' || p.text[p.at-1] == 'E') && p.text[start] >= '0' && p.text[start] <= '9'
		}
		if !ok {
			break
		}
		p.at++
	}
	return p.text[start:p.at]
}

func (p *parser) length(word string, start int) (float64, error) {
	s, err := ParseLength(word)
	if err != nil || s < 0 || s > maxDelay {
		p.at = start
		return 0, p.fail("%q is neither a law nor a length from 0 to %g s", word, maxDelay)
	}
	return s, nil
}

// law := "(" parameter { "," parameter } ")"
func (p *parser) law(name string, kind kind, parameters int, shape bool) (term, error) {
	t := term{kind: kind}
	if !p.take('(') {
		return t, p.fail("%s needs its parameters in brackets", name)
	}
	values := []*float64{&t.a, &t.b}
	for i := range parameters {
		if i > 0 && !p.take(',') {
			return t, p.fail("%s has %d parameters", name, parameters)
		}
		p.skip()
		start := p.at
		word := p.word("")
		var err error
		if shape && i == 1 {
			if *values[i], err = ParseNumber(word); err != nil {
				p.at = start
				return t, p.fail("the second parameter of %s is a number without unit, not %q,", name, word)
			}
			continue
		}
		if *values[i], err = p.length(word, start); err != nil {
			return t, err
		}
	}
	if !p.take(')') {
		return t, p.fail("%s has %d parameters", name, parameters)
	}
	return t, p.plausible(name, &t)
}

func (p *parser) plausible(name string, t *term) error {
	switch {
	case t.kind == uniform && t.b < t.a:
		return p.fail("uniform(a, b) wants a ≤ b")
	case t.kind == logNormal && !(t.b >= 0 && t.b <= 5):
		return p.fail("the sigma of lognormal is from 0 to 5, not %g,", t.b)
	case t.kind == pareto && !(t.b >= 0.1 && t.b <= 100):
		return p.fail("the alpha of %s is from 0.1 to 100, not %g,", name, t.b)
	}
	return nil
}
