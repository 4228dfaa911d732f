package sim

import (
	"math"
	"slices"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// send gives n packets, one each second, to a path and returns when they arrive.
func send(p *Path, n int) (arrivals []Instant, lost, twice int) {
	for i := range n {
		at, k := p.transit(Instant(i) * Second)
		switch k {
		case 0:
			lost++
			continue
		case 2:
			twice++
		}
		arrivals = append(arrivals, at[0])
	}
	return arrivals, lost, twice
}

func TestPathLosesAndDuplicates(t *testing.T) {
	const n = 50_000
	p := newPath(PathConfig{Delay: mustDelay(t, "1ms"), Loss: 0.2, Duplicate: 0.1}, testkit.Seed(t), "p")
	_, lost, twice := send(p, n)
	if x := float64(lost) / n; math.Abs(x-0.2) > 0.015 {
		t.Errorf("%g of the packets are lost, want 0.2", x)
	}
	if x := float64(twice) / n; math.Abs(x-0.08) > 0.012 {
		t.Errorf("%g of the packets come twice, want 0.1 of those that come", x)
	}
}

// TestLossDoesNotMoveDelays: every purpose has its own stream.
func TestLossDoesNotMoveDelays(t *testing.T) {
	delays := func(c PathConfig) []Instant {
		c.Delay = mustDelay(t, "1ms + exp(1ms)")
		p := newPath(c, 5, "p")
		var d []Instant
		for i := range Instant(1000) {
			at, n := p.transit(i * Second)
			if n == 0 {
				at[0] = i*Second - 1
			}
			d = append(d, at[0]-i*Second)
		}
		return d
	}
	plain := delays(PathConfig{})
	lossy := delays(PathConfig{Loss: 0.3, Duplicate: 0.3})
	for i := range plain {
		if lossy[i] != -1 && lossy[i] != plain[i] {
			t.Fatalf("packet %d took %v, without loss %v", i, lossy[i], plain[i])
		}
	}
	other := newPath(PathConfig{Delay: mustDelay(t, "1ms + exp(1ms)")}, 5, "q")
	at, _ := other.transit(0)
	if at[0] == plain[0] {
		t.Error("two paths share their stream")
	}
}

func TestPathOrderAndRoutes(t *testing.T) {
	free := newPath(PathConfig{Delay: mustDelay(t, "uniform(0s, 10s)")}, 1, "p")
	if a, _, _ := send(free, 1000); slices.IsSorted(a) {
		t.Error("delays of seconds do not reorder packets")
	}
	ordered := newPath(PathConfig{Delay: mustDelay(t, "uniform(0s, 10s)"), Ordered: true}, 1, "p")
	if a, _, _ := send(ordered, 1000); !slices.IsSorted(a) {
		t.Error("an ordered path reorders packets")
	}
	p := newPath(PathConfig{Delay: mustDelay(t, "1ms")}, 1, "p")
	p.Added = 300 * Microsecond
	if at, _ := p.transit(Second); at[0] != Second+1300*Microsecond {
		t.Errorf("a route that is 300 µs longer: %v", at[0])
	}
	p.Added = -2 * Millisecond
	if at, _ := p.transit(Second); at[0] != Second {
		t.Errorf("a packet travels back in time: %v", at[0])
	}
	p.Down = true
	if _, n := p.transit(Second); n != 0 {
		t.Error("a path that is down delivers")
	}
}

// TestCongestionComesAndGoes: a fifth of the time is congested, in episodes.
func TestCongestionComesAndGoes(t *testing.T) {
	p := newPath(PathConfig{Congestion: CongestionConfig{On: 20, Off: 80, Delay: Constant(1)}}, testkit.Seed(t), "p")
	const n = 200_000
	crowded, changes := 0, 0
	last := false
	for i := range n {
		at, _ := p.transit(Instant(i) * Second)
		now := at[0] > Instant(i)*Second
		if now {
			crowded++
		}
		if now != last {
			changes++
		}
		last = now
	}
	if x := float64(crowded) / n; math.Abs(x-0.2) > 0.03 {
		t.Errorf("%g of the packets meet congestion, want 0.2", x)
	}
	if x := float64(changes) / 2; math.Abs(x/(n/100)-1) > 0.15 {
		t.Errorf("%g episodes in %d s, want one each 100 s", x, n)
	}
}

func TestPathRefuses(t *testing.T) {
	w := NewWorld(1, testEpoch())
	for _, c := range []PathConfig{{Loss: -0.1}, {Loss: 1.1}, {Duplicate: math.NaN()}, {Congestion: CongestionConfig{Delay: Constant(1)}}} {
		if _, err := w.NewPath(c, "p"); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
