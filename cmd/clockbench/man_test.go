package main

import (
	"bytes"
	"flag"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/clockd/clockd/internal/testkit"
)

var update = flag.Bool("update", false, "write the man pages anew")

// The man pages are made from the commands' help and kept in deploy/man, so that packages need no Go to have them:
//
//	go test ./cmd/clockbench -run TestManPages -update
func TestManPagesAreUpToDate(t *testing.T) {
	root := newRoot(&app{out: &bytes.Buffer{}, err: &bytes.Buffer{}})
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	fixDefaults(root)
	fresh := t.TempDir()
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "clockd", Manual: "clockbench", Date: &date}, fresh); err != nil {
		t.Fatal(err)
	}
	testkit.GoldenFiles(t, fresh, "../../deploy/man", testkit.PageOf("clockbench"), *update, "go test ./cmd/clockbench -run TestManPages -update")
}

// fixDefaults keeps what depends on the machine, the number of its processors, out of the pages.
func fixDefaults(c *cobra.Command) {
	if f := c.Flags().Lookup("jobs"); f != nil {
		f.DefValue = ""
	}
	for _, sub := range c.Commands() {
		fixDefaults(sub)
	}
}

// Every command has a short text and an example.
func TestEveryCommandIsExplained(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no short text or no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}))
}
