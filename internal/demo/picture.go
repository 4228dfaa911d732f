package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// picture is where the demonstration shows what it sees. Its errors are those of the output.
type picture interface {
	begin() error
	second(s *Second, sofar *Summary) error
	end(s *Summary) error
}

// jsonPicture writes one object a line.
type jsonPicture struct{ out io.Writer }

func (p *jsonPicture) begin() error                       { return nil }
func (p *jsonPicture) second(s *Second, _ *Summary) error { return p.write(s) }
func (p *jsonPicture) end(s *Summary) error               { return p.write(s) }

func (p *jsonPicture) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if _, err := p.out.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("demo: %w: %w", errOutput, err)
	}
	return nil
}

// textPicture writes a table, on a terminal always at the same place.
type textPicture struct {
	options *Options
	dir     string
	// drawn is how many lines above the cursor the last table begins.
	drawn int
}

// begin writes what is not drawn over: it may be wrapped by the terminal, but not cut.
func (p *textPicture) begin() error {
	lines := introduction(p.options, p.dir)
	if o := p.options; o.HTTP > 0 {
		web := fmt.Sprintf("In a browser: http://127.0.0.1:%d/metrics (the first master's) to port %d", o.HTTP, o.HTTP+o.masters()+o.Hosts-1)
		if o.masters() == 0 {
			web = fmt.Sprintf("In a browser: http://127.0.0.1:%d/metrics (host1's) to port %d", o.HTTP, o.HTTP+o.Hosts-1)
		}
		lines = slices.Insert(lines, len(lines)-1, line{{web, dim}})
	}
	return p.write(render(lines, 0, p.options.Screen.Colour))
}

// screen returns the terminal's size, and whether there is one.
func (p *textPicture) screen() (columns, rows int, live bool) {
	if p.options.Screen.Size == nil {
		return 0, 0, false
	}
	columns, rows = p.options.Screen.Size()
	return columns, rows, columns > 0 && rows > 0
}

// second draws the table over the last one. One that is higher than the terminal cannot be drawn over: it is written below.
func (p *textPicture) second(s *Second, sofar *Summary) error {
	columns, rows, live := p.screen()
	lines := body(s, sofar)
	if !live {
		return p.write(render(append(lines, nil), columns, p.options.Screen.Colour))
	}
	var b strings.Builder
	if p.drawn > 0 && p.drawn < rows {
		// Up, and everything below cleared.
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", p.drawn)
	}
	b.WriteString(render(lines, columns, p.options.Screen.Colour))
	p.drawn = len(lines)
	return p.write(b.String())
}

func (p *textPicture) end(s *Summary) error {
	return p.write(render(conclusion(s), 0, p.options.Screen.Colour))
}

// write writes all at once, so that nothing flickers.
func (p *textPicture) write(s string) error {
	if _, err := io.WriteString(p.options.Out, s); err != nil {
		return fmt.Errorf("demo: %w: %w", errOutput, err)
	}
	return nil
}

func render(lines []line, columns int, colour bool) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.show(columns, colour))
		b.WriteByte('\n')
	}
	return b.String()
}
