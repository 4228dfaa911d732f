package main

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/clockd/clockd/internal/testkit"
)

var update = flag.Bool("update", false, "write the man pages anew")

const manDirectory = "../../deploy/man"

// The man pages are made from the commands' help and kept in deploy/man, so that packages need no Go to have them:
//
//	go test ./cmd/clockd -run TestManPages -update
func TestManPagesAreUpToDate(t *testing.T) {
	root := newRoot(testApp(t.TempDir(), &buffer{}, &buffer{}))
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	fresh := t.TempDir()
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "clockd", Manual: "clockd", Date: &date}, fresh); err != nil {
		t.Fatal(err)
	}
	testkit.GoldenFiles(t, fresh, manDirectory, testkit.PageOf("clockd"), *update, "go test ./cmd/clockd -run TestManPages -update")
}

// Every command has a short and an example, and is described in docs/cli.md.
func TestEveryCommandIsExplained(t *testing.T) {
	b, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(testApp(t.TempDir(), &buffer{}, &buffer{}))
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no short text or no example", c.CommandPath())
		}
		if c != root && !strings.Contains(string(b), "`"+c.CommandPath()) {
			t.Errorf("%s is not in docs/cli.md", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
