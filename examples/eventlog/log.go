package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock"
)

// event is one line of a log: a JSON object. Times are nanoseconds since the Unix epoch, with decimals.
type event struct {
	Node     order.Node         `json:"node"`
	Sequence uint64             `json:"sequence"`
	Earliest virtualclock.Time  `json:"earliest"`
	Latest   virtualclock.Time  `json:"latest"`
	Epoch    virtualclock.Epoch `json:"epoch"`
	// Kind is EXTERNAL or INTERNAL; Group is that of an INTERNAL clock.
	Kind  string `json:"kind"`
	Group uint64 `json:"group,omitempty"`
	Text  string `json:"text"`
}

// width is how far apart the edges are, in seconds.
func (e *event) width() float64 { return e.Latest.Seconds(e.Earliest) }

// stamp is the event's stamp. Only sound ones are ever written.
func (e *event) stamp() order.Stamp {
	s := order.Stamp{Group: e.Group, Node: e.Node, Sequence: e.Sequence}
	s.Earliest, s.Latest, s.Epoch, s.Status = e.Earliest, e.Latest, e.Epoch, virtualclock.Holdover
	if e.Kind == virtualclock.Internal.String() {
		s.Kind = virtualclock.Internal
	}
	return s
}

// maxLine is the longest line that is read.
const maxLine = 64 << 10

// parseEvent reads a line.
func parseEvent(line []byte) (event, error) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return event{}, err
	}
	switch {
	case e.Node == 0 || e.Sequence == 0:
		return event{}, errors.New("an event needs a node and a sequence number")
	case e.Kind != virtualclock.External.String() && e.Kind != virtualclock.Internal.String():
		return event{}, fmt.Errorf("no kind of interval is called %.20q", e.Kind)
	case e.Latest.Before(e.Earliest):
		return event{}, errors.New("the event's latest time is before its earliest")
	}
	return e, nil
}

// writer appends a node's events to its log.
type writer struct {
	stamper *order.Stamper
	out     io.Writer
}

// write stamps an event and appends it. While the clock does not know the time it refuses: an event without a time is the
// application's business, not something to guess.
func (w *writer) write(text string) (event, error) {
	s, err := w.stamper.Stamp()
	if err != nil {
		return event{}, err
	}
	e := event{s.Node, s.Sequence, s.Earliest, s.Latest, s.Epoch, s.Kind.String(), s.Group, text}
	line, err := json.Marshal(&e)
	if err != nil {
		return event{}, err
	}
	if len(line) >= maxLine {
		return event{}, fmt.Errorf("the text is too long: a line may have %d bytes", maxLine)
	}
	_, err = w.out.Write(append(line, '\n'))
	return e, err
}

// merger collects events.
type merger struct {
	events []event
	epochs *order.Epochs
}

func newMerger() *merger { return &merger{epochs: order.NewEpochs(math.MaxInt)} }

func (m *merger) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := m.read(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// read reads one log.
func (m *merger) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		e, err := parseEvent(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		m.add(e)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line is longer than %d bytes: %w", maxLine, lines.Err())
	}
	return lines.Err()
}

func (m *merger) add(e event) {
	s := e.stamp()
	_ = m.epochs.Note(&s) // what it says counts when all are there
	m.events = append(m.events, e)
}
