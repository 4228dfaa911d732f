//go:build linux

package virtualclock

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// bootID returns the identity of the running kernel's boot. A page of an earlier boot belongs to a counter that has begun anew,
// and may look alive when that comes to the same readings.
func bootID() ([2]uint64, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(path)
	if err != nil {
		return [2]uint64{}, fmt.Errorf("the kernel's boot cannot be identified (is /proc mounted?): %w", err)
	}
	return parseBoot(string(text))
}

// parseBoot reads a boot's identity, with or without hyphens.
func parseBoot(text string) ([2]uint64, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), "-", ""))
	if err != nil || len(b) != 16 {
		return [2]uint64{}, fmt.Errorf("the boot cannot be identified: %.50q is not 32 hexadecimal digits", text)
	}
	return [2]uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, nil
}

// openRegular opens a file that must be a regular one, without ever waiting for somebody at the other end of it.
func openRegular(path string, flags int) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: %w", reason.PageMissing, err)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it is not a regular file (%v): %w", info.Mode().Type(), reason.PageMagic)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// mapPage maps a file of a page's size.
func mapPage(f *os.File, protection int) ([]byte, *pageWords, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, pageSize, protection, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("mapping it: %w", err)
	}
	return b, (*pageWords)(unsafe.Pointer(unsafe.SliceData(b))), nil
}
