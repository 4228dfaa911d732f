package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/internal/testkit"
)

// groupMaker draws groups in which never more than f members are faulty, however nasty they and the rest are.
type groupMaker struct {
	r *rand.Rand
	b strings.Builder
}

func (m *groupMaker) print(format string, a ...any) { fmt.Fprintf(&m.b, format, a...) }

func (m *groupMaker) chance(p float64) bool { return m.r.Float64() < p }

func (m *groupMaker) one(of ...string) string { return of[m.r.IntN(len(of))] }

// scenario draws one. Of the f that may be faulty some lie; the others are killed, cut off, paused and slowed down.
func (m *groupMaker) scenario() string {
	n := 4 + m.r.IntN(7)
	f := (n - 1) / 3
	liars := m.r.IntN(f + 1)
	hybrid := m.chance(0.3)
	m.print("length = \"70s\"\nsample = \"250ms\"\nassumptions_hold = true\ndiscard = 0.3\n[client]\npoll = \"1s\"\ntimeout = \"200ms\"\n")
	driven := m.chance(0.6)
	if !driven {
		m.print("spread_ppm = %g\n", 45*m.r.Float64())
	}
	m.print("[client.oscillator]\n[client.stamps]\nkind = %q\n", m.one("user", "kernel", "hardware"))
	if m.chance(0.5) {
		m.print("transmit = \"2us + exp(3us)\"\nreceive = \"3us + exp(5us)\"\n")
	}
	if hybrid {
		m.print("[[server]]\nname = \"gps\"\ncount = 3\ndelay = \"30us + exp(10us)\"\nroot_dispersion = \"20us\"\nnoise = \"uniform(0s, 20us)\"\n")
	}
	m.print("[group]\nmembers = %d\nliar_count = %d\nliars = [", n, liars)
	for range 3 {
		d := adversary.Names()[m.r.IntN(len(adversary.Names()))].Name
		if m.chance(0.3) {
			d += fmt.Sprintf("@%d", 20+m.r.IntN(30))
		}
		m.print("%q, ", d)
	}
	m.print("]\nalgorithm = %q\n", m.one("iftm", "iftm", "fta", "ftm"))
	m.print("delay = \"%s\"\nstart_spread = %q\nprobes = %d\n", m.one("50us", "50us + exp(10us)", "50us + exp(10us) + 20% exp(50us)", "uniform(50us, 150us)"),
		m.one("1us", "1ms", "1s", "10h"), 4+m.r.IntN(5))
	m.print("timeout = \"60ms\"\npublication_delay = \"300ms\"\nslew = %q\nloss = %g\nduplicate = %g\n", m.one("100ms", "300ms"), m.r.Float64()*0.05, m.r.Float64()*0.1)
	if driven {
		m.print("drive = %q\n", m.one("bang_bang", "random", "split", "swap"))
	}
	if m.chance(0.4) {
		m.print("unfair = \"60us\"\n")
	}
	if m.chance(0.4) {
		m.print("min_delay = \"49.9us\"\n")
	}
	if m.chance(0.5) || hybrid {
		m.print("rate_limit_ppm = 50\n")
	}
	if hybrid {
		m.print("gain = %g\nexternal_error = \"500us\"\n", 0.1+0.4*m.r.Float64())
		m.print("[[fault]]\nat = \"25s\"\nuntil = \"45s\"\nserver = \"gps2\"\n%s\n", m.one("dead = true", "offset = \"30ms\"", "drift_ppm = 40", "offset = \"-100us\""))
	}
	for k := range f - liars {
		m.fault(k + 1)
	}
	return m.b.String()
}

// fault makes member number k faulty for a while.
func (m *groupMaker) fault(k int) {
	at := 15 + 20*m.r.Float64()
	m.print("[[fault]]\nat = \"%.3fs\"\nuntil = \"%.3fs\"\n", at, at+0.2+20*m.r.Float64()*m.r.Float64())
	switch m.r.IntN(4) {
	case 0:
		m.print("members = [\"m%d\"]\nkill = true\nrestart_error = %q\n", k, m.one("-1h", "5ms", "300s"))
	case 1:
		m.print("partition = [\"m%d\"]\n", k)
	case 2:
		m.print("members = [\"m%d\"]\nadd_in = %q\nadd_out = %q\n", k, m.one("0s", "50ms", "1ms"), m.one("0s", "50ms", "300us"))
	case 3:
		m.print("client = \"m%d\"\npause = %q\n", k, m.one("50ms", "700ms", "8s"))
	}
}

// TestRandomGroups: with at most f faulty members no two intervals are apart, no order of events is told wrongly, no bound for the ε that was
// used is exceeded, UTC is where it is said to be, and no clock jumps.
func TestRandomGroups(t *testing.T) {
	first := testkit.Seed(t)
	worlds := uint64(randomGroups)
	if raceDetector || testing.Short() {
		worlds = 4
	}
	const parts = 4
	for part := range uint64(parts) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for i := part; i < worlds; i += parts {
				seed := first + i
				m := groupMaker{r: rand.New(rand.NewPCG(seed, 31))}
				text := m.scenario()
				s, err := Parse("random", []byte(text))
				if err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, text)
				}
				results, err := s.Run(seed, nil)
				if err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, text)
				}
				r := &results[0]
				g := r.Group
				if r.BoundViolations > 0 || r.Jumps > 0 || g.Backwards > 0 || len(g.Exceeded) > 0 {
					t.Errorf("seed %d: %d violations, %d jumps: %+v; the first: %+v\n%s", seed, r.BoundViolations, r.Jumps, g, r.FirstViolation, text)
				}
				if math.IsNaN(float64(g.InSync)) || g.Detectors > 0 {
					t.Errorf("seed %d: the group never got together, or found too many liars: %+v\n%s", seed, g, text)
				}
			}
		})
	}
}
