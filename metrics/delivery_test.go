package metrics

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
)

func newDeliveries(t testing.TB, receivers, window int) *Deliveries {
	t.Helper()
	d, err := NewDeliveries(DeliveryOptions{Receivers: receivers, Window: window})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDeliveriesAgreeWithTheDefinitions: all events kept, and σ and τ computed from their definitions; on the true timeline exactly, and by
// wrong clocks within the stated bounds.
func TestDeliveriesAgreeWithTheDefinitions(t *testing.T) {
	r := newRand(t)
	for range 100 {
		n := 2 + r.IntN(5)
		exact, own := newDeliveries(t, n, 64), newDeliveries(t, n, 64)
		// Every host's clock is off by up to π/2 either way at any time: any two are within π.
		const precision = 1e-4
		off := func() float64 { return (r.Float64() - 0.5) * precision }
		delays, tightness := make([][]float64, n), 0.0
		messages := 1 + r.IntN(200)
		for m := range messages {
			id := MessageID{uint64(m % n), uint64(m)}
			sent := float64(m) * 1e-3
			for _, d := range []struct {
				*Deliveries
				stamp Stamp
			}{{exact, Stamp{seconds(sent), 0}}, {own, Stamp{seconds(sent + off()), precision / 2}}} {
				if err := d.Send(id, d.stamp, n); err != nil {
					t.Fatal(err)
				}
			}
			first, last := math.Inf(1), math.Inf(-1)
			for _, p := range r.Perm(n) {
				delay := 50e-6 + r.ExpFloat64()*100e-6
				at := sent + delay
				delays[p] = append(delays[p], delay)
				first, last = min(first, at), max(last, at)
				if err := errors.Join(exact.Deliver(id, p, Stamp{seconds(at), 0}), own.Deliver(id, p, Stamp{seconds(at + off()), precision / 2})); err != nil {
					t.Fatal(err)
				}
			}
			tightness = max(tightness, last-first)
		}
		steadiness := 0.0
		for _, of := range delays {
			low, high := math.Inf(1), math.Inf(-1)
			for _, d := range of {
				low, high = min(low, d), max(high, d)
			}
			steadiness = max(steadiness, high-low)
		}
		got, estimate := exact.Result(), own.Result()
		expect(t, "τ", got.TightnessSeconds.Figure, tightness, 0, 1e-15)
		if messages > 1 {
			expect(t, "σ", got.SteadinessSeconds.Figure, steadiness, 0, 1e-15)
			if u := got.SteadinessSeconds.UncertaintySeconds(); u > 1e-18 {
				t.Errorf("σ is exact, and uncertain by %g", u)
			}
			within(t, "σ by own clocks", estimate.SteadinessSeconds, steadiness, 2*precision)
		}
		within(t, "τ by own clocks", estimate.TightnessSeconds, tightness, precision)
		if got.Sent != uint64(messages) || got.Complete != got.Sent || got.Open+got.Closed+got.Late != 0 {
			t.Errorf("%+v", got)
		}
	}
}

// within: the truth is between the bounds, and these are not wider than theory says.
func within(t *testing.T, what string, b Bounded, truth, uncertainty float64) {
	t.Helper()
	if !b.Known || truth < b.AtLeast-1e-15 || truth > b.AtMost+1e-15 || b.UncertaintySeconds() > uncertainty*(1+1e-9) {
		t.Errorf("%s: %+v, want %g ± %g", what, b, truth, uncertainty)
	}
}

func TestDeliveriesWithoutAnswer(t *testing.T) {
	d := newDeliveries(t, 70, 2)
	r := d.Result()
	unknown(t, "σ", r.SteadinessSeconds.Figure)
	unknown(t, "τ", r.TightnessSeconds.Figure)
	send := func(n uint64) error { return d.Send(MessageID{1, n}, Stamp{seconds(float64(n)), 0}, 3) }
	deliver := func(n uint64, to int, after float64) error {
		return d.Deliver(MessageID{1, n}, to, Stamp{seconds(float64(n) + after), 0})
	}
	if err := errors.Join(send(1), deliver(1, 69, 0.1), deliver(1, 3, 0.3), send(2), deliver(2, 69, 0.2)); err != nil {
		t.Fatal(err)
	}
	unknown(t, "τ of open messages", d.Result().TightnessSeconds.Figure)
	if err := send(3); err != nil { // pushes message 1 out, with two of its three deliveries
		t.Fatal(err)
	}
	r = d.Result()
	expect(t, "τ of what was delivered", r.TightnessSeconds.Figure, 0.2, 1e-9, 0)
	expect(t, "σ", r.SteadinessSeconds.Figure, 0.1, 1e-9, 0)
	if r.Open != 2 || r.Closed != 1 || r.Complete != 0 || r.Sent != 3 {
		t.Errorf("%+v", r)
	}
	if err := deliver(1, 5, 0.4); !errors.Is(err, ErrUnknownMessage) {
		t.Errorf("a late delivery: %v", err)
	}
	if err := d.Forget(MessageID{1, 2}); err != nil {
		t.Error(err)
	}
	if r = d.Result(); r.Open != 1 || r.Closed != 2 || r.Late != 1 || r.SpreadSeconds.Max.Samples != 1 {
		t.Errorf("%+v", r)
	}
	for what, err := range map[string]error{"sent twice": send(3), "forgotten twice": d.Forget(MessageID{1, 2}), "no receiver": deliver(3, 70, 0),
		"no receiver below": deliver(3, -1, 0), "NaN": d.Deliver(MessageID{1, 3}, 0, Stamp{seconds(3), math.NaN()}),
		"negative": d.Send(MessageID{1, 9}, Stamp{seconds(3), -1}, 1), "nobody": d.Send(MessageID{1, 9}, Stamp{}, 0),
		"too many": d.Send(MessageID{1, 9}, Stamp{}, 71), "twice": errors.Join(deliver(3, 64, 1), deliver(3, 64, 2))} {
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	for _, o := range []DeliveryOptions{{}, {Receivers: -1}, {Receivers: maxReceivers + 1}, {Receivers: 1, Window: -1}, {Receivers: 1, Window: maxWindow + 1}} {
		if _, err := NewDeliveries(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestDeliveryResultInJSON(t *testing.T) {
	d := newDeliveries(t, 2, 0)
	for _, want := range []string{"null", "0.25"} {
		r := d.Result()
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got DeliveryResult
		if err := json.Unmarshal(b, &got); err != nil || got != r {
			t.Errorf("%+v, read %+v (%v)", r, got, err)
		}
		var raw struct {
			Tightness map[string]json.RawMessage `json:"tightness_s"`
		}
		if err := json.Unmarshal(b, &raw); err != nil || string(raw.Tightness["value"]) != want || string(raw.Tightness["at_most"]) != want {
			t.Errorf("%s: %v", b, err)
		}
		id := MessageID{0, 1}
		if err := errors.Join(d.Send(id, Stamp{seconds(1), 0}, 2), d.Deliver(id, 0, Stamp{seconds(1.25), 0}),
			d.Deliver(id, 1, Stamp{seconds(1.5), 0})); want == "null" && err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadingErrors(t *testing.T) {
	expect(t, "ε of an exchange", ReadingError(100e-6, 10e-6, 20e-6, 2e-9, 1e-9), 35.0015e-6, 1e-12, 0)
	unknown(t, "ε of a round trip shorter than its minimum", ReadingError(10e-6, 10e-6, 10e-6, 0, 0))
	unknown(t, "NaN", ReadingError(math.NaN(), 0, 0, 0, 0))
	var r ReadingErrors
	unknown(t, "ε of nothing", r.Result().WorstSeconds.Figure)
	if err := errors.Join(r.AddRound(seconds(1), 0, []float64{3e-6, 900e-6, 5e-6}, 1), r.Add(seconds(2), 1, 7e-6), r.AddRound(seconds(3), 2, []float64{1}, 5)); err != nil {
		t.Fatal(err)
	}
	got := r.Result()
	expect(t, "ε", got.WorstSeconds.Figure, 7e-6, 0, 0)
	if got.WorstSeconds.At != seconds(2) || got.WorstSeconds.Clocks[0] != 1 || got.WorstSeconds.Samples != 2 || got.Seconds.Max.Samples != 3 {
		t.Errorf("%+v", got)
	}
	for _, bad := range [][]float64{{-1}, {math.NaN()}} {
		if err := r.AddRound(seconds(4), 0, bad, 0); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
	if err := r.AddRound(seconds(4), 0, []float64{1}, -1); err == nil {
		t.Error("a negative number to leave out was accepted")
	}
	if err := r.Add(seconds(5), 0, math.Inf(1)); err != nil {
		t.Error(err)
	}
	unknown(t, "ε with an interval without end", r.Result().WorstSeconds.Figure)
}
