package sim

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/virtualclock"
)

// Scale is a deployment whose cost and precision are to be known: one full mesh, or many of them that are tied together.
//
// In a federation (CesiumSpray's shape) a core group of the same size has masters, and is hybrid. Of each other group the first Ties members
// follow three core hosts each, by plain NTP; the group agrees inside and is pulled to UTC by what they know. A host's packets do
// not grow with the number of hosts. What holds: inside a group its precision π_v, with f liars in it; between two hosts of different groups
// the sum of what each knows of its distance to UTC, while at most (Ties−1)/2 tie members of a group, and fewer than half of the core hosts
// that one follows, lie about UTC.
type Scale struct {
	// Groups is how many, the core not counted; 1 without a core is a plain mesh. Members is how many hosts each has.
	Groups, Members int
	// Ties is how many members of each group follow the core; 0: there is no core.
	Ties int
	// Probes is how often each peer is asked in a round of one second.
	Probes float64
	Length Length
	Seed   uint64
}

// ScaleResult is what was measured. Figures are of the second half of the run, in seconds; null is what does not apply.
type ScaleResult struct {
	Hosts   int `json:"hosts"`
	Groups  int `json:"groups"`
	Members int `json:"members"`
	Faults  int `json:"faults"`
	Ties    int `json:"ties"`
	// Inside a group: the largest and the median of the groups.
	Precision      Number `json:"precision_s"`
	PrecisionBound Number `json:"precision_bound_s"`
	RMSPairwise    Number `json:"rms_pairwise_error_s"`
	ReadingError   Number `json:"reading_error_s"`
	// All hosts: the largest difference of two, what is known of it on line (twice the largest distance to UTC that a host knows of itself),
	// and the RMS of the true errors.
	Across      Number `json:"across_s"`
	AcrossBound Number `json:"across_bound_s"`
	RMSError    Number `json:"rms_error_s"`
	// What a host sends in a second: requests and answers, and their UDP payloads; of the host that sends most, and on average.
	PacketRate     Number `json:"packets_per_host_per_s"`
	ByteRate       Number `json:"bytes_per_host_per_s"`
	MostPacketRate Number `json:"most_packets_per_host_per_s"`
	HostRounds     uint64 `json:"host_rounds"`
	Violations     uint64 `json:"bound_violations"`
	Events         uint64 `json:"events"`
}

const (
	coreMasters = 3
	coreFollow  = 3
)

func (c *Scale) group(name string) (*GroupConfig, error) {
	g := &GroupConfig{
		Name: name, Members: c.Members, Probes: c.Probes, RateLimitPPM: defaultDrift * 1e6, StartSpread: 2e-3, PublicationDelay: 0.26, Slew: 0.4, Timeout: 0.05,
	}
	if c.Ties > 0 {
		g.Gain, g.ExternalError = 0.25, 300e-6
		one := (c.Ties - 1) / 2
		g.ExternalFaults = &one
	}
	var err error
	if g.Delay, err = ParseDelay("50us + exp(10us)"); err != nil {
		return nil, err
	}
	return g, g.check(coreMasters)
}

