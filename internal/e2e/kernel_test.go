package e2e

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// variableStampless tells this program to be a host whose kernel has no packet stamps, and to run its arguments there.
const variableStampless = "CLOCKD_E2E_STAMPLESS"

// runStampless forbids setsockopt(SO_TIMESTAMPING) to this process, as sandboxes do that do not know it, and becomes the program of
// its arguments. It returns only what went wrong.
func runStampless() error {
	const (
		number, level, option = 0, 16 + 8, 16 + 2*8 // offsets in struct seccomp_data
		load                  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal                 = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer                = unix.BPF_RET | unix.BPF_K
		stampingNew           = 65 // SO_TIMESTAMPING_NEW
	)
	filter := []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, Jf: 6, K: unix.SYS_SETSOCKOPT},
		{Code: load, K: level},
		{Code: equal, Jf: 4, K: unix.SOL_SOCKET},
		{Code: load, K: option},
		{Code: equal, Jt: 1, K: unix.SO_TIMESTAMPING},
		{Code: equal, Jf: 1, K: stampingNew},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("e2e: no_new_privs: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); e != 0 {
		return fmt.Errorf("e2e: seccomp: %w", e)
	}
	runtime.KeepAlive(filter)
	_ = os.Unsetenv(variableStampless)
	return fmt.Errorf("e2e: exec: %w", syscall.Exec(os.Args[1], os.Args[1:], os.Environ()))
}
