package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/clockd/clockd/reason"
)

// A frame is its length (4 bytes, little-endian) and its bytes; the length 0 ends a stream and is refused in a session.
const frameHead = 4

// readChunk is by how much the memory for a frame grows while it arrives: a length alone takes none.
const readChunk = 64 << 10

// readFrame reads a frame of at most limit bytes into memory of its own.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	switch {
	case n == 0:
		return nil, fmt.Errorf("transport: an empty frame: %w", reason.LinkFrameMalformed)
	case uint64(n) > uint64(limit):
		return nil, fmt.Errorf("transport: a frame of %d bytes, and %d is the most: %w", n, limit, reason.LinkFrameLong)
	}
	b := make([]byte, 0, min(int(n), readChunk))
	for len(b) < int(n) {
		at := len(b)
		b = slices.Grow(b, min(int(n)-at, max(at, readChunk)))
		b = b[:min(cap(b), int(n))]
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, unexpected(err)
		}
	}
	return b, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// chunkWriter writes a stream as frames. Close writes the end, so that a stream that was cut is not taken for a whole one.
type chunkWriter struct{ w *bufio.Writer }

func (c chunkWriter) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		n := min(len(p), readChunk)
		var head [frameHead]byte
		binary.LittleEndian.PutUint32(head[:], uint32(n))
		if _, err := c.w.Write(head[:]); err != nil {
			return done, err
		}
		if _, err := c.w.Write(p[:n]); err != nil {
			return done, err
		}
		done += n
		p = p[n:]
	}
	return done, nil
}

func (c chunkWriter) end() error {
	if _, err := c.w.Write(make([]byte, frameHead)); err != nil {
		return err
	}
	return c.w.Flush()
}

// chunkReader reads such a stream: io.EOF only after its end, io.ErrUnexpectedEOF if it was cut.
type chunkReader struct {
	r    *bufio.Reader
	left int
	end  bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.left == 0 {
		var head [frameHead]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return 0, unexpected(err)
		}
		n := binary.LittleEndian.Uint32(head[:])
		if n == 0 {
			c.end = true
			return 0, io.EOF
		}
		if n > readChunk {
			return 0, fmt.Errorf("transport: a piece of a stream has %d bytes: %w", n, reason.LinkFrameLong)
		}
		c.left = int(n)
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, unexpected(err)
}
