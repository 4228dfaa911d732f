package hw

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadTSC returns the time-stamp counter, read after every earlier load has its value (LFENCE; RDTSC). It may be used once
// Open("tsc") has succeeded in this process; before that nobody has shown that the counter is fit to keep time. On other
// architectures it returns 0, and Open refuses "tsc".
func ReadTSC() Ticks

func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// The leaves of CPUID that tell about the time-stamp counter (Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E).
const (
	leafFeatures         = 1
	leafExtendedMaximum  = 0x80000000
	leafPowerManagement  = 0x80000007
	featureTSC           = 1 << 4
	featureHypervisor    = 1 << 31
	powerInvariantTSC    = 1 << 8
	prctlTSCReadingFault = 2 // PR_TSC_SIGSEGV
)

// tscHardware says whether the CPU has a counter of constant rate that never stops and that this process may read; nil if so.
func tscHardware() error {
	_, _, ecx, edx := cpuid(leafFeatures, 0)
	if edx&featureTSC == 0 {
		return fmt.Errorf("the CPU has no time-stamp counter")
	}
	guest := ecx&featureHypervisor != 0
	if maximum, _, _, _ := cpuid(leafExtendedMaximum, 0); maximum < leafPowerManagement {
		return fmt.Errorf("the CPU does not say that its time-stamp counter is invariant")
	}
	if _, _, _, edx := cpuid(leafPowerManagement, 0); edx&powerInvariantTSC == 0 {
		if guest {
			return fmt.Errorf("the hypervisor does not promise an invariant time-stamp counter (CPUID 80000007h EDX bit 8 is 0): " +
				"start the guest with invtsc on")
		}
		return fmt.Errorf("the time-stamp counter is not invariant (CPUID 80000007h EDX bit 8 is 0): its rate follows the CPU's")
	}
	var mode int32
	if err := unix.Prctl(unix.PR_GET_TSC, uintptr(unsafe.Pointer(&mode)), 0, 0, 0); err == nil && mode == prctlTSCReadingFault {
		return fmt.Errorf("this process may not read the time-stamp counter (prctl PR_SET_TSC)")
	}
	return nil
}
