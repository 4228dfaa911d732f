package virtualclock

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// The shared page, version 1; docs/page.md is its description for people and other languages.
const (
	pageMagic   = "CLOCKDPG"
	pageVersion = 1
	pageSize    = 4096

	// pageRetired in the sequence word means: this page was replaced, for ever. It is odd, so that whoever does not know it
	// still takes nothing from the page.
	pageRetired = ^uint64(0)
)

// The words of the page, by index; the byte offset is 8 times that. The first 64 bytes never change while the file exists. What
// an interval needs is in the two cache lines that follow.
const (
	wordMagic      = 0
	wordVersion    = 1 // version, size: 32 bits each
	wordKind       = 2
	wordBoot       = 3 // two words
	wordSpecLength = 5

	wordSequence       = 8
	wordNotBefore      = 9
	wordStaleAfter     = 10
	wordVoidAfter      = 11
	wordAt             = 12
	wordEarliest       = 13
	wordLatest         = 14
	wordBoundFractions = 15 // of Earliest, of Latest: 32 bits each

	wordSlow          = 16
	wordFast          = 17
	wordMeta          = 18 // epoch: 32 bits; status: 8; reason: 8; kind: 8; nothing: 8
	wordSlewEnd       = 19
	wordSlewC0        = 20
	wordSlewT0        = 21
	wordSlewPeriod    = 22
	wordSteadyC0      = 23
	wordSteadyT0      = 24
	wordSteadyPeriod  = 25
	wordLineFractions = 26 // of the T0 of Slew, of Steady
	wordDifference    = 27
	wordHertz         = 28 // float64
	wordHertzError    = 29 // float64
	wordPublished     = 30
	wordInstance      = 31
	wordReason        = 32 // four words: the reason's name, padded with NUL

	wordMarked = 36 // 1: the writer watches VMClock
	wordMarker = 37 // its disruption marker, as the writer knew it

	wordLeap        = 49 // TAI − UTC: 32 bits; whether it is known: 8; the leap second's sign: 8; nothing: 16
	wordLeapAt      = 50
	wordLeapExpires = 51

	wordSpec = 64

	reasonBytes = 32
	specBytes   = 2048
)

// Kinds of counters for readers that do not want to parse a spec.
const (
	kindOther        = 0
	kindTSC          = 1
	kindCNTVCT       = 2
	kindMonotonicRaw = 3
)

func kindOf(c hw.Counter) uint64 {
	switch {
	case hw.IsTSC(c):
		return kindTSC
	case hw.IsCNTVCT(c):
		return kindCNTVCT
	case strings.HasPrefix(c.Spec(), "monotonic_raw"):
		return kindMonotonicRaw
	}
	return kindOther
}

// pageWords is the mapped page. Every access is a whole atomic word, little-endian in memory.
type pageWords [pageSize / 8]atomic.Uint64

func (p *pageWords) load(i int) uint64     { return littleEndian(p[i].Load()) }
func (p *pageWords) store(i int, v uint64) { p[i].Store(littleEndian(v)) }

// littleEndian converts a word between the host's order and the page's, either way.
func littleEndian(v uint64) uint64 {
	if hostIsBigEndian {
		return bits.ReverseBytes64(v)
	}
	return v
}

func (p *pageWords) storeText(i, size int, text string) {
	var b [8]byte
	for n := 0; n < size; n += 8 {
		clear(b[:])
		if n < len(text) {
			copy(b[:], text[n:])
		}
		p.store(i+n/8, binary.LittleEndian.Uint64(b[:]))
	}
}

// header is what never changes in a page.
type header struct {
	kind uint64
	boot [2]uint64
	spec string
}

// parseHeader checks that a page is one of this version and size. The error wraps PageMagic, PageVersion or PageSize.
func parseHeader(p *pageWords) (header, error) {
	if p.load(wordMagic) != binary.LittleEndian.Uint64([]byte(pageMagic)) {
		return header{}, fmt.Errorf("it does not begin with %s: %w", pageMagic, reason.PageMagic)
	}
	v := p.load(wordVersion)
	if uint32(v) != pageVersion {
		return header{}, fmt.Errorf("it has version %d, this program reads version %d; both must come from clockd versions that "+
			"share one: %w", uint32(v), pageVersion, reason.PageVersion)
	}
	if v>>32 != pageSize {
		return header{}, fmt.Errorf("it says that it has %d bytes, not %d: %w", v>>32, pageSize, reason.PageSize)
	}
	n := p.load(wordSpecLength)
	if n == 0 || n > specBytes {
		return header{}, fmt.Errorf("its counter spec has %d bytes, not 1 to %d: %w", n, specBytes, reason.PageSize)
	}
	var text [specBytes]byte
	for i := range uint64(specBytes / 8) {
		binary.LittleEndian.PutUint64(text[8*i:], p.load(wordSpec+int(i)))
	}
	return header{p.load(wordKind), [2]uint64{p.load(wordBoot), p.load(wordBoot + 1)}, string(text[:n])}, nil
}

// store writes the header of a new page, whose sequence is 0 and whose status is Unsynchronised.
func (h *header) store(p *pageWords) {
	p.store(wordMagic, binary.LittleEndian.Uint64([]byte(pageMagic)))
	p.store(wordVersion, pageVersion|pageSize<<32)
	p.store(wordKind, h.kind)
	p.store(wordBoot, h.boot[0])
	p.store(wordBoot+1, h.boot[1])
	p.store(wordSpecLength, uint64(len(h.spec)))
	p.storeText(wordSpec, specBytes, h.spec)
}

// sameCounter reports whether readers of a page with this header read the counter that c is. A CPU's own counter is the same
// whatever nominal frequency somebody measured for it; the frequency that counts is in the page's changing part.
func (h *header) sameCounter(c hw.Counter) bool {
	kind := kindOf(c)
	return h.kind == kind && (kind == kindTSC || kind == kindCNTVCT || h.spec == c.Spec())
}

// content is the changing part of a page.
type content struct {
	Coefficients
	notBefore hw.Ticks
	published hw.Ticks
	frequency hw.Frequency
	instance  uint64
	why       reason.Code
	// marked: the writer watches VMClock, and marker is the disruption marker of which it took account.
	marked bool
	marker uint64
	leap   LeapState // written, and read by decodeLeap only
}
