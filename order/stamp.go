package order

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Node names a host, or whatever else makes events one after the other.
type Node uint64

// Key is a place in a total order: by time, then node, then sequence number. Keys of different events differ as long as no node
// uses a sequence number twice.
type Key struct {
	Time     virtualclock.Time
	Node     Node
	Sequence uint64
}

// Compare returns −1, 0 or +1.
func (k Key) Compare(o Key) int {
	if c := k.Time.Compare(o.Time); c != 0 {
		return c
	}
	if c := cmp.Compare(k.Node, o.Node); c != 0 {
		return c
	}
	return cmp.Compare(k.Sequence, o.Sequence)
}

// less is Compare < 0, for the queues.
func (k *Key) less(o *Key) bool {
	if a, b := k.Time.UnixNano(), o.Time.UnixNano(); a != b {
		return a < b
	}
	if a, b := k.Time.Fraction(), o.Time.Fraction(); a != b {
		return a < b
	}
	if k.Node != o.Node {
		return k.Node < o.Node
	}
	return k.Sequence < o.Sequence
}

// Stamp says when and where an event happened, as far as the clock could tell.
type Stamp struct {
	virtualclock.Interval
	// Group names the clocks that a clock of kind INTERNAL agrees with. It means nothing for EXTERNAL ones.
	Group    uint64
	Node     Node
	Sequence uint64
}

// Compare tells the order of two events from their stamps, by their intervals alone: it is the strict partial order of the
// function Compare, for clocks of INTERNAL kind within their group only.
func (s *Stamp) Compare(o *Stamp) Relation {
	if s.Kind == virtualclock.Internal && s.Group != o.Group {
		return CannotTell
	}
	return Compare(s.Interval, o.Interval)
}

// Why returns why Compare cannot tell, OK if it can.
func (s *Stamp) Why(o *Stamp) reason.Code {
	why := Why(s.Interval, o.Interval)
	if s.Sound() && o.Sound() && s.Kind == o.Kind && s.Kind == virtualclock.Internal && s.Group != o.Group {
		return reason.IntervalGroup
	}
	return why
}

// Key is the event's place in a total order that extends the partial one: if x.Compare(&y) is Before then x.Key() is less than
// y.Key(). Events of one Stamper are in the order in which they were stamped, as long as its clock's epoch is the same.
//
// The time of the key is an edge: EARLIEST for an EXTERNAL interval and latest for an INTERNAL one. Any choice from within the
// interval would extend the partial order; these edges are the ones that never go back on one node.
func (s *Stamp) Key() Key {
	if s.Kind == virtualclock.External {
		return Key{s.Earliest, s.Node, s.Sequence}
	}
	return Key{s.Latest, s.Node, s.Sequence}
}

// StampSize is the length of an encoded Stamp in bytes.
const StampSize = 1 + 1 + 1 + 4 + 3*8 + 2*12

const stampVersion = 1

// AppendBinary appends the stamp in StampSize bytes. Numbers are big-endian: version 1, status, kind, epoch (4 bytes), group, node,
// sequence (8 each), earliest and latest (8 bytes of nanoseconds since the Unix epoch and 4 of 2⁻³² ns).
func (s *Stamp) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, stampVersion, byte(s.Status), byte(s.Kind))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Epoch))
	b = binary.BigEndian.AppendUint64(b, s.Group)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Node))
	b = binary.BigEndian.AppendUint64(b, s.Sequence)
	return appendTime(appendTime(b, s.Earliest), s.Latest), nil
}

// MarshalBinary is AppendBinary to nothing.
func (s *Stamp) MarshalBinary() ([]byte, error) { return s.AppendBinary(make([]byte, 0, StampSize)) }

