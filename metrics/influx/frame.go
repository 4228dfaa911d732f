package influx

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A spool file is a sequence of frames, and also plain line protocol, which `influx write -f` takes as it is: before each batch there
// is a comment that says how many points and bytes follow and what their CRC-32C is.
const (
	frameMark   = "#clockd 1 "
	frameFormat = frameMark + "%d %d %08x\n"
	maxHeader   = len(frameMark) + 10 + 1 + 10 + 1 + 8 + 1
	// maxFrame is the longest batch that is written or believed.
	maxFrame = 1 << 20
)

// castagnoli is the polynomial of CRC-32C.
func checksum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

// appendFrame appends a batch.
func appendFrame(b []byte, points int, body []byte) []byte {
	return append(fmt.Appendf(b, frameFormat, points, len(body), checksum(body)), body...)
}

// header is the comment before a batch.
type header struct {
	points, bytes int
	sum           uint32
	// size is its own length.
	size int
}

// parseHeader reads a header at the beginning of b.
func parseHeader(b []byte) (h header, ok bool) {
	if !bytes.HasPrefix(b, []byte(frameMark)) {
		return h, false
	}
	end := bytes.IndexByte(b[:min(len(b), maxHeader)], '\n')
	if end < 0 {
		return h, false
	}
	words := bytes.Split(b[len(frameMark):end], []byte(" "))
	if len(words) != 3 || len(words[2]) != 8 {
		return h, false
	}
	points, err1 := strconv.ParseUint(string(words[0]), 10, 31)
	size, err2 := strconv.ParseUint(string(words[1]), 10, 31)
	sum, err3 := strconv.ParseUint(string(words[2]), 16, 32)
	if err1 != nil || err2 != nil || err3 != nil || size == 0 || size > maxFrame || points == 0 || points > size {
		return h, false
	}
	return header{int(points), int(size), uint32(sum), end + 1}, true
}

// nextFrame finds the next whole frame in b. skip are the bytes before it, which belong to none; they may hold lost points. body is nil
// if there is none: then skip is what can be given up, and what follows it may be the beginning of a frame that b ends in.
func nextFrame(b []byte) (skip int, h header, body []byte) {
	for {
		at := bytes.Index(b[skip:], []byte(frameMark))
		if at < 0 {
			// The mark itself may be cut.
			return max(skip, len(b)-len(frameMark)+1), header{}, nil
		}
		skip += at
		h, ok := parseHeader(b[skip:])
		if !ok {
			if len(b)-skip < maxHeader && !bytes.Contains(b[skip:], []byte("\n")) {
				return skip, header{}, nil // cut
			}
			skip++
			continue
		}
		if len(b)-skip-h.size < h.bytes {
			return skip, h, nil
		}
		body := b[skip+h.size:][:h.bytes]
		if checksum(body) == h.sum {
			return skip, h, body
		}
		skip++
	}
}
