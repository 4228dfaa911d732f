package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/reason"
)

// line is an event in the merged log.
type line struct {
	event
	Number int `json:"number"`
	// Unordered are the numbers of the events of which nobody can tell whether they came before or after this one, and Apart those of
	// the ones whose clocks have nothing in common with this one's.
	Unordered []int `json:"unordered"`
	Apart     []int `json:"apart"`
	// Doubtful: the node's clock was stepped later; this event's time may have been wrong.
	Doubtful bool `json:"doubtful"`
}

// merged is all logs as one.
type merged struct{ lines []line }

// merge sorts the events by the total order and finds, for each, those with which the order is only a convention.
//
// The events are sorted by an edge of their intervals; whose interval begins after the end of this one's is certainly later, and so
// are all whose begin later still. So for each event only those have to be looked at whose intervals overlap.
func (m *merger) merge() *merged {
	out := &merged{lines: make([]line, len(m.events))}
	for k, e := range m.events {
		s := e.stamp()
		out.lines[k] = line{event: e, Unordered: []int{}, Apart: []int{}, Doubtful: m.epochs.Note(&s) == reason.EpochChanged}
	}
	slices.SortFunc(out.lines, func(a, b line) int {
		x, y := a.stamp(), b.stamp()
		return x.Key().Compare(y.Key())
	})
	for k := range out.lines {
		out.lines[k].Number = k + 1
	}
	if slices.ContainsFunc(out.lines, func(l line) bool { return l.Kind != out.lines[0].Kind || l.Group != out.lines[0].Group }) {
		out.pairs(func(int, int) bool { return false })
		return out
	}
	// Of one kind and group: the later edges that have been seen tell when there is nothing more to find.
	out.pairs(func(i, j int) bool {
		x, y := out.lines[i].stamp(), out.lines[j].stamp()
		return x.Key().Time == x.Earliest && y.Key().Time == y.Earliest && x.Latest.Before(y.Earliest)
	})
	return out
}

// pairs looks at all pairs, for each first one until enough says that all later ones are certainly later.
func (m *merged) pairs(enough func(i, j int) bool) {
	for i := range m.lines {
		x := m.lines[i].stamp()
		for j := i + 1; j < len(m.lines); j++ {
			y := m.lines[j].stamp()
			// A node knows the order of its own events without a clock.
			if x.Node == y.Node && x.Epoch == y.Epoch {
				continue
			}
			if x.Compare(&y) != order.CannotTell {
				if enough(i, j) {
					break
				}
				continue
			}
			a, b := &m.lines[i], &m.lines[j]
			if x.Why(&y) == reason.IntervalsOverlap {
				a.Unordered, b.Unordered = append(a.Unordered, b.Number), append(b.Unordered, a.Number)
			} else {
				a.Apart, b.Apart = append(a.Apart, b.Number), append(b.Apart, a.Number)
			}
		}
	}
}

// json writes one object a line.
func (m *merged) json(out io.Writer) error {
	e := json.NewEncoder(out)
	for k := range m.lines {
		if err := e.Encode(&m.lines[k]); err != nil {
			return err
		}
	}
	return nil
}

// text writes a table for people.
func (m *merged) text(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%5s  %-30s %11s  %-5s %-28s %s\n", "", "EARLIEST (UTC)", "TO LATEST", "NODE", "EVENT", "CANNOT TELL FROM")
	for k := range m.lines {
		l := &m.lines[k]
		notes := list(l.Unordered)
		if len(l.Apart) > 0 {
			notes += " no common time with " + list(l.Apart)
		}
		if l.Doubtful {
			notes += " DOUBTFUL: the clock was stepped later"
		}
		row := fmt.Sprintf("%5s  %-30v %8.3f ms  %-5d %-28s %s", fmt.Sprintf("#%d", l.Number), l.Earliest, l.width()*1e3, l.Node, printable(l.Text), notes)
		fmt.Fprintln(&b, strings.TrimRight(row, " "))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// list shows numbers, runs of them as a range.
func list(numbers []int) string {
	slices.Sort(numbers)
	var parts []string
	for k := 0; k < len(numbers); {
		end := k
		for end+1 < len(numbers) && numbers[end+1] == numbers[end]+1 {
			end++
		}
		if end == k {
			parts = append(parts, fmt.Sprintf("#%d", numbers[k]))
		} else {
			parts = append(parts, fmt.Sprintf("#%d-%d", numbers[k], numbers[end]))
		}
		k = end + 1
	}
	return strings.Join(parts, " ")
}

// printable keeps what somebody else wrote from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return '.'
		}
		return r
	}, s)
}
