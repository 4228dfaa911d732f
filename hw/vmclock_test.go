package hw

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// vmclockFile writes a file of VMClock's layout.
func vmclockFile(t testing.TB, marker uint64) string {
	t.Helper()
	b := make([]byte, os.Getpagesize())
	binary.LittleEndian.PutUint32(b, vmclockMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	binary.LittleEndian.PutUint16(b[8:], vmclockVersion)
	binary.LittleEndian.PutUint64(b[vmclockMarker:], marker)
	path := filepath.Join(t.TempDir(), "vmclock")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mark writes a new marker into a file that others have mapped, as a hypervisor does.
func mark(t testing.TB, path string, marker uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, marker), vmclockMarker); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestVMClockShowsDisruptions(t *testing.T) {
	path := vmclockFile(t, 7)
	v, err := OpenVMClock(path)
	if err != nil {
		t.Fatal(err)
	}
	before := v.Marker()
	if v.Marker() != before {
		t.Error("the marker changes by itself")
	}
	mark(t, path, 8)
	if v.Marker() == before {
		t.Error("a disruption is not seen")
	}
}

func TestVMClockRefusesWhatIsNone(t *testing.T) {
	if _, err := OpenVMClock(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	for what, alter := range map[string]func(b []byte) []byte{
		"another magic": func(b []byte) []byte { b[0]++; return b }, "another version": func(b []byte) []byte { b[8]++; return b },
		"no size": func(b []byte) []byte { clear(b[4:8]); return b }, "cut": func(b []byte) []byte { return b[:20] }, "empty": func([]byte) []byte { return nil },
	} {
		path := vmclockFile(t, 1)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, alter(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenVMClock(path); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func FuzzCheckVMClock(f *testing.F) {
	b, err := os.ReadFile(vmclockFile(f, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:vmclockLeast])
	f.Add(b[:3])
	f.Fuzz(func(t *testing.T, head []byte) {
		if err := checkVMClock(head); err == nil && (len(head) < vmclockLeast || string(head[:4]) != "VCLK") {
			t.Errorf("%x is taken for a VMClock", head)
		}
	})
}
