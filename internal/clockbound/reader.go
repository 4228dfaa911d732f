package clockbound

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/clockd/clockd/reason"
)

// Read returns what is in the segment at path, whoever writes it. The error wraps what Parse's does, or PageMissing.
func Read(path string) (Segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return Segment{}, fmt.Errorf("clockbound: %w: %w", reason.PageMissing, err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return Segment{}, fmt.Errorf("clockbound: %s is not a regular file: %w", path, reason.PageMagic)
	}
	const tries = 100
	var before []byte
	for range tries {
		b := make([]byte, Size)
		n, err := f.ReadAt(b, 0)
		if err != nil && err != io.EOF {
			return Segment{}, fmt.Errorf("clockbound: %w", err)
		}
		b = b[:n]
		// Two copies that are the same, generation and all, are of one publication.
		if bytes.Equal(b, before) {
			s, generation, err := Parse(b)
			if err == nil || generation == 0 || generation&1 == 0 {
				return s, err
			}
		}
		before = b
		time.Sleep(100 * time.Microsecond)
	}
	return Segment{}, fmt.Errorf("clockbound: %s: %w", path, reason.PageTorn)
}
