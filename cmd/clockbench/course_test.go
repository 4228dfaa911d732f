package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/course"
)

// courseRun runs one command line.
func courseRun(t *testing.T, words ...string) (code int, out, errors string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), &app{version: "test", out: &o, err: &e}, append([]string{"course"}, words...))
	return code, o.String(), e.String()
}

func TestCourseListsAndRuns(t *testing.T) {
	code, out, _ := courseRun(t)
	if code != cli.OK {
		t.Fatalf("the list: code %d", code)
	}
	for _, name := range course.Names() {
		if !strings.Contains(out, name) {
			t.Errorf("the list does not name %s:\n%s", name, out)
		}
	}
	dir := filepath.Join(t.TempDir(), "new", "pictures")
	code, out, errors := courseRun(t, "drift", "--seed", "3", "--short", "--out", dir)
	if code != cli.OK {
		t.Fatalf("code %d: %s", code, errors)
	}
	for _, s := range []string{"How long do clocks", "2ρt + g", "Bound:", "Lesson:", "Read on: docs/bounds.md", "█"} {
		if !strings.Contains(out, s) {
			t.Errorf("%q is missing in:\n%s", s, out)
		}
	}
	for _, name := range []string{"drift.json", "drift.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	// The same seed gives the same bytes, on the terminal and in the file.
	stored, err := os.ReadFile(filepath.Join(dir, "drift.json"))
	if err != nil {
		t.Fatal(err)
	}
	if code, out, _ = courseRun(t, "drift", "--seed", "3", "--short", "--json"); code != cli.OK || out != string(stored) {
		t.Errorf("code %d; --json and the stored result differ:\n%s\n%s", code, out, stored)
	}
	var report struct {
		Schema string `json:"schema"`
		Seed   uint64 `json:"seed"`
		Rows   [][]any
		Broken []string `json:"broken"`
	}
	if err := json.Unmarshal(stored, &report); err != nil || report.Schema != course.Schema || report.Seed != 3 || report.Broken == nil || len(report.Rows) == 0 {
		t.Errorf("%v: %+v", err, report)
	}
}

func TestCoursePages(t *testing.T) {
	dir := t.TempDir()
	if code, _, errors := courseRun(t, "holdover", "--short", "--pages", "--out", dir); code != cli.OK {
		t.Fatalf("code %d: %s", code, errors)
	}
	page, err := os.ReadFile(filepath.Join(dir, "holdover.md"))
	if err != nil || !strings.Contains(string(page), "![") || !strings.Contains(string(page), "## Lesson") {
		t.Errorf("%v: %s", err, page)
	}
}

func TestCourseBadInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"nothing"}, "critical-path"},
		{[]string{"drift", "liars"}, "arg"},
		{[]string{"drift", "--pages"}, "--out"},
		{[]string{"drift", "--seed", "-1"}, "seed"},
		{[]string{"drift", "--out", filepath.Join(file, "below")}, "cannot be made"},
	} {
		code, out, errors := courseRun(t, c.words...)
		if code != 2 || !strings.Contains(errors, c.want) || out != "" {
			t.Errorf("%v: code %d, %q, %q", c.words, code, errors, out)
		}
	}
}

// A bound that was broken is code 3, and what was measured is printed all the same.
func TestCourseBrokenBound(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out, err: &bytes.Buffer{}}
	err := a.tellCourse("drift", []*course.Report{{Name: "drift", Title: "the title", Broken: []string{"π_v: 2 s, and at most 1 s is allowed"}}})
	if code := cli.Exit(err, "clockbench", &bytes.Buffer{}); code != exitViolation || !strings.Contains(out.String(), "BROKEN: π_v") {
		t.Errorf("code %d: %s", code, out.String())
	}
}
