package config

// ClockBound is the shared memory in which programs written for ClockBound look.
type ClockBound struct {
	Path string `toml:"path"`
	// RealtimeSlew is by how much others may slew the system's clock beyond the rate that the kernel is programmed to.
	RealtimeSlew Ratio `toml:"realtime_slew"`
}

// defaultClockBound has the default of every value of [clockbound].
func defaultClockBound() ClockBound {
	return ClockBound{Path: "/var/run/clockbound/shm0", RealtimeSlew: 500e-6}
}

func (d *decoder) validateClockBound(c *ClockBound) {
	d.path("clockbound.path", c.Path)
	within(d, "clockbound.realtime_slew", c.RealtimeSlew, 0, 0.11, showRatio)
}
