"""What the tests drive readers/python/clockd.py with; the same as reader.c, but that the interval is all that it knows: time is
nothing, and ticks are those of CLOCK_MONOTONIC_RAW. compare wants the reading of that clock behind each page."""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "readers", "python"))

import clockd

OUT = struct.Struct("<3q4I2QBB38s")
STATUSES = {"unsynchronised": 0, "disrupted": 1, "holdover": 2, "synchronised": 3}


def clamp(ns):
    return max(-(2**63), min(ns, 2**63 - 1))


def put(now, instance):
    earliest, latest = (now.earliest, now.latest) if now.sound else (-(2**63), 2**63 - 1)
    kind = {"EXTERNAL": 0, "INTERNAL": 1}.get(now.kind)
    out = OUT.pack(
        clamp(earliest), clamp(latest), 0, 0, 0 if now.sound else 2**32 - 1, 0, now.epoch,
        (now.raw or 0) & (2**64 - 1), instance, STATUSES[now.status], int(now.kind) if kind is None else kind, now.reason.encode(),
    )
    try:
        sys.stdout.buffer.write(out)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)


class Clock:
    """The module time, with a clock that the test sets."""

    CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC, CLOCK_BOOTTIME = "raw", "monotonic", "boottime"

    def clock_gettime_ns(self, clock):
        return {"raw": self.raw, "monotonic": 0, "boottime": 7}[clock]

    def monotonic_ns(self):
        return 1

    def sleep(self, _):
        pass


def compare():
    reader = clockd.Reader.__new__(clockd.Reader)
    reader.path, reader._source, reader._looked, reader._namespace, reader._vmclock = "", None, 1, 9, None
    clockd.time = clock = Clock()
    while True:
        page = sys.stdin.buffer.read(512)
        if len(page) < 512:
            return
        (clock.raw,) = struct.unpack("<q", sys.stdin.buffer.read(8))
        reader._map = page
        put(reader.now(), 0)


def main(mode, path=None):
    if mode == "compare":
        compare()
        return 0
    try:
        reader = clockd.Reader(path)
        reader._vmclock = clockd._open_vmclock(os.environ.get("CLOCKD_TEST_VMCLOCK", "/none"))
    except clockd.Error as error:
        print(error.reason)
        return 2
    if mode == "open":
        print("ok")
        return 0
    while True:
        now = reader.now()
        put(now, struct.unpack_from("<Q", reader._map, 248)[0])


sys.exit(main(*sys.argv[1:]))
