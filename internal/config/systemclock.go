package config

import "time"

// The values of system_clock.discipline.
const (
	// DisciplineOff: the kernel's clock is not touched.
	DisciplineOff = "off"
	// DisciplineRealtime: CLOCK_REALTIME follows the virtual clock.
	DisciplineRealtime = "realtime"
	// DisciplineAux: one of the kernel's auxiliary clocks does.
	DisciplineAux = "aux"
)

// SystemClock says whether and how a clock of the kernel follows the virtual clock.
type SystemClock struct {
	Discipline string `toml:"discipline"`
	// Aux is the number of the auxiliary clock.
	Aux int `toml:"aux"`
	// Step is "never", "start" or "always": when a difference above StepThreshold is stepped rather than amortised at MaxSlew.
	Step          string   `toml:"step"`
	StepThreshold Duration `toml:"step_threshold"`
	MaxSlew       Ratio    `toml:"max_slew"`
	// Interval is the time between two updates.
	Interval Duration `toml:"interval"`
	// LeapFile is the table of leap seconds: "auto", "none" or a path.
	LeapFile string `toml:"leap_file"`
}

func (d *decoder) validateSystemClock(c *SystemClock) {
	if s := c.Discipline; s != DisciplineOff && s != DisciplineRealtime && s != DisciplineAux && !d.bad["system_clock.discipline"] {
		d.complain("system_clock.discipline", `%s is none of "off", "realtime" and "aux"`, written(s))
	}
	if s := c.Step; s != "never" && s != "start" && s != "always" && !d.bad["system_clock.step"] {
		d.complain("system_clock.step", `%s is none of "never", "start" and "always"`, written(s))
	}
	within(d, "system_clock.aux", c.Aux, 0, 7, showInt)
	if d.has["system_clock.aux"] && c.Discipline != DisciplineAux && !d.bad["system_clock.discipline"] {
		d.complain("system_clock.aux", `no auxiliary clock is disciplined; write discipline = "aux" as well`)
	}
	within(d, "system_clock.step_threshold", c.StepThreshold, Duration(time.Microsecond), Duration(24*time.Hour), showDuration)
	within(d, "system_clock.max_slew", c.MaxSlew, 1e-6, 0.09, showRatio)
	within(d, "system_clock.interval", c.Interval, Duration(100*time.Millisecond), Duration(time.Minute), showDuration)
	if c.LeapFile != "auto" && c.LeapFile != "none" {
		d.path("system_clock.leap_file", c.LeapFile)
	}
}
