//go:build linux

package privileges

import (
	"fmt"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
)

// allowed are the system calls of the daemon, by what needs them. What is not here is refused with EPERM: starting a program, tracing
// another process, setting a clock, mounting, loading modules, raw access to devices, name spaces, keys. Names that this architecture
// lacks are left out.
var allowed = [...][]string{
	{ // The Go runtime, and the race detector's.
		"arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "clone", "clone3", "close", "exit", "exit_group", "futex", "get_mempolicy",
		"getcpu", "getpid", "getppid", "getrandom", "getrlimit", "gettid", "gettimeofday", "madvise", "membarrier", "mincore", "mlock", "mlockall", "mmap",
		"mprotect", "mremap", "munlock", "munmap", "nanosleep", "pipe2", "prctl", "prlimit64", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask",
		"rt_sigreturn", "rt_sigtimedwait", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address",
		"setitimer", "sigaltstack", "sysinfo", "tgkill", "kill", "time", "timer_create", "timer_delete", "timer_settime", "uname",
	},
	{ // Waiting.
		"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "poll", "ppoll", "pselect6", "select",
		"timerfd_create", "timerfd_gettime", "timerfd_settime",
	},
	{ // Files: the configuration, keys, the page, the state, the event log, devices of clocks.
		"access", "chmod", "chown", "copy_file_range", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchmod", "fchmodat",
		"fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "flock", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd", "getdents64", "ioctl", "lchown",
		"link", "linkat", "lseek", "lstat", "mkdir", "mkdirat", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "pwrite64", "pwritev", "read",
		"readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile", "splice", "stat", "statfs", "statx", "umask", "unlink",
		"unlinkat", "utimensat", "write", "writev",
	},
	{ // The network, the control socket, the service manager.
		"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg",
		"sendto", "setsockopt", "shutdown", "socket", "socketpair",
	},
	{ // Who am I.
		"capget", "getegid", "geteuid", "getgid", "getgroups", "getuid",
	},
}

// setClock are the calls by which the system's clock is steered.
var setClock = []string{"adjtimex", "clock_adjtime", "clock_adjtime64"}

// Confine makes the kernel refuse, with EPERM, every system call of this process that a clock does not need, from now on and in all
// threads. steer allows the calls that steer the system's clock. An error says why it could not be; then nothing has changed.
func Confine(steer bool) error {
	if !seccomp.Supported() {
		return fmt.Errorf("privileges: this kernel has no seccomp filters")
	}
	names, err := known(steer)
	if err != nil {
		return err
	}
	filter := seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: names}},
		},
	}
	if err := seccomp.LoadFilter(filter); err != nil {
		return fmt.Errorf("privileges: the system calls cannot be confined: %w", err)
	}
	return nil
}

// known returns the allowed calls that this architecture has.
func known(steer bool) ([]string, error) {
	here, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("privileges: the system calls of this architecture are not known: %w", err)
	}
	groups := allowed[:]
	if steer {
		groups = append(groups[:len(groups):len(groups)], setClock)
	}
	var names []string
	for _, group := range groups {
		for _, name := range group {
			if _, ok := here.SyscallNames[name]; ok {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
