package hw

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// currentClocksource is where the kernel says by which counter it keeps time itself.
const currentClocksource = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

// errClocksourceUnknown: the kernel does not tell its clocksource, as in a container without /sys.
var errClocksourceUnknown = errors.New("the kernel does not tell its clocksource")

// clocksource returns the name of the counter by which the kernel keeps time.
func clocksource(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%w: %w", errClocksourceUnknown, err)
	}
	if err != nil {
		return "", fmt.Errorf("hw: cannot read the kernel's clocksource: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// trusted says whether the kernel's choice of clocksource vouches for the counter whose clocksource is called want; nil if so.
//
// Only the current clocksource counts. The kernel watches the one it uses (against a watchdog, across CPUs and at each change
// of the CPU's state) and leaves it for another when it misbehaves. One that is merely available has been passed over: because
// a better one exists, because the hypervisor may move the guest to a machine with another rate, or because it failed.
func trusted(want, current string) error {
	if current == want {
		return nil
	}
	why := fmt.Sprintf("the kernel keeps time by %q", current)
	switch current {
	case "kvm-clock":
		why += ": under KVM it prefers the counter itself when that is invariant and never changes its rate, so here it was not, " +
			"or somebody chose kvm-clock"
	case "xen":
		why += ": under Xen the counter may change its rate when the guest is migrated"
	case "hyperv_clocksource_tsc_page", "hyperv_clocksource_msr":
		why += ": under Hyper-V the counter may change its rate when the guest is migrated, and only the hypervisor's own page tells"
	case "hpet", "acpi_pm", "jiffies", "refined-jiffies":
		why += ": it has found the counter unstable (see the kernel log), or somebody chose another clocksource"
	}
	return fmt.Errorf("%s; if you know that the counter can be trusted, write %s to %s", why, want, currentClocksource)
}

// vouched says whether the kernel vouches for a counter. told: another process on this host has checked already and handed its
// spec on; that is enough where this process cannot see the clocksource itself.
func vouched(want string, told bool) error {
	current, err := clocksource(currentClocksource)
	if err != nil {
		if told && errors.Is(err, errClocksourceUnknown) {
			return nil
		}
		return fmt.Errorf("%w; mount /sys, or use monotonic_raw", err)
	}
	return trusted(want, current)
}

// StillTrusted checks again what Open checked about the counter below c: the kernel may lose its trust in a counter at any
// time. It returns nil if nothing has changed, and where
// this process cannot see the clocksource. It reads one small file; call it about once a minute.
func StillTrusted(c Counter) error {
	switch x := bottom(c).(type) {
	case *tsc:
		return refused("tsc", vouched("tsc", true))
	case *cntvct:
		return refused("cntvct", vouched("arch_sys_counter", true))
	case *monotonicRaw:
		return x.sameTimeNamespace()
	}
	return nil
}

// bottom returns the counter below all the skewed images.
func bottom(c Counter) Counter {
	for {
		s, ok := c.(*Skewed)
		if !ok {
			return c
		}
		c = s.base
	}
}

// refused says which counter is refused and why; nil stays nil.
func refused(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("hw: counter %s is refused: %w", name, err)
}
