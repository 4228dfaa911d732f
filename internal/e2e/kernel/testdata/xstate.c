// Preloaded by User-mode Linux on processors with a large extended state (AMX: 11 KB). The host's kernel takes PTRACE_SETREGSET of it in its
// full size only, and up to 6.12 User-mode Linux gives a shorter one ("ptrace set fp regs failed, errno = 14"). The rest is filled up with nothing.
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#include <sys/syscall.h>
static size_t full;
long ptrace(enum __ptrace_request req, ...) {
  va_list a; va_start(a, req);
  pid_t pid = va_arg(a, pid_t); void *addr = va_arg(a, void *); void *data = va_arg(a, void *);
  va_end(a);
  if (req == 0x4205 && (long)addr == 0x202) {
    static char big[32768] __attribute__((aligned(64)));
    struct iovec *v = data, w;
    if (!full) {
      w.iov_base = big; w.iov_len = sizeof big;
      if (syscall(SYS_ptrace, 0x4204L, (long)pid, addr, &w) < 0) return -1;
      full = w.iov_len;
    }
    size_t n = v->iov_len < full ? v->iov_len : full;
    memset(big, 0, full);
    memcpy(big, v->iov_base, n);
    uint64_t bv; memcpy(&bv, big + 512, 8); bv &= (1u << 10) - 1; memcpy(big + 512, &bv, 8);
    w.iov_base = big; w.iov_len = full;
    return syscall(SYS_ptrace, (long)req, (long)pid, addr, &w);
  }
  if (req >= 1 && req <= 3) { long v, r = syscall(SYS_ptrace, (long)req, (long)pid, addr, &v); if (r >= 0) { errno = 0; return v; } return r; }
  return syscall(SYS_ptrace, (long)req, (long)pid, addr, data);
}
