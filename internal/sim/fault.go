package sim

import (
	"errors"
	"fmt"

	"github.com/clockd/clockd/reason"
)

// FaultConfig is one entry of a scenario's timeline. What is missing does not change. With Until the change is taken back then.
type FaultConfig struct {
	At    Length `toml:"at"`
	Until Length `toml:"until"`
	// Server is the name of the server, or of the server's paths, that is meant, Client the client's; empty means all.
	Server string `toml:"server"`
	Client string `toml:"client"`

	// What a server does.
	Offset         *Length  `toml:"offset"`
	DriftPPM       *float64 `toml:"drift_ppm"`
	Dead           *bool    `toml:"dead"`
	Kiss           *string  `toml:"kiss"`
	Leap           *uint8   `toml:"leap"`
	RootDispersion *Length  `toml:"root_dispersion"`
	Turnaround     *Delay   `toml:"turnaround"`
	Forge          *string  `toml:"forge"`

	// What the network does: constants added to the delay in each direction, other delays, loss, a cut.
	AddTo     *Length  `toml:"add_to"`
	AddFrom   *Length  `toml:"add_from"`
	DelayTo   *Delay   `toml:"delay_to"`
	DelayFrom *Delay   `toml:"delay_from"`
	Loss      *float64 `toml:"loss"`
	Down      *bool    `toml:"down"`

	// What happens to a client: its host is paused for so long (the counter too, if CounterStops), its counter jumps, its
	// frequency steps. Report is the reason with which the node is told of it, ReportAfter how much later.
	Pause        Length   `toml:"pause"`
	CounterStops bool     `toml:"counter_stops"`
	CounterJump  Length   `toml:"counter_jump"`
	FrequencyPPM *float64 `toml:"frequency_step_ppm"`
	Report       string   `toml:"report"`
	ReportAfter  Length   `toml:"report_after"`
	Stamps       *Length  `toml:"invalid_stamps"`

	GroupFault
}

func (f *FaultConfig) check(s *Scenario) error {
	var errs []error
	bad := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	bad(f.At >= 0 && f.At <= s.Length, "at is %g s, must be within the run", float64(f.At))
	bad(f.Until == 0 || f.Until > f.At, "until is %g s, must be after at", float64(f.Until))
	bad(f.Server == "" || s.server(f.Server).Name != "", "there is no server called %q", f.Server)
	bad(f.Loss == nil || *f.Loss >= 0 && *f.Loss <= 1, "loss must be from 0 to 1")
	bad(f.Kiss == nil || len(*f.Kiss) <= 4, "kiss has at most four letters")
	bad(f.Leap == nil || *f.Leap <= 3, "leap must be from 0 to 3")
	bad(f.Pause >= 0 && f.ReportAfter >= 0, "pause and report_after cannot be negative")
	bad(f.RootDispersion == nil || *f.RootDispersion >= 0, "root_dispersion cannot be negative")
	if f.Forge != nil && *f.Forge != "" {
		known := false
		for _, x := range Forgeries() {
			known = known || x == Forgery(*f.Forge)
		}
		bad(known, "forge is %.20q, must be one of %v", *f.Forge, Forgeries())
	}
	if f.Report != "" {
		_, err := reasonNamed(f.Report)
		errs = append(errs, err)
	}
	errs = append(errs, f.GroupFault.check(s))
	return errors.Join(errs...)
}

// plan puts the fault on the world's timeline.
func (f *FaultConfig) plan(w *World, s *Scenario) {
	w.At(f.At.Instant(), func() error {
		undo, err := f.Apply(w)
		if err != nil || f.Until == 0 {
			return err
		}
		w.At(f.Until.Instant(), func() error { undo(); return nil })
		return nil
	})
}

// set changes *to and returns what changes it back.
func set[T any](undo *[]func(), to *T, value *T) {
	if value == nil {
		return
	}
	old := *to
	*to = *value
	*undo = append(*undo, func() { *to = old })
}

// Apply makes the change now and returns what takes it back; what cannot be taken back stays.
func (f *FaultConfig) Apply(w *World) (undo func(), err error) {
	var undos []func()
	if err := f.GroupFault.apply(w, &undos); err != nil {
		return nil, err
	}
	for _, h := range w.hosts {
		if h.Master != nil && (f.Server == "" || f.Server == h.Name) {
			f.applyMaster(w, h.Master, &undos)
		}
		if h.Node != nil && (f.Client == "" || f.Client == h.Name) {
			if err := f.applyClient(w, h, &undos); err != nil {
				return nil, err
			}
		}
	}
	for _, l := range w.links {
		if l.Peer {
			continue
		}
		if (f.Server == "" || f.Server == l.Server.Name) && (f.Client == "" || f.Client == l.Client.Name) {
			f.applyPaths(l, &undos)
		}
	}
	return func() {
		for _, u := range undos {
			u()
		}
	}, nil
}

func (f *FaultConfig) applyMaster(w *World, m *Master, undo *[]func()) {
	set(undo, &m.Offset, (*float64)(f.Offset))
	if f.DriftPPM != nil {
		old := m.Drift
		m.SetDrift(w.now, *f.DriftPPM*1e-6)
		*undo = append(*undo, func() { m.SetDrift(w.now, old) })
	}
	set(undo, &m.Dead, f.Dead)
	set(undo, &m.Kiss, f.Kiss)
	set(undo, &m.Leap, f.Leap)
	set(undo, &m.RootDispersion, (*float64)(f.RootDispersion))
	set(undo, &m.Turnaround, f.Turnaround)
	set(undo, &m.Forge, (*Forgery)(f.Forge))
}

func (f *FaultConfig) applyPaths(l *Link, undo *[]func()) {
	add := func(p *Path, by *Length) {
		if by != nil {
			p.Added += by.Instant()
			*undo = append(*undo, func() { p.Added -= by.Instant() })
		}
	}
	add(l.To, f.AddTo)
	add(l.From, f.AddFrom)
	set(undo, &l.To.Delay, f.DelayTo)
	set(undo, &l.From.Delay, f.DelayFrom)
	for _, p := range []*Path{l.To, l.From} {
		set(undo, &p.Loss, f.Loss)
		set(undo, &p.Down, f.Down)
	}
}

func (f *FaultConfig) applyClient(w *World, h *Host, undo *[]func()) error {
	code := reason.OK
	if f.Report != "" {
		var err error
		if code, err = reasonNamed(f.Report); err != nil {
			return err
		}
	}
	if f.FrequencyPPM != nil {
		step := *f.FrequencyPPM
		h.StepFrequency(step)
		*undo = append(*undo, func() { h.StepFrequency(-step) })
	}
	if f.Stamps != nil {
		old := h.stamps.invalid
		h.stamps.invalid = f.Stamps.Instant()
		*undo = append(*undo, func() { h.stamps.invalid = old })
	}
	if f.CounterJump != 0 {
		h.Jump(float64(f.CounterJump))
	}
	switch {
	case f.Pause > 0:
		h.Pause(f.Pause.Instant(), f.CounterStops, code, f.ReportAfter.Instant())
	case code != reason.OK && f.ReportAfter > 0:
		w.At(w.now+f.ReportAfter.Instant(), func() error { return h.Disrupt(code) })
	case code != reason.OK:
		return h.Disrupt(code)
	}
	return nil
}
