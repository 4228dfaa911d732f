package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// LogFormat is the version of the log's format: it grows when a key goes or changes its meaning.
const LogFormat = 1

// Record is one line of the log: exactly one of its fields is set. docs/observe.md documents the format.
type Record struct {
	Header  *Header  `json:"header,omitempty"`
	Segment *Segment `json:"segment,omitempty"`
	Start   *Start   `json:"start,omitempty"`
	Address *Address `json:"address,omitempty"`
	Sample  *Sample  `json:"sample,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
	Round   *Round   `json:"round,omitempty"`
	End     *End     `json:"end,omitempty"`
}

// Header is the first record.
type Header struct {
	Program string `json:"program"`
	Version string `json:"version"`
	Format  int    `json:"format"`
	Config  Config `json:"config"`
	Began   string `json:"began"`
}

// Instant is this host's state at one reading of the counter.
type Instant struct {
	// Ticks is the counter, Realtime what CLOCK_REALTIME said (nanoseconds since 1970) when the counter was Ticks ± Error.
	Ticks    hw.Ticks `json:"ticks"`
	Realtime int64    `json:"realtime_ns"`
	Error    hw.Ticks `json:"error_ticks"`
	// Raw is CLOCK_MONOTONIC_RAW, Suspended how long the host has been suspended since it booted, up to a constant.
	Raw       int64 `json:"raw_ns"`
	Suspended int64 `json:"suspended_ns"`
}

// Segment begins a stretch in which the counter runs on undisturbed. The raw timeline of a segment is its counter at its nominal
// frequency from its anchor, where it shows what the system clock showed.
type Segment struct {
	Number int    `json:"number"`
	BootID string `json:"boot_id"`
	// Counter is its spec (hw.Open), Hertz and ErrorPPB its nominal frequency and that one's own error.
	Counter  string  `json:"counter"`
	Hertz    float64 `json:"hertz"`
	ErrorPPB float64 `json:"error_ppb"`
	Anchor   Instant `json:"anchor"`
	// Reason is why the one before ended; OK at the beginning and after a reboot.
	Reason reason.Code `json:"reason"`
}

// Start says that a process goes on in the present segment, after a gap.
type Start struct {
	Segment int     `json:"segment"`
	At      Instant `json:"at"`
}

// Address says where a host is asked from now on. A new address is another clock: what was known of the old one is void.
type Address struct {
	Server  int            `json:"server"`
	Address netip.AddrPort `json:"address"`
	// Every is how many polls apart it is asked.
	Every int64 `json:"every"`
}

// Sample is one good exchange.
type Sample struct {
	Segment int   `json:"segment"`
	Round   int64 `json:"round"`
	Server  int   `json:"server"`
	// Address is where it was asked: if it is another than before, the server is another one too.
	Address netip.AddrPort `json:"address"`
	// Departed and Arrived (T1, T4) are on the counter, Receive and Transmit (T2, T3) are the server's, in nanoseconds since 1970.
	Departed hw.Stamp          `json:"departed"`
	Arrived  hw.Stamp          `json:"arrived"`
	Receive  virtualclock.Time `json:"receive_ns"`
	Transmit virtualclock.Time `json:"transmit_ns"`
	// What the server says of itself: root delay and dispersion in seconds, precision as log2 of seconds.
	RootDelay      float64 `json:"root_delay_s"`
	RootDispersion float64 `json:"root_dispersion_s"`
	Precision      int8    `json:"precision_log2_s"`
	Stratum        uint8   `json:"stratum"`
	Leap           uint8   `json:"leap"`
	Version        uint8   `json:"version"`
	ReferenceID    uint32  `json:"reference_id"`
	// Cross relates the counter to the system clock just after the arrival.
	Cross hw.CrossReading `json:"cross"`
	// Stray counts datagrams that were ignored while the answer was waited for.
	Stray map[string]uint64 `json:"stray,omitempty"`
	// The rest is for people and other programs, and not read again: the server's clock − the raw timeline, its half-width, the
	// round trip without the server's part, and the server's clock − the system clock, all in seconds.
	Offset       float64 `json:"offset_s"`
	Error        float64 `json:"error_s"`
	Delay        float64 `json:"delay_s"`
	SystemOffset float64 `json:"system_offset_s"`
}

// Failure says why a server gave no sample.
type Failure struct {
	Segment int         `json:"segment"`
	Round   int64       `json:"round"`
	Server  int         `json:"server"`
	Reason  reason.Code `json:"reason"`
	Message string      `json:"message"`
	// Sent: a request went out.
	Sent bool `json:"sent"`
	// Every is how many polls apart the server is asked from now on; Stopped: it is not asked any more.
	Every   int64             `json:"every"`
	Stopped bool              `json:"stopped"`
	Stray   map[string]uint64 `json:"stray,omitempty"`
}

// Round says that all servers that were due in a round have answered, or will not. At is the instant at which their intervals
// are compared.
type Round struct {
	Segment int     `json:"segment"`
	Number  int64   `json:"number"`
	At      Instant `json:"at"`
}

// End says that the process ends, and why.
type End struct {
	Segment int     `json:"segment"`
	At      Instant `json:"at"`
	Why     string  `json:"why"`
}

// serverError is the half-width of what the server's time may be wrong by, as it says itself.
func (s *Sample) serverError() float64 {
	return s.RootDelay/2 + s.RootDispersion + math.Ldexp(1, int(s.Precision))
}

const (
	// maxLine is the longest line that is written or read.
	maxLine = 1 << 14
	// mark comes before the checksum, which is followed by `"}`.
	mark     = `,"crc":"`
	checkLen = len(mark) + 8 + 2
)