// UnmarshalBinary reads what AppendBinary wrote. It accepts no interval that is inverted and no sound one without edges.
func (s *Stamp) UnmarshalBinary(b []byte) error {
	if len(b) != StampSize || b[0] != stampVersion {
		return fmt.Errorf("order: a stamp has %d bytes and begins with %d: %w", StampSize, stampVersion, reason.EncodingMalformed)
	}
	var n Stamp
	n.Status, n.Kind = virtualclock.Status(b[1]), virtualclock.Kind(b[2])
	n.Epoch = virtualclock.Epoch(binary.BigEndian.Uint32(b[3:]))
	n.Group, n.Node = binary.BigEndian.Uint64(b[7:]), Node(binary.BigEndian.Uint64(b[15:]))
	n.Sequence = binary.BigEndian.Uint64(b[23:])
	n.Earliest, n.Latest = readTime(b[31:]), readTime(b[43:])
	if n.Status > virtualclock.Synchronised || n.Kind > virtualclock.Internal || n.Latest.Before(n.Earliest) {
		return fmt.Errorf("order: the stamp's interval is none: %w", reason.EncodingMalformed)
	}
	if !n.Sound() && (n.Earliest != virtualclock.MinTime() || n.Latest != virtualclock.MaxTime()) {
		return fmt.Errorf("order: the stamp has an interval and no clock that vouches for it: %w", reason.EncodingMalformed)
	}
	*s = n
	return nil
}

// appendTime writes a time in 12 bytes whose order is that of the times.
func appendTime(b []byte, t virtualclock.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.UnixNano())^1<<63)
	return binary.BigEndian.AppendUint32(b, t.Fraction())
}

func readTime(b []byte) virtualclock.Time {
	return virtualclock.Unix(int64(binary.BigEndian.Uint64(b)^1<<63), binary.BigEndian.Uint32(b[8:]))
}

// next is the smallest time after t, t itself at the end of the timeline.
func next(t virtualclock.Time) virtualclock.Time {
	if f := t.Fraction(); f < math.MaxUint32 {
		return virtualclock.Unix(t.UnixNano(), f+1)
	}
	if t.UnixNano() == math.MaxInt64 {
		return t
	}
	return virtualclock.Unix(t.UnixNano()+1, 0)
}

// Stamper stamps the events of one node. Any number of goroutines may use it; they then share the sequence.
type Stamper struct {
	mu       sync.Mutex
	guard    guard
	group    uint64
	node     Node
	sequence uint64
}

// NewStamper makes a Stamper whose first sequence number is 1. group matters only for a clock of kind INTERNAL: it must be the same
// number on the hosts whose clocks agree with each other, and another one on all others.
func NewStamper(clock virtualclock.Source, group uint64, node Node) *Stamper {
	return &Stamper{guard: guard{clock: clock}, group: group, node: node}
}

// Stamp stamps an event that happens during the call. It refuses while the clock is not sound, and when the clock was stepped, until
// Resume; then no sequence number is used up.
func (s *Stamper) Stamp() (Stamp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.guard.look("stamp an event")
	if err != nil {
		return Stamp{}, err
	}
	if s.sequence == math.MaxUint64 {
		return Stamp{}, fmt.Errorf("order: cannot stamp an event: %w", reason.CounterExhausted)
	}
	s.sequence++
	return Stamp{i, s.group, s.node, s.sequence}, nil
}

// Resume goes on after the clock was stepped. The caller says by it that what was stamped before may have been wrong and that it has
// dealt with that.
func (s *Stamper) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard.resume()
}

// Epochs remembers the newest epoch that was seen of each node's clock, so that who merges stamps can tell the doubtful ones. It
// holds as many nodes as its limit says.
type Epochs struct {
	limit  int
	newest map[Node]virtualclock.Epoch
}

// NewEpochs makes an Epochs for up to limit nodes.
func NewEpochs(limit int) *Epochs {
	return &Epochs{limit: limit, newest: make(map[Node]virtualclock.Epoch)}
}

// Note takes notice of a stamp. It returns EpochChanged if a stamp of that node with a later epoch was seen, so that this one may
// have been wrong, QueueSender if there is no room for another node, and OK otherwise.
func (e *Epochs) Note(s *Stamp) reason.Code {
	newest, known := e.newest[s.Node]
	switch {
	case !known && len(e.newest) >= e.limit:
		return reason.QueueSender
	case !known || newest < s.Epoch:
		e.newest[s.Node] = s.Epoch
	case s.Epoch < newest:
		return reason.EpochChanged
	}
	return reason.OK
}
