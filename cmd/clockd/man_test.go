package main

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
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
	if *update {
		fresh = manDirectory
		if err := os.RemoveAll(fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(fresh, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "clockd", Manual: "clockd", Date: &date}, fresh); err != nil {
		t.Fatal(err)
	}
	made, kept := pages(t, fresh), pages(t, manDirectory)
	for name, text := range made {
		if kept[name] != text {
			t.Errorf("%s is not what the help says: go test ./cmd/clockd -run TestManPages -update", name)
		}
	}
	for name := range kept {
		if _, ok := made[name]; !ok {
			t.Errorf("%s belongs to no command any more: go test ./cmd/clockd -run TestManPages -update", name)
		}
	}
}

func pages(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[e.Name()] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
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
