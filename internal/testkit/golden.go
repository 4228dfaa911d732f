package testkit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// GoldenFiles compares files that are made anew with those that are kept in a directory, by their names, of which only those that
// belong reports on count there. With update the kept ones are replaced instead. hint says how to do that.
func GoldenFiles(t testing.TB, fresh, kept string, belong func(name string) bool, update bool, hint string) {
	t.Helper()
	made, old := readFiles(t, fresh, belong), readFiles(t, kept, belong)
	for name, text := range made {
		if old[name] == text {
			continue
		}
		if !update {
			t.Errorf("%s is not up to date: %s", filepath.Join(kept, name), hint)
		} else if err := errors.Join(os.MkdirAll(kept, 0o755), os.WriteFile(filepath.Join(kept, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for name := range old {
		if _, ok := made[name]; ok {
			continue
		}
		if !update {
			t.Errorf("%s belongs to nothing any more: %s", filepath.Join(kept, name), hint)
		} else if err := os.Remove(filepath.Join(kept, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// readFiles returns the files of a directory, none if there is no such directory.
func readFiles(t testing.TB, dir string, belong func(name string) bool) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if e.IsDir() || !belong(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

// PageOf reports whether a man page is one of a program's, whose commands' pages are program-command.1.
func PageOf(program string) func(name string) bool {
	return func(name string) bool { return name == program+".1" || strings.HasPrefix(name, program+"-") }
}
