package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// worldMaker draws scenarios whose assumptions hold, however nasty they are otherwise.
type worldMaker struct {
	r *rand.Rand
	s *Scenario
}

// length draws a length between two bounds, evenly on a logarithmic scale.
func (m *worldMaker) length(low, high float64) Length {
	return Length(low * math.Pow(high/low, m.r.Float64()))
}

func (m *worldMaker) chance(p float64) bool { return m.r.Float64() < p }

func (m *worldMaker) text(low, high float64) string {
	return fmt.Sprintf("%gs", float64(m.length(low, high)))
}

// delay draws an expression; scale is its usual size in seconds.
func (m *worldMaker) delay(t *testing.T, scale float64) Delay {
	text := "0"
	if m.chance(0.9) {
		text = m.text(scale/10, scale)
	}
	switch m.r.IntN(7) {
	case 0:
		text += " + exp(" + m.text(scale/100, scale) + ")"
	case 1:
		text += " + lognormal(" + m.text(scale/100, scale) + ", 1)"
	case 2:
		text += " + pareto(" + m.text(scale/1000, scale/10) + ", 1.2)"
	case 3:
		text += " + normal(" + m.text(scale/100, scale) + ", " + m.text(scale/100, scale) + ")"
	case 4:
		text += " + uniform(0s, " + m.text(scale/100, scale) + ")"
	case 5:
		text += fmt.Sprintf(" + %d%% exp(%s)", 1+m.r.IntN(50), m.text(scale, 10*scale))
	}
	return mustDelay(t, text)
}

func (m *worldMaker) path(t *testing.T, scale float64) *PathConfig {
	p := &PathConfig{Delay: m.delay(t, scale), Ordered: m.chance(0.2)}
	if m.chance(0.3) {
		p.Loss = m.r.Float64() * 0.6
	}
	if m.chance(0.3) {
		p.Duplicate = m.r.Float64()
	}
	if m.chance(0.3) {
		p.Congestion = CongestionConfig{On: m.length(1, 50), Off: m.length(1, 200), Delay: m.delay(t, 10*scale)}
	}
	return p
}

// oscillator draws one that stays within the bound, often at it.
func (m *worldMaker) oscillator(boundPPM float64) OscillatorConfig {
	c := OscillatorConfig{ClipPPM: boundPPM, OffsetPPM: (2*m.r.Float64() - 1) * boundPPM}
	switch m.r.IntN(6) {
	case 0:
		c.Square = SineConfig{PPM: boundPPM, Period: m.length(2, 400), Phase: m.r.Float64()}
		c.OffsetPPM = 0
	case 1:
		c.RandomWalk = boundPPM * 1e-6 * m.r.Float64() / 5
	case 2:
		c.Sine = SineConfig{PPM: boundPPM, Period: m.length(10, 1000), Phase: m.r.Float64()}
	case 3:
		c.WhiteFM, c.FlickerFM = boundPPM*1e-6*m.r.Float64(), boundPPM*1e-6*m.r.Float64()
	case 4:
		for range 5 {
			c.Steps = append(c.Steps, FrequencyStep{At: m.length(1, 600), PPM: (2*m.r.Float64() - 1) * 2 * boundPPM})
		}
	}
	return c
}

func (m *worldMaker) stamps(t *testing.T) StampConfig {
	switch m.r.IntN(4) {
	case 0:
		return StampConfig{Kind: "user", Transmit: m.delay(t, 50e-6), Receive: m.delay(t, 50e-6)}
	case 1:
		return StampConfig{Kind: "hardware", Error: m.length(1e-9, 1e-5), Report: m.delay(t, 1e-4)}
	case 2:
		return StampConfig{Kind: "kernel", Transmit: m.delay(t, 5e-6), Receive: m.delay(t, 5e-6), Report: m.delay(t, 1e-3)}
	}
	return StampConfig{}
}

// server draws an honest server: its claims cover its errors.
func (m *worldMaker) server(t *testing.T, name string, scale float64) ServerConfig {
	v := ServerConfig{Name: name, To: m.path(t, scale), From: m.path(t, scale), Interleaved: m.chance(0.5), Stratum: uint8(1 + m.r.IntN(15))}
	turnaround := m.delay(t, 100e-6)
	v.Turnaround = &turnaround
	if m.chance(0.3) {
		v.Receive, v.Transmit = m.delay(t, 50e-6), m.delay(t, 50e-6)
	}
	if m.chance(0.3) {
		v.Offset = m.length(1e-7, 1e-2)
		if m.chance(0.5) {
			v.Offset = -v.Offset
		}
		noise := m.length(1e-7, 1e-3)
		v.Noise = mustDelay(t, fmt.Sprintf("uniform(0s, %gs)", float64(noise)))
		claimed := Length(math.Abs(float64(v.Offset)) + float64(noise))
		v.RootDelay = claimed
		v.RootDispersion = claimed / 2
	}
	return v
}

