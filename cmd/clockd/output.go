package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/clockd/clockd/internal/daemon/explain"
	"github.com/clockd/clockd/virtualclock"
)

// print writes to the output; a terminal that has gone away has nobody to be told.
func (a *app) print(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format, args...) }

// printJSON writes v as one indented JSON document.
func (a *app) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("the answer cannot be written as JSON: %w", err)
	}
	a.print("%s\n", b)
	return nil
}

// table prints rows in columns.
func (a *app) table(rows [][]string) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t "))
	}
	_ = w.Flush()
}

// Terminal colours.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	cyan   = "36"
	bold   = "1"
)

// paint colours s if the output is a terminal.
func (a *app) paint(colour, s string) string {
	if !a.terminal {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func statusColour(s virtualclock.Status) string {
	switch s {
	case virtualclock.Synchronised:
		return green
	case virtualclock.Holdover:
		return yellow
	}
	return red
}

func levelColour(l explain.Level) string {
	switch l {
	case explain.Good:
		return green
	case explain.Caution:
		return yellow
	case explain.Waiting:
		return cyan
	}
	return red
}

// commands makes the commands in a text, which stand between backquotes, stand out on a terminal.
func (a *app) commands(text string) string {
	if !a.terminal {
		return text
	}
	parts := strings.Split(text, "`")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = a.paint(bold, parts[i])
	}
	return strings.Join(parts, "")
}

// verdict prints the first line of a report: a sign, a word, and the verdict.
func (a *app) verdict(word string, v *explain.Verdict) {
	a.print("%s  %s: %s\n", a.paint(levelColour(v.Level), v.Level.Sign()+" "+word), a.paint(bold, v.Title), v.Bound)
}

// fact prints a line of a report; further lines of the same name have "".
func (a *app) fact(name, text string) { a.print("  %-12s %s\n", name, text) }

// grounds prints why a verdict is so and what to do.
func (a *app) grounds(v *explain.Verdict) {
	for i, text := range v.Why {
		a.fact(firstOnly(i, "why"), text)
	}
	for i, text := range v.Advice {
		a.fact(firstOnly(i, "what to do"), a.commands(text))
	}
}

func firstOnly(i int, name string) string {
	if i > 0 {
		return ""
	}
	return name
}
