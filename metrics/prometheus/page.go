package promexport

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// page is what one scrape is written on. Names, labels and the structures that hold them are kept for the next scrape; the values are
// of this one only, and what is not written again is not on it.
type page struct {
	known    map[seriesKey]*series
	families []dto.MetricFamily
	// order has the families by name.
	order []int
	codes *codes
	pairs map[[2]string]*dto.LabelPair
	// out is what list returns.
	out    []*dto.MetricFamily
	labels [][]string
	// scrape numbers the scrapes of this page.
	scrape uint64
	// written is how many series this scrape has.
	written int
}

// maxLabels is how many labels a series has at most.
const maxLabels = 3

// seriesKey is what makes a series: its family and the values of its labels.
type seriesKey struct {
	family family
	values [maxLabels]string
}

// series is one, with all that it consists of allocated at once.
type series struct {
	metric  dto.Metric
	gauge   dto.Gauge
	counter dto.Counter
	value   float64
	// scrape is the last that it was in.
	scrape uint64
}

func newPage(list []metric) *page {
	p := &page{known: map[seriesKey]*series{}, families: make([]dto.MetricFamily, len(list)), codes: newCodes(), pairs: map[[2]string]*dto.LabelPair{}}
	for i := range list {
		kind := dto.MetricType_GAUGE
		if list[i].kind == counter {
			kind = dto.MetricType_COUNTER
		}
		p.families[i].Name, p.families[i].Help, p.families[i].Type = proto.String(list[i].name), proto.String(list[i].help), &kind
		p.order = append(p.order, i)
		p.labels = append(p.labels, list[i].labels)
	}
	slices.SortFunc(p.order, func(a, b int) int { return strings.Compare(list[a].name, list[b].name) })
	return p
}

// begin clears the page.
func (p *page) begin() {
	p.scrape++
	p.written = 0
	for i := range p.families {
		p.families[i].Metric = p.families[i].Metric[:0]
	}
}

// put writes a series.
func (p *page) put(f family, x float64, values []string) {
	key := seriesKey{family: f}
	copy(key.values[:], values)
	s := p.known[key]
	if s == nil {
		s = p.create(&key)
		p.known[key] = s
	}
	if s.scrape == p.scrape {
		return // a series is on a page once
	}
	s.value, s.scrape = x, p.scrape
	p.written++
	p.families[f].Metric = append(p.families[f].Metric, &s.metric)
}

func (p *page) create(key *seriesKey) *series {
	s := &series{}
	for i, name := range p.labels[key.family] {
		s.metric.Label = append(s.metric.Label, p.pair(name, key.values[i]))
	}
	if p.families[key.family].GetType() == dto.MetricType_COUNTER {
		s.counter.Value, s.metric.Counter = &s.value, &s.counter
	} else {
		s.gauge.Value, s.metric.Gauge = &s.value, &s.gauge
	}
	return s
}

// pair returns a label. The pairs are shared by thousands of series.
func (p *page) pair(name, value string) *dto.LabelPair {
	key := [2]string{name, value}
	x := p.pairs[key]
	if x == nil {
		x = &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)}
		p.pairs[key] = x
	}
	return x
}

// end forgets series of before once they are more than those of now: sources come and go.
func (p *page) end() {
	if len(p.known) <= 2*p.written {
		return
	}
	for key, s := range p.known {
		if s.scrape != p.scrape {
			delete(p.known, key)
		}
	}
	clear(p.pairs)
	for i := range p.families {
		list := p.families[i].Metric
		clear(list[len(list):cap(list)])
	}
}

// list returns the families that have series, by name.
func (p *page) list() []*dto.MetricFamily {
	p.out = p.out[:0]
	for _, i := range p.order {
		if len(p.families[i].Metric) > 0 {
			p.out = append(p.out, &p.families[i])
		}
	}
	return p.out
}
