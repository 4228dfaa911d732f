package hw

import "fmt"

// The names of the counters in specs.
const (
	nameAuto         = "auto"
	nameTSC          = "tsc"
	nameCNTVCT       = "cntvct"
	nameMonotonicRaw = "monotonic_raw"
	nameManual       = "manual"
	nameSkewed       = "skewed"
)

// tsc is the time-stamp counter of amd64.
type tsc struct{ frequency Frequency }

func (*tsc) Read() Ticks            { return ReadTSC() }
func (t *tsc) Frequency() Frequency { return t.frequency }
func (t *tsc) Spec() string         { return nameTSC + frequencyText(t.frequency) }

// cntvct is the virtual count of arm64's generic timer.
type cntvct struct{ frequency Frequency }

func (*cntvct) Read() Ticks            { return ReadCNTVCT() }
func (t *cntvct) Frequency() Frequency { return t.frequency }
func (t *cntvct) Spec() string         { return nameCNTVCT + frequencyText(t.frequency) }

// IsTSC reports whether c is the bare time-stamp counter, so that ReadTSC reads the same as c.Read without the interface.
func IsTSC(c Counter) bool { _, ok := c.(*tsc); return ok }

// IsCNTVCT reports whether c is the bare CNTVCT_EL0, so that ReadCNTVCT reads the same as c.Read without the interface.
func IsCNTVCT(c Counter) bool { _, ok := c.(*cntvct); return ok }

// openTSC checks and opens the time-stamp counter. told is the frequency in the spec, nil if it is to be measured.
func openTSC(told *Frequency) (Counter, error) {
	if err := tscHardware(); err != nil {
		return nil, refused(nameTSC, err)
	}
	if err := vouched("tsc", told != nil); err != nil {
		return nil, refused(nameTSC, err)
	}
	t := &tsc{}
	if told != nil {
		t.frequency = *told
		return t, refused(nameTSC, plausible(t, *told))
	}
	f, err := Calibrate(t, calibrationBaseline)
	t.frequency = tidy(f)
	return t, refused(nameTSC, err)
}

// openCNTVCT checks and opens the generic timer. Its frequency is the spec's, or what the firmware wrote into CNTFRQ_EL0, or
// measured where the firmware wrote nothing or something that CLOCK_MONOTONIC_RAW contradicts.
func openCNTVCT(told *Frequency) (Counter, error) {
	if err := cntvctHardware(); err != nil {
		return nil, refused(nameCNTVCT, err)
	}
	if err := vouched("arch_sys_counter", told != nil); err != nil {
		return nil, refused(nameCNTVCT, err)
	}
	t := &cntvct{}
	if told != nil {
		t.frequency = *told
		return t, refused(nameCNTVCT, plausible(t, *told))
	}
	t.frequency = Frequency{Hertz: float64(readCNTFRQ())}
	if t.frequency.Hertz > 0 && plausible(t, t.frequency) == nil {
		return t, nil
	}
	f, err := Calibrate(t, calibrationBaseline)
	t.frequency = tidy(f)
	return t, refused(nameCNTVCT, err)
}

// Choice is a counter and why it was taken.
type Choice struct {
	Counter Counter
	// Reason is one sentence for people.
	Reason string
}

// Open returns the counter that a spec describes; the grammar is at CheckSpec. An error says why the counter is refused
// and what can be done.
func Open(spec string) (Counter, error) {
	choice, err := Choose(spec)
	return choice.Counter, err
}

// Choose is Open that tells why: "auto" takes the CPU's own counter if it can be trusted and CLOCK_MONOTONIC_RAW if not.
func Choose(spec string) (Choice, error) {
	d, err := parseSpec(spec)
	if err != nil {
		return Choice{}, err
	}
	return d.open()
}

func (d *description) open() (Choice, error) {
	switch d.name {
	case nameAuto:
		return chooseAuto()
	case nameTSC:
		c, err := openTSC(d.frequency)
		return chosen(c, "the spec asks for the time-stamp counter; it is invariant and the kernel keeps time by it", err)
	case nameCNTVCT:
		c, err := openCNTVCT(d.frequency)
		return chosen(c, "the spec asks for the generic timer's counter; the kernel keeps time by it", err)
	case nameMonotonicRaw:
		c, err := openMonotonicRaw(d.timeNamespace)
		return chosen(c, "the spec asks for CLOCK_MONOTONIC_RAW", err)
	case nameManual:
		return Choice{}, refused(nameManual, errManual)
	}
	base, err := d.base.open()
	if err != nil {
		return Choice{}, err
	}
	skew := d.skew
	if !d.hasStart {
		skew.Start = base.Counter.Read()
	}
	if !d.hasOrigin {
		skew.Origin = skew.Start
	}
	s, err := NewSkewed(base.Counter, skew)
	return chosen(s, "the spec asks for a skewed image of a counter, as tests and demonstrations use; below it: "+base.Reason, err)
}

// chosen keeps a nil pointer out of the interface when there is an error.
func chosen(c Counter, why string, err error) (Choice, error) {
	if err != nil {
		return Choice{}, err
	}
	return Choice{c, why}, nil
}

// chooseAuto tries the counters from the best to the one that is always there.
func chooseAuto() (Choice, error) {
	t, errTSC := openTSC(nil)
	if errTSC == nil {
		return Choice{t, "the time-stamp counter: it is invariant and the kernel itself keeps time by it"}, nil
	}
	v, errCNTVCT := openCNTVCT(nil)
	if errCNTVCT == nil {
		return Choice{v, "the generic timer's counter: the kernel itself keeps time by it"}, nil
	}
	r, err := openMonotonicRaw(0)
	if err != nil {
		return Choice{}, fmt.Errorf("hw: this host has no counter that can be used: %w; %w; %w", errTSC, errCNTVCT, err)
	}
	why := errTSC
	if cntvctHardware() == nil {
		why = errCNTVCT
	}
	return Choice{r, fmt.Sprintf("CLOCK_MONOTONIC_RAW, a system call for each reading, because nothing better can be used: %v", why)}, nil
}

// Candidate is a counter that this host might have, for clockd doctor.
type Candidate struct {
	Name   string `json:"name"`
	Usable bool   `json:"usable"`
	// Reason is why the counter is refused, or why it is good.
	Reason string `json:"reason"`
	// Frequency and Resolution are nil if the counter cannot be used.
	Frequency  *Frequency  `json:"frequency,omitempty"`
	Resolution *Resolution `json:"resolution,omitempty"`
}

// Probe tries every counter that clockd knows, best first, and measures those that can be used. It takes some 150 ms.
func Probe() []Candidate {
	names := []string{nameTSC, nameCNTVCT, nameMonotonicRaw}
	candidates := make([]Candidate, 0, len(names))
	for _, name := range names {
		candidates = append(candidates, probe(name))
	}
	return candidates
}

func probe(name string) Candidate {
	choice, err := Choose(name)
	if err != nil {
		return Candidate{Name: name, Reason: err.Error()}
	}
	c := choice.Counter
	resolution, err := MeasureResolution(c)
	if err != nil {
		return Candidate{Name: name, Reason: err.Error()}
	}
	f := c.Frequency()
	var why string
	switch name {
	case nameTSC:
		why = "invariant, and the kernel itself keeps time by it"
	case nameCNTVCT:
		why = "the kernel itself keeps time by it"
	case nameMonotonicRaw:
		why = "always there, but each reading is a system call"
	}
	return Candidate{name, true, why, &f, &resolution}
}
