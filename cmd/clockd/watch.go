package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// watchEvery is the time between two looks.
const watchEvery = time.Second

// report gives a command the flags --json and --watch. look asks the daemon and returns how to show its answer to people, and the answer.
func (a *app) report(c *cobra.Command, look func(context.Context) (show func(), answer any, err error)) func(*cobra.Command, []string) error {
	a.asJSON(c)
	watch := c.Flags().BoolP("watch", "w", false, "show it again every second until interrupted; with --json, a document on each line")
	return func(c *cobra.Command, _ []string) error {
		if *watch {
			return a.watch(c.Context(), look)
		}
		show, answer, err := look(c.Context())
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(answer)
		}
		show()
		return nil
	}
}

// watch shows a report again and again until ctx ends. A daemon that is gone may come back, so that is shown too, and waited for.
func (a *app) watch(ctx context.Context, look func(context.Context) (func(), any, error)) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	if a.terminal && !a.json {
		a.print("\x1b[2J")
	}
	for {
		show, answer, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && a.json:
			_, _ = fmt.Fprintf(a.err, "clockd: %v\n", err)
		case err != nil:
			a.frame(func() { a.print("%s  nothing is known of the clock: %v\n", a.paint(red, "? no daemon"), err) })
		case a.json:
			b, err := json.Marshal(answer)
			if err != nil {
				return fmt.Errorf("the answer cannot be written as JSON: %w", err)
			}
			a.print("%s\n", b)
		default:
			a.frame(show)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// frame shows a report in the place of the one before, without flicker; where the output is no terminal, after an empty line.
func (a *app) frame(show func()) {
	out := a.out
	var b bytes.Buffer
	a.out = &b
	show()
	a.out = out
	if !a.terminal {
		a.print("%s\n", b.String())
		return
	}
	a.print("\x1b[H%s\x1b[J", strings.ReplaceAll(b.String(), "\n", "\x1b[K\n"))
}