// build makes the world.
func (c *Scale) build(client *ClientConfig, from Instant) (*World, error) {
	w := NewWorld(c.Seed, defaultStart())
	w.Sample = 250 * Millisecond
	attach := func(int, *Host) ([]*Host, error) { return nil, nil }
	path := PathConfig{}
	if c.Ties > 0 {
		core, err := c.group("core")
		if err != nil {
			return nil, err
		}
		path.Delay = core.Delay
		var masters []*Host
		for i := range coreMasters {
			h, err := w.AddHost(HostConfig{Name: fmt.Sprintf("gps%d", i+1), Master: &Master{Turnaround: Constant(defaultTurnaround), RootDispersion: 10e-6}})
			if err != nil {
				return nil, err
			}
			masters = append(masters, h)
		}
		g, err := core.AddGroup(w, client, from, func(_ int, h *Host) ([]*Host, error) { return masters, w.follow(h, masters, path) })
		if err != nil {
			return nil, err
		}
		attach = func(i int, h *Host) ([]*Host, error) {
			if i >= c.Ties {
				return nil, nil
			}
			var own []*Host
			for k := range coreFollow {
				own = append(own, g.Members[(int(h.index)+k)%len(g.Members)].Host)
			}
			return own, w.follow(h, own, path)
		}
	}
	for i := range c.Groups {
		g, err := c.group(fmt.Sprintf("g%d_", i+1))
		if err != nil {
			return nil, err
		}
		if _, err := g.AddGroup(w, client, from, attach); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// follow connects a host with its masters.
func (w *World) follow(h *Host, masters []*Host, path PathConfig) error {
	for i, m := range masters {
		to, err := w.NewPath(path, h.Name+"→"+m.Name)
		if err != nil {
			return err
		}
		from, err := w.NewPath(path, m.Name+"→"+h.Name)
		if err != nil {
			return err
		}
		if _, err := w.Connect(h, i+1, m, to, from); err != nil {
			return err
		}
	}
	return nil
}

// Run builds and measures. progress is as in Scenario.Run.
func (c *Scale) Run(progress func(part float64) error) (ScaleResult, error) {
	end := c.Length.Instant()
	client := ClientConfig{Poll: 1, Timeout: 0.2, SpreadPPM: 20, Oscillator: OscillatorConfig{RandomWalk: 1e-9}}
	w, err := c.build(&client, end/2)
	if err != nil {
		return ScaleResult{}, err
	}
	m := across{}
	for at := Second; at <= end; at += Second {
		if err := w.Run(at); err != nil {
			return ScaleResult{}, err
		}
		if at >= end/2 {
			m.look(w, c.Ties > 0)
		}
		if progress == nil {
			continue
		}
		if err := progress(float64(at) / float64(end)); err != nil {
			return ScaleResult{}, err
		}
	}
	return c.result(w, &m), nil
}

// across measures all hosts of a world against each other.
type across struct {
	difference, known float64
	errors            sumOfSquares
	// unknown: a host knew nothing of its distance to UTC.
	unknown bool
	wrong   uint64
}

func (m *across) look(w *World, tied bool) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, g := range w.groups {
		for _, q := range g.Members {
			h := q.Host
			if !h.Published || !q.settled() {
				m.unknown = true
				continue
			}
			x := h.Publication.Clock.Time(h.Reading(w.now)).Seconds(w.Truth(w.now))
			low, high = min(low, x), max(high, x)
			m.errors.add(x)
			if !tied {
				continue
			}
			if s := h.Node.Snapshot(h.Reading(w.now)).Group; s == nil || math.IsInf(s.ToUTC, 1) {
				m.unknown = true
			} else {
				m.known = max(m.known, s.ToUTC)
			}
		}
	}
	if high >= low {
		m.difference = max(m.difference, high-low)
	}
	if tied && !m.unknown && m.difference > 2*m.known {
		m.wrong++
	}
}

func (c *Scale) result(w *World, m *across) ScaleResult {
	r := ScaleResult{
		Groups: len(w.groups), Members: c.Members, Ties: c.Ties, Across: Number(m.difference), AcrossBound: known(2*m.known, c.Ties > 0 && !m.unknown),
		RMSError: missing(), Violations: m.wrong, Events: w.Events,
	}
	if c.Ties > 0 {
		r.RMSError = Number(m.errors.rms())
	}
	var pairs []float64
	seconds := w.now.Seconds()
	for _, g := range w.groups {
		x := g.Result()
		s := x.Group
		r.Hosts += len(g.Members)
		r.Faults = s.Faults
		r.Precision, r.ReadingError = max(r.Precision, s.Precision), max(r.ReadingError, s.ReadingError)
		r.PrecisionBound = max(r.PrecisionBound, s.PrecisionBound)
		pairs = append(pairs, float64(s.RMSPairwise))
		r.PacketRate += s.PacketRate * Number(len(g.Members))
		r.ByteRate += s.ByteRate * Number(len(g.Members))
		r.HostRounds += s.Rounds
		r.Violations += x.BoundViolations
		for _, q := range g.Members {
			r.MostPacketRate = max(r.MostPacketRate, Number(float64(q.Host.Packets+q.Answers)/seconds))
		}
	}
	r.PacketRate, r.ByteRate = r.PacketRate/Number(r.Hosts), r.ByteRate/Number(r.Hosts)
	r.RMSPairwise = Number(median(pairs))
	return r
}

// Work is an estimate of how long a run takes.
func (c *Scale) Work() float64 {
	return float64(c.Length) * float64(max(c.Groups, 1)*c.Members*c.Members) * c.Probes
}

// defaultStart is the true time at the beginning where no scenario says one.
func defaultStart() virtualclock.Time { return virtualclock.Unix(1_767_225_600_000_000_000, 0) }
