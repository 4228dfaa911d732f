package eventlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/clockd/clockd/internal/node"
)

// maxLine is above any line that a Writer makes; the longest hold a configuration.
const maxLine = 1 << 20

// Result is what a replay found.
type Result struct {
	Header  Header
	Events  uint64
	Actions uint64
	// End is why the record ended, "" if it was cut off (the daemon was killed).
	End string
	// Difference is the first one, nil if the node decided the same.
	Difference *Difference
}

// Difference is where a replayed node decided otherwise.
type Difference struct {
	// Line counts from 1.
	Line int
	// Recorded is the line in the file, Replayed what the node decides now; one of them is empty when the other decided more.
	Recorded, Replayed string
}

// String returns the difference for people.
func (d *Difference) String() string {
	show := func(s string) string {
		if s == "" {
			return "(nothing)"
		}
		return s
	}
	return fmt.Sprintf("line %d differs\n  recorded: %s\n  replayed: %s", d.Line, show(d.Recorded), show(d.Replayed))
}

// replayer holds the state of one replay.
type replayer struct {
	in     *bufio.Reader
	number int
	result Result
	node   *node.Node
	// pending are the lines of the actions that the node asked for and that the record must show next.
	pending [][]byte
}

// errDifferent ends a replay at the first difference.
var errDifferent = errors.New("the record and the replay differ")

// Replay feeds the events of a record to a fresh node and compares its actions with the recorded ones. The error says that the
// record cannot be read; a difference is not an error but a Result.
func Replay(r io.Reader) (Result, error) {
	p := &replayer{in: bufio.NewReaderSize(r, 64<<10)}
	err := p.run()
	if errors.Is(err, errDifferent) {
		err = nil
	}
	return p.result, err
}

// next returns the next line without its end, io.EOF after the last whole one. The slice is valid until the next call.
func (p *replayer) next() ([]byte, error) {
	var long []byte
	for {
		part, err := p.in.ReadSlice('\n')
		if err == nil && long == nil {
			p.number++
			return part[:len(part)-1], nil
		}
		long = append(long, part...)
		switch {
		case err == nil:
			p.number++
			return long[:len(long)-1], nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF // a line without its end was being written when the daemon died
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("eventlog: line %d: %w", p.number+1, err)
		case len(long) > maxLine:
			return nil, fmt.Errorf("eventlog: line %d is longer than %d bytes: this is not an event log", p.number+1, maxLine)
		}
	}
}

func (p *replayer) run() error {
	if err := p.header(); err != nil {
		return err
	}
	for {
		b, err := p.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.line(b); err != nil {
			return err
		}
	}
}

func (p *replayer) header() error {
	b, err := p.next()
	if errors.Is(err, io.EOF) {
		return errors.New("eventlog: the file is empty: this is not an event log")
	}
	if err != nil {
		return err
	}
	h := &p.result.Header
	if err := json.Unmarshal(b, h); err != nil {
		return fmt.Errorf("eventlog: line 1 is not the header of an event log: %w", err)
	}
	if h.Format != Format {
		return fmt.Errorf("eventlog: the log has format %d, this clockd reads format %d: replay it with clockd %s", h.Format, Format, h.Clockd)
	}
	if p.node, err = node.New(h.Config); err != nil {
		return fmt.Errorf("eventlog: line 1: %w", err)
	}
	return nil
}

func (p *replayer) line(b []byte) error {
	var l line
	if bytes.HasPrefix(b, []byte(`{"action":`)) {
		return p.action(b)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("eventlog: line %d: %w", p.number, err)
	}
	switch {
	case l.End != "":
		p.result.End = l.End
		// A record that stopped at its limit may have stopped between the actions of one event.
		if len(p.pending) > 0 && l.End == EndClosed {
			return p.differ(b, p.pending[0])
		}
		p.pending = nil
		return nil
	case l.Event == nil:
		return fmt.Errorf("eventlog: line %d is neither event nor action", p.number)
	case len(p.pending) > 0:
		return p.differ(b, p.pending[0])
	}
	return p.event(l.Event)
}

func (p *replayer) event(e *node.Event) error {
	p.result.Events++
	for i, a := range p.node.Step(*e) {
		if i == 0 {
			p.pending = p.pending[:0]
		}
		b, err := encodeAction(&a)
		if err != nil {
			return fmt.Errorf("eventlog: line %d: the node's action cannot be encoded: %w", p.number, err)
		}
		p.pending = append(p.pending, b)
	}
	return nil
}

func (p *replayer) action(b []byte) error {
	p.result.Actions++
	if len(p.pending) == 0 {
		return p.differ(b, nil)
	}
	if !bytes.Equal(b, p.pending[0]) {
		return p.differ(b, p.pending[0])
	}
	p.pending = p.pending[1:]
	return nil
}

func (p *replayer) differ(recorded, replayed []byte) error {
	p.result.Difference = &Difference{p.number, string(recorded), string(replayed)}
	return errDifferent
}