func checksum(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// encode returns the record's line with its end. The last key is the CRC-32C of all the bytes before it.
func (r *Record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("a record cannot be written: %w", err)
	}
	b = bytes.TrimSuffix(b, []byte("}"))
	b = append(b, mark+checksum(b)+"\"}\n"...)
	if len(b) > maxLine {
		return nil, fmt.Errorf("a record cannot be written: %d bytes are too long", len(b))
	}
	return b, nil
}

// decode reads a line without its end.
func decode(line []byte) (*Record, error) {
	n := len(line) - checkLen
	if n < 1 || !bytes.HasPrefix(line[n:], []byte(mark)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return nil, errors.New("it does not end with a checksum")
	}
	if sum := checksum(line[:n]); string(line[n+len(mark):n+len(mark)+8]) != sum {
		return nil, fmt.Errorf("its checksum should be %s", sum)
	}
	d := json.NewDecoder(io.MultiReader(bytes.NewReader(line[:n]), bytes.NewReader([]byte("}"))))
	d.DisallowUnknownFields()
	r := new(Record)
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("it is no record: %w", err)
	}
	return r, r.check()
}

// check looks at a record by itself: its values must not bring what uses them out of range.
func (r *Record) check() error {
	set := 0
	var err error
	look := func(there bool, check func() error) {
		if there {
			set++
			err = check()
		}
	}
	look(r.Header != nil, func() error { return r.Header.check() })
	look(r.Segment != nil, func() error { return r.Segment.check() })
	look(r.Start != nil, func() error { return r.Start.At.check() })
	look(r.Address != nil, func() error { return r.Address.check() })
	look(r.Sample != nil, func() error { return r.Sample.check() })
	look(r.Failure != nil, func() error { return r.Failure.check() })
	look(r.Round != nil, func() error { return errors.Join(inRange("round", r.Round.Number), r.Round.At.check()) })
	look(r.End != nil, func() error { return r.End.At.check() })
	if set != 1 {
		return fmt.Errorf("it is %d records in one", set)
	}
	return err
}

func (h *Header) check() error {
	if h.Format != LogFormat {
		return fmt.Errorf("its format is %d, this version reads %d", h.Format, LogFormat)
	}
	if _, err := time.Parse(time.RFC3339Nano, h.Began); err != nil {
		return fmt.Errorf("its beginning: %w", err)
	}
	return h.Config.Check()
}

// The limits of this host's clocks in a log: nanoseconds about the years 1970 to 2262, and what may be subtracted from another.
const maxNanoseconds = math.MaxInt64 / 2

func (i *Instant) check() error {
	for _, v := range []int64{i.Realtime, i.Raw, i.Suspended} {
		if v > maxNanoseconds || v < -maxNanoseconds {
			return fmt.Errorf("a clock reads %d ns", v)
		}
	}
	return ticksInRange(i.Error)
}

func ticksInRange(all ...hw.Ticks) error {
	for _, t := range all {
		if t > 1<<40 {
			return fmt.Errorf("an error of %d ticks", uint64(t))
		}
	}
	return nil
}

func inRange(what string, n int64) error {
	if n < 0 || n > 1<<52 {
		return fmt.Errorf("%s is %d", what, n)
	}
	return nil
}

func (s *Segment) check() error {
	if s.Number < 0 || s.Number > 1<<30 || !(s.Hertz >= 1e6 && s.Hertz <= 1e11) || !(s.ErrorPPB >= 0 && s.ErrorPPB <= 1e6) {
		return fmt.Errorf("segment %d has a counter of %g Hz ± %g ppb", s.Number, s.Hertz, s.ErrorPPB)
	}
	if len(s.Counter) > 1000 || len(s.BootID) > 100 {
		return errors.New("it has a counter or a boot of too long a name")
	}
	return s.Anchor.check()
}

func (a *Address) check() error {
	if !a.Address.IsValid() || a.Address.Port() == 0 {
		return errors.New("it has no address")
	}
	return inRange("every", a.Every-1)
}

func (s *Sample) check() error {
	if err := errors.Join(inRange("round", s.Round), ticksInRange(s.Departed.Error, s.Arrived.Error, s.Cross.Error)); err != nil {
		return err
	}
	if !(s.RootDelay >= 0 && s.RootDelay <= 65536 && s.RootDispersion >= 0 && s.RootDispersion <= 65536) || s.Precision > 16 {
		return errors.New("the server's own error is out of range")
	}
	if s.Departed.Kind == hw.StampNone || s.Arrived.Kind == hw.StampNone || s.Arrived.NotAfter().Before(s.Departed.NotBefore()) {
		return errors.New("its stamps are missing or out of order")
	}
	for _, ns := range []int64{s.Receive.UnixNano(), s.Transmit.UnixNano(), s.Cross.Realtime} {
		if ns > maxNanoseconds || ns < -maxNanoseconds {
			return fmt.Errorf("a clock reads %d ns", ns)
		}
	}
	if s.Transmit.Before(s.Receive) || s.Stratum > ntp.MaxStratum || s.Stratum == 0 || s.Leap >= ntp.LeapUnsynchronised {
		return errors.New("the answer is not one of a server that knows the time")
	}
	if !s.Address.IsValid() {
		return errors.New("it has no address")
	}
	return strays(s.Stray)
}

func (f *Failure) check() error {
	if f.Reason == reason.OK || len(f.Message) > 4096 {
		return errors.New("a failure has a reason and a short message")
	}
	return errors.Join(inRange("round", f.Round), inRange("every", f.Every-1), strays(f.Stray))
}

func strays(m map[string]uint64) error {
	for name, n := range m {
		var c reason.Code
		if err := c.UnmarshalText([]byte(name)); err != nil {
			return err
		}
		if n > 1<<52 {
			return fmt.Errorf("%d datagrams", n)
		}
	}
	return nil
}
