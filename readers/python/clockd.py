"""Reads the clock that a clockd on this host keeps, from its shared page (docs/page.md), with the standard library alone.

    import clockd

    with clockd.Reader() as reader:                 # /run/clockd/page
        now = reader.now()
        if now.sound:                               # true time was in [now.earliest, now.latest] during that call,
            print(now.earliest, now.latest)         # in nanoseconds since 1970-01-01 UTC
        else:
            print("nothing is known:", now.reason)

Python cannot read the processor's counter. The page has a companion for such programs: the same interval as a function of
CLOCK_MONOTONIC_RAW, which is a little wider, because it contains the error of the relation between the two, which the daemon
measures. It is there half a second after the daemon's start, and never for simulated counters (skewed).

Python 3.8 or later, Linux. A Reader is for one thread at a time. A reading takes some 10 to 20 microseconds.
"""

import mmap
import os
import stat
import struct
import sys
import time
from typing import NamedTuple

__all__ = ["DEFAULT_PAGE", "Error", "Reader", "Reading"]

DEFAULT_PAGE = "/run/clockd/page"
VMCLOCK = "/dev/vmclock0"

UNSYNCHRONISED, DISRUPTED, HOLDOVER, SYNCHRONISED = range(4)
_STATUSES = ("unsynchronised", "disrupted", "holdover", "synchronised")
_KINDS = {0: "EXTERNAL", 1: "INTERNAL"}

_SIZE = 4096
_CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_SOURCES = {1: b"tsc", 2: b"arch_sys_counter"}
_RETIRED = 2**64 - 1
_SLACK = 1_000_000  # ns: what two processors' readings may differ by, and two clocks read one after the other

# From offset 64: the sequence; 144: epoch, status, reason, kind; 256: the reason's name; 288: VMClock's marker; 304: the companion.
_BODY = struct.Struct("<Q72xIBBB105x32s2Q6q2QQqQ")


class Error(Exception):
    """The page cannot be used. reason is the stable name of why, as clockd's other programs give it."""

    def __init__(self, path, reason, text):
        super().__init__(f"clockd page {path}: {text} ({reason})")
        self.reason = reason


class Reading(NamedTuple):
    """One reading of the clock."""

    status: str  #: synchronised, holdover, disrupted or unsynchronised
    reason: str  #: why the status is not synchronised, by its stable name; "ok" if it is
    earliest: int = None  #: nanoseconds since 1970-01-01 UTC, rounded down; None if nothing is known
    latest: int = None  #: the same, rounded up
    kind: str = "EXTERNAL"  #: INTERNAL: it says nothing of true time, but those of all correct members have a point in common
    epoch: int = 0  #: counts the steps of the clock
    raw: int = None  #: what CLOCK_MONOTONIC_RAW read; None if it was not read

    @property
    def sound(self):
        """True time was in [earliest, latest] (if kind is EXTERNAL)."""
        return self.earliest is not None

    def after(self, ns):
        """That time has certainly passed. Not after() does not mean before()."""
        return self.sound and self.earliest > ns

    def before(self, ns):
        """That time had certainly not come yet when the clock was read."""
        return self.sound and self.latest < ns