// lie makes what a false server does on the timeline.
func (m *worldMaker) lie(name string) {
	for range 1 + m.r.IntN(4) {
		f := FaultConfig{At: m.length(1, float64(s600)), Server: name}
		offset, drift := m.length(1e-5, 100), (2*m.r.Float64()-1)*300
		if m.chance(0.5) {
			offset = -offset
		}
		forge := string(Forgeries()[m.r.IntN(len(Forgeries()))])
		yes, leap, kiss := true, uint8(3), "RATE"
		switch m.r.IntN(6) {
		case 0, 1:
			f.Offset = &offset
		case 2:
			f.DriftPPM = &drift
		case 3:
			f.Forge = &forge
		case 4:
			f.Leap = &leap
		case 5:
			if m.chance(0.5) {
				f.Dead = &yes
			} else {
				f.Kiss = &kiss
			}
		}
		if m.chance(0.5) {
			f.Until = f.At + m.length(1, 200)
		}
		m.s.Faults = append(m.s.Faults, f)
	}
}

const s600 = Length(600)

// trouble makes what happens to the client and the network.
func (m *worldMaker) trouble(scale float64) {
	for range m.r.IntN(4) {
		f := FaultConfig{At: m.length(1, float64(s600))}
		add, yes := m.length(scale/100, scale*10), true
		switch m.r.IntN(5) {
		case 0:
			f.AddTo, f.Until = &add, f.At+m.length(1, 300)
		case 1:
			f.AddFrom = &add
		case 2:
			f.Down, f.Until = &yes, f.At+m.length(1, 300)
		case 3:
			f.Pause = m.length(0.01, 100)
		case 4:
			f.Pause, f.CounterStops, f.Report = m.length(0.01, 100), true, "host_paused"
		}
		m.s.Faults = append(m.s.Faults, f)
	}
}

// scenario draws a whole one.
func (m *worldMaker) scenario(t *testing.T) *Scenario {
	bound := float64(m.length(1, 500))
	scale := float64(m.length(10e-6, 0.3))
	yes := m.chance(0.5)
	m.s = &Scenario{Name: "random", AssumptionsHold: true, Length: s600, Sample: m.length(0.05, 1)}
	m.s.Client = ClientConfig{
		StartError: Length((2*m.r.Float64() - 1) * 1e5), CounterHz: float64(m.length(1e5, 5e9)), Oscillator: m.oscillator(bound), Stamps: m.stamps(t),
		DriftBoundPPM: bound * (1 + 1e-9), MaxBound: m.length(1e-3, 10), Poll: m.length(0.1, 32), Timeout: m.length(0.05, 5), BurstSpacing: m.length(0.01, 1),
		Interleaved: &yes, MaxServerError: 10, MaxSlewPPM: float64(m.length(50, 5000)),
	}
	if m.chance(0.3) {
		m.s.Client.CounterHz = 1e9
	}
	if m.chance(0.3) {
		m.s.Client.TargetError, m.s.Client.MaxPoll = m.length(1e-6, 1e-2), m.s.Client.Poll*16
	}
	n := 1 + m.r.IntN(5)
	least := math.Inf(1)
	for i := range n {
		v := m.server(t, fmt.Sprintf("s%d", i+1), scale)
		least = min(least, v.To.Delay.Least(), v.From.Delay.Least())
		m.s.Servers = append(m.s.Servers, v)
	}
	if m.chance(0.3) {
		m.s.Client.MinDelay = Length(least * (1 - 1e-12))
	}
	for i := range (n - 1) / 2 {
		m.lie(m.s.Servers[i].Name)
	}
	m.trouble(scale)
	return m.s
}

// TestRandomWorlds: in no world whose assumptions hold is any interval ever wrong, at any event, whatever the network, the
// oscillator, the stamps and up to f liars do; and no clock jumps within its epoch.
func TestRandomWorlds(t *testing.T) {
	seed := testkit.Seed(t)
	worlds := uint64(150)
	if testing.Short() || raceDetector {
		worlds = 30
	}
	var checks, sound uint64
	for i := range worlds {
		m := &worldMaker{r: rand.New(rand.NewPCG(seed, i))}
		s := m.scenario(t)
		if err := s.check(); err != nil {
			t.Fatalf("world %d is refused: %v\n%+v", i, err, s)
		}
		results, err := s.Run(i, nil)
		if err != nil {
			t.Fatalf("world %d: %v", i, err)
		}
		r := &results[0]
		checks += r.BoundChecks
		if r.SoundFraction > 0 {
			sound++
		}
		if r.BoundViolations > 0 || r.Jumps > 0 {
			t.Fatalf("world %d: %d of %d intervals are wrong, %d jumps; the first: %+v\nclient %+v\nservers %+v\nfaults %+v\ntimeline %+v",
				i, r.BoundViolations, r.BoundChecks, r.Jumps, r.FirstViolation, s.Client, s.Servers, s.Faults, r.Timeline)
		}
	}
	if checks < worlds*500 || sound < worlds/2 {
		t.Errorf("in %d worlds only %d intervals were claimed, in %d of them: this proves little", worlds, checks, sound)
	}
}

