package wal

import "fmt"

// Mode says what a record survives once it is durable.
type Mode uint8

// The modes.
const (
	// Fsync records survive a power failure, as far as the disk keeps its promise.
	Fsync Mode = iota
	// OS records survive the end of the process, not of the machine.
	OS
	// Memory records survive nothing; they are not written at all. Those that are marked Always are, and survive a power failure.
	Memory
)

// String returns the mode's name, as ParseMode takes it.
func (m Mode) String() string {
	switch m {
	case Fsync:
		return "fsync"
	case OS:
		return "os"
	case Memory:
		return "memory"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode is the mode of that name: fsync, os or memory.
func ParseMode(name string) (Mode, error) {
	for _, m := range []Mode{Fsync, OS, Memory} {
		if m.String() == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("wal: %q is no durability: use fsync, os or memory", name)
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}
