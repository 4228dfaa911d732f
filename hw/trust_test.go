package hw

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTrustedTakesOnlyTheCurrentClocksource(t *testing.T) {
	for _, test := range []struct{ want, current, says string }{
		{"tsc", "tsc", ""},
		{"arch_sys_counter", "arch_sys_counter", ""},
		{"tsc", "arch_sys_counter", "keeps time by"},
		{"tsc", "kvm-clock", "under KVM"},
		{"tsc", "xen", "under Xen"},
		{"tsc", "hyperv_clocksource_tsc_page", "under Hyper-V"},
		{"tsc", "hyperv_clocksource_msr", "under Hyper-V"},
		{"tsc", "hpet", "found the counter unstable"},
		{"tsc", "acpi_pm", "found the counter unstable"},
		{"tsc", "tsc-early", "keeps time by"},
		{"tsc", "", "keeps time by"},
		{"arch_sys_counter", "jiffies", "write arch_sys_counter to"},
	} {
		err := trusted(test.want, test.current)
		if (err == nil) != (test.says == "") {
			t.Errorf("%s while the kernel uses %q: %v", test.want, test.current, err)
		} else if err != nil && (!strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.current)) {
			t.Errorf("%s while the kernel uses %q: %q does not say %q", test.want, test.current, err, test.says)
		}
	}
}

func TestClocksource(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "current_clocksource")
	if _, err := clocksource(path); !errors.Is(err, errClocksourceUnknown) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("kvm-clock\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := clocksource(path); err != nil || name != "kvm-clock" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := clocksource(dir); err == nil || errors.Is(err, errClocksourceUnknown) {
		t.Errorf("an unreadable file counts as an unknown clocksource: %v", err)
	}
}

// Open agrees with what the kernel says on this very machine.
func TestOpenFollowsTheKernelsTrust(t *testing.T) {
	current, err := clocksource(currentClocksource)
	if err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]string{nameTSC: "tsc", nameCNTVCT: "arch_sys_counter"} {
		c, err := Open(name)
		if err == nil && current != want {
			t.Errorf("%s was opened while the kernel keeps time by %s", name, current)
		}
		if err == nil {
			if err := StillTrusted(c); err != nil {
				t.Error(err)
			}
			skewed, err := NewSkewed(c, Skew{PPM: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := StillTrusted(skewed); err != nil || bottom(skewed) != c {
				t.Errorf("the skewed image is not trusted: %v", err)
			}
		} else if !strings.Contains(err.Error(), "refused") {
			t.Errorf("the error does not say that %s is refused: %v", name, err)
		}
	}
}