// TestRandomWorldsHaveTeeth: the same worlds, with a node that is told one untruth, do contain wrong intervals. A test that cannot
// find them would prove nothing.
func TestRandomWorldsHaveTeeth(t *testing.T) {
	seed := testkit.Seed(t)
	for name, untruth := range map[string]func(s *Scenario) bool{
		"a drift bound that is too small": func(s *Scenario) bool {
			s.Client.DriftBoundPPM *= 0.7
			return true
		},
		"a least delay that is too long": func(s *Scenario) bool {
			s.Client.MinDelay = s.Client.MinDelay*1.5 + 1e-6
			return true
		},
		"servers that claim too little": func(s *Scenario) bool {
			for i := range s.Servers {
				s.Servers[i].RootDelay, s.Servers[i].RootDispersion = 0, 0
			}
			return true
		},
		"stamps that are not valid": func(s *Scenario) bool {
			s.Client.Stamps.Invalid = 100e-6
			return true
		},
		"a liar more than allowed": func(s *Scenario) bool {
			offset := Length(0.5)
			for i := range (len(s.Servers)-1)/2 + 1 {
				s.Servers[i].Offset = offset
			}
			return len(s.Servers) > 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range uint64(200) {
				m := &worldMaker{r: rand.New(rand.NewPCG(seed, i))}
				s := m.scenario(t)
				if !untruth(s) {
					continue
				}
				if err := s.check(); err != nil {
					t.Fatal(err)
				}
				results, err := s.Run(i, nil)
				if err != nil {
					t.Fatal(err)
				}
				if results[0].BoundViolations > 0 {
					return
				}
			}
			t.Error("in 200 worlds no interval was wrong")
		})
	}
}

// TestScenariosKeepTheirWord: in the scenarios of the program whose assumptions hold no interval is wrong, and where they are
// broken on purpose the checker sees it or the node says so.
func TestScenariosKeepTheirWord(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			if (testing.Short() || raceDetector) && s.Length > 10000 {
				t.Skip("long")
			}
			if s.Group != nil {
				t.Skip("TestGroupScenarios has them")
			}
			results, err := s.Run(1, nil)
			if err != nil {
				t.Fatal(err)
			}
			noticed := false
			for i := range results {
				r := &results[i]
				if s.AssumptionsHold && r.BoundViolations > 0 || r.Jumps > 0 {
					t.Errorf("%s: %d of %d intervals are wrong, %d jumps; the first: %+v", r.Client, r.BoundViolations, r.BoundChecks, r.Jumps, r.FirstViolation)
				}
				if s.AssumptionsHold && !(r.SoundFraction > 0.8) {
					t.Errorf("%s has a bound in only %g of the time", r.Client, float64(r.SoundFraction))
				}
				if s.AssumptionsHold && !(r.RegressionRMS < 10e-3) {
					t.Errorf("%s: the reference estimator is %g s off", r.Client, float64(r.RegressionRMS))
				}
				noticed = noticed || r.BoundViolations > 0 || r.Reasons["source sample_empty_interval"] > 0 || r.Reasons["clock no_majority"] > 0
			}
			if !s.AssumptionsHold && !noticed {
				t.Error("the assumptions are said to be broken, and nothing shows it")
			}
		})
	}
}

// TestBesideTheOracle guards the published scenarios: the median of a few seeds stays near what the data allow. The limit is the
// project's goal for the RMS, and a little more than was reached where chance in a few seeds matters (docs/estimation.md). The oracle on
// the very same samples is TestOracleOnTheSameSamples.
func TestBesideTheOracle(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("long")
	}
	for _, name := range []string{"lan_sw", "dc", "wan", "temp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			var all []Result
			for seed := range uint64(5) {
				r, err := s.Run(seed+1, nil)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, r...)
			}
			sum := s.Summarise(all)
			if sum.Ratios.RMSToOracle > 1.25 || sum.Ratios.RMSToChrony > 0.5 || sum.Ratios.P99ToChrony > 0.53 {
				t.Errorf("RMS %.3g s: %.2f times the oracle's, %.2f times chrony's; p99 %.2f times chrony's", sum.RMSError, sum.Ratios.RMSToOracle, sum.Ratios.RMSToChrony,
					sum.Ratios.P99ToChrony)
			}
			// The regression is there to stand in for a tuned chrony: within a fifth of its published figures.
			if x := float64(sum.RegressionRMS) / float64(s.Published.TunedRMS); x < 0.8 || x > 1.2 {
				t.Errorf("the regression's RMS is %.2f times that of a tuned chrony", x)
			}
		})
	}
}