class Reader:
    """Reads the page at path. That the page is void at the moment is no error; Error if it cannot be read at all."""

    def __init__(self, path=DEFAULT_PAGE):
        self.path = os.fspath(path)
        self._map = None
        self._source = None
        self._looked = 0
        self._vmclock = None
        self._open()
        self._vmclock = _open_vmclock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Gives the page up."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._source is not None:
            os.close(self._source)
            self._source = None
        if self._vmclock is not None:
            self._vmclock.close()
            self._vmclock = None

    def now(self):
        """Reads the clock."""
        reading = self._look()
        if not reading.sound and self._follow():
            reading = self._look()
        return reading

    # ---- From here on: how it is done. ----

    def _fail(self, reason, text):
        raise Error(self.path, reason, text)

    def _open(self):
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._fail("page_missing", error.strerror)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                self._fail("page_magic", "it is not a regular file")
            if info.st_size != _SIZE:
                self._fail("page_size", f"it has {info.st_size} bytes, not {_SIZE}")
            page = mmap.mmap(fd, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        source = None
        try:
            kind, self._namespace = self._check(page)
            if kind in _SOURCES:
                try:
                    source = os.open(_CLOCKSOURCE, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    self._fail("page_counter", f"the kernel's clock source cannot be read: {error}")
        except BaseException:
            page.close()
            raise
        vmclock, self._vmclock = self._vmclock, None
        self.close()
        self._vmclock = vmclock
        self._map, self._kind, self._source, self._inode = page, kind, source, (info.st_dev, info.st_ino)

    def _check(self, page):
        """Checks what never changes; returns the counter's kind and the time namespace of this process."""
        version, size, kind = struct.unpack_from("<IIQ", page, 8)
        if page[:8] != b"CLOCKDPG":
            self._fail("page_magic", "it is not a clockd page")
        if version != 1:
            self._fail("page_version", f"it has version {version}, this program reads version 1")
        length = struct.unpack_from("<Q", page, 40)[0]
        if size != _SIZE or not 1 <= length <= 2048:
            self._fail("page_size", "it gives itself another size")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = bytes.fromhex(file.read().strip().replace("-", ""))
        if page[24:40] != boot:
            self._fail("page_void", "it was left by a daemon that ran before this host's last boot; start clockd")
        spec = page[512 : 512 + length]
        name = {1: b"tsc", 2: b"cntvct", 3: b"monotonic_raw"}.get(kind)
        if name is None or spec != name and not (spec.startswith(name + b"(") and spec.endswith(b")")):
            self._fail("page_counter", "it is made for a counter that only clockd's own programs can read, such as skewed(...)")
        try:
            namespace = int(os.readlink("/proc/self/ns/time")[len("time:[") : -1])
        except (OSError, ValueError):
            namespace = 0  # a kernel without them, or no /proc
        if kind == 3 and spec != name and spec != b"monotonic_raw(timens=%d)" % namespace:
            self._fail("page_counter", "it is made for another time namespace; run both in the same one")
        return kind, namespace

    def _follow(self):
        """Looks, at most once in 100 ms, whether there is another file at the path, and opens it."""
        now = time.monotonic_ns()
        if self._map is None or now - self._looked < 100_000_000:
            return False
        self._looked = now
        try:
            info = os.stat(self.path)
            if (info.st_dev, info.st_ino) == self._inode:
                return False
            self._open()
        except (OSError, Error):
            return False  # the old page goes on to tell why there is nothing
        return True

    def _snapshot(self):
        """Copies the page's changing part, all of one publication; a reason if that is not possible."""
        for attempt in range(2050):
            # One copy; what tells that it is whole is the sum in it, so that it does not matter in which order bytes were read.
            body = _BODY.unpack_from(self._map[64:392])
            if body[0] == _RETIRED:
                return None, "page_retired"
            if not body[0] & 1 and (not any(body[8:]) or _sum(body) == body[18]):
                return body, "ok"
            if attempt >= 2000:
                time.sleep(200e-6 if attempt >= 2020 else 0)
        return None, "page_torn"

    def _look(self):
        if self._map is None:
            return Reading("unsynchronised", "page_missing")
        body, why = self._snapshot()
        if body is None:
            return Reading("unsynchronised", why)
        _, epoch, status, hint, kind, name, marked, marker = body[:8]
        not_before, stale, void, at, earliest, latest, slow, fast, namespace, suspended = body[8:18]
        if status > SYNCHRONISED:
            status = UNSYNCHRONISED
        written = _reason(hint, name, status)
        raw = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)

        def nothing(status, why):
            return Reading(_STATUSES[status], why, epoch=epoch, raw=raw)

        if status < HOLDOVER:
            return nothing(status, written)
        if fast == 0 or namespace != self._namespace or not self._follows_counter():
            return nothing(UNSYNCHRONISED, "page_counter")
        if marked == 1 and self._vmclock is not None and struct.unpack_from("@Q", self._vmclock, 16)[0] != marker:
            return nothing(DISRUPTED, "host_paused")
        if raw < not_before:
            return nothing(DISRUPTED, "counter_backwards")
        if _was_suspended(suspended):
            return nothing(DISRUPTED, "host_suspended")
        if raw > void:
            return nothing(UNSYNCHRONISED, "page_void")
        if raw > stale and status == SYNCHRONISED:
            status, written = HOLDOVER, "stale"
        n = raw - at  # >> rounds down: the lower edge down, the upper edge, as minus something, up
        earliest += n * (slow if n >= 0 else fast) >> 48
        latest -= -n * (fast if n >= 0 else slow) >> 48
        if latest < earliest:
            return nothing(UNSYNCHRONISED, "contradiction")
        return Reading(_STATUSES[status], written, earliest, latest, _KINDS.get(kind, str(kind)), epoch, raw)

    def _follows_counter(self):
        """The kernel keeps time by the page's counter, so that CLOCK_MONOTONIC_RAW is a constant times it."""
        if self._source is None:
            return True
        return os.pread(self._source, 64, 0).strip() == _SOURCES[self._kind]


def _sum(body):
    """The sum that is at 384 in the page, over the rest of what was copied."""
    sequence, epoch, status, hint, kind, name = body[:6]
    words = (sequence, epoch | status << 32 | hint << 40 | kind << 48) + struct.unpack("<4Q", name) + body[6:18]
    total = 0
    for word in words:
        total = ((total ^ word & _RETIRED) * 0x9E3779B97F4A7C15) & _RETIRED
        total ^= total >> 32
    return total


def _reason(hint, name, status):
    """The writer's reason, or the most harmless one that fits."""
    if status == SYNCHRONISED:
        return "ok"
    text = name.split(b"\0")[0].decode("ascii", "replace")
    if hint and text and text != "ok" and all(c in "abcdefghijklmnopqrstuvwxyz0123456789_" for c in text):
        return text
    return "stale" if status == HOLDOVER else "never_synchronised"


def _open_vmclock(path=VMCLOCK):
    """Maps the page by which a hypervisor tells of migrations. Most hosts have none, and some let only root look."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if stat.S_ISREG(info.st_mode) and info.st_size < 24:
            return None
        page = mmap.mmap(fd, 4096 if not stat.S_ISREG(info.st_mode) else min(info.st_size, 4096), mmap.MAP_SHARED, mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
    magic, size, version = struct.unpack_from("<4sIH", page)
    if magic == b"VCLK" and 24 <= size <= 65536 and version == 1:
        return page
    page.close()
    return None


def _was_suspended(before):
    """The host was suspended since then: CLOCK_MONOTONIC_RAW stood still, so it says nothing."""
    for _ in range(5):  # a process that was interrupted between the two readings tries again
        monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if time.clock_gettime_ns(time.CLOCK_BOOTTIME) - monotonic <= before + _SLACK:
            return False
    return True


def _main(arguments):
    """Prints the interval in which true time is. 0: something is known; 1: nothing is; 2: there is no page."""
    try:
        with Reader(arguments[0] if arguments else DEFAULT_PAGE) as reader:
            now = reader.now()
    except Error as error:
        print(error, file=sys.stderr)
        return 2
    print(f"status   {now.status} ({now.reason})")
    if not now.sound:
        return 1
    if now.kind != "EXTERNAL":
        print(f"kind     {now.kind}: the time of a group, not UTC")
    for what, ns in (("earliest", now.earliest), ("latest", now.latest)):
        seconds, rest = divmod(ns, 10**9)
        print(f"{what:8} {time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z")
    print(f"width    {(now.latest - now.earliest) / 1e3:.3f} us")
    print(f"epoch    {now.epoch}")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
