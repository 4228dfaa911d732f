//go:build linux

package hw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// VMClockPath is where Linux (6.13 and later) shows the first VMClock device.
const VMClockPath = "/dev/vmclock0"

// The part of struct vmclock_abi (include/uapi/linux/vmclock-abi.h, version 1) that is used here, all little-endian.
const (
	vmclockMagic   = 0x4b4c4356 // "VCLK"
	vmclockVersion = 1
	vmclockMarker  = 16 // the disruption marker's place
	vmclockLeast   = 24 // so many bytes hold all of it
	vmclockMost    = 1 << 16
)

// VMClock is the page in which a hypervisor tells its guest of live migrations and restored snapshots: a sign that is there before the
// guest runs again, unlike all that the guest can find out itself. Tested on a file of that layout, but NOT under a hypervisor that has
// the device, because none was at hand.
type VMClock struct {
	mapped []byte
	marker *atomic.Uint64
}

// OpenVMClock maps the device, or a file of its layout. errors.Is(err, fs.ErrNotExist) means that this host has none.
func OpenVMClock(path string) (*VMClock, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hw: vmclock: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("hw: vmclock: %s cannot be mapped: %w", path, err)
	}
	// A file may be shorter than what is mapped of it, and reading beyond its end would kill the process.
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() < vmclockLeast {
		return nil, errors.Join(fmt.Errorf("hw: vmclock: %s has %d bytes, too few", path, info.Size()), unix.Munmap(b))
	}
	if err := checkVMClock(b[:vmclockLeast]); err != nil {
		return nil, errors.Join(fmt.Errorf("hw: vmclock: %s: %w", path, err), unix.Munmap(b))
	}
	v := &VMClock{mapped: b, marker: (*atomic.Uint64)(unsafe.Pointer(&b[vmclockMarker]))}
	runtime.AddCleanup(v, func(b []byte) { _ = unix.Munmap(b) }, b)
	return v, nil
}

// checkVMClock says whether the head of a page is one that is understood here.
func checkVMClock(head []byte) error {
	if len(head) < vmclockLeast {
		return fmt.Errorf("it has %d bytes, too few", len(head))
	}
	if magic := binary.LittleEndian.Uint32(head); magic != vmclockMagic {
		return fmt.Errorf("it begins with %#x: this is no VMClock", magic)
	}
	if size := binary.LittleEndian.Uint32(head[4:]); size < vmclockLeast || size > vmclockMost {
		return fmt.Errorf("it claims to have %d bytes", size)
	}
	if version := binary.LittleEndian.Uint16(head[8:]); version != vmclockVersion {
		return fmt.Errorf("it has version %d, this clockd knows version %d", version, vmclockVersion)
	}
	return nil
}

// Marker returns the disruption marker: another value than before means that the counter was disrupted in between, as by a live
// migration. It is one load from memory.
func (v *VMClock) Marker() uint64 { return v.marker.Load() }
