//go:build linux

package virtualclock

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

func pageDocument(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "page.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPageDocumentIsTrue compares the tables of docs/page.md with the constants of the code.
func TestPageDocumentIsTrue(t *testing.T) {
	type place struct{ offset, size int }
	word := func(i int) place { return place{8 * i, 8} }
	want := map[string]place{
		"magic": word(wordMagic), "version": {8 * wordVersion, 4}, "size": {8*wordVersion + 4, 4}, "kind": word(wordKind),
		"boot": {8 * wordBoot, 16}, "spec_length": word(wordSpecLength), "spec": {8 * wordSpec, specBytes},
		"sequence": word(wordSequence), "not_before": word(wordNotBefore), "stale_after": word(wordStaleAfter),
		"void_after": word(wordVoidAfter), "at": word(wordAt), "earliest": word(wordEarliest), "latest": word(wordLatest),
		"earliest_fraction": {8 * wordBoundFractions, 4}, "latest_fraction": {8*wordBoundFractions + 4, 4}, "slow": word(wordSlow),
		"fast": word(wordFast), "epoch": {8 * wordMeta, 4}, "status": {8*wordMeta + 4, 1}, "reason_hint": {8*wordMeta + 5, 1},
		"interval_kind": {8*wordMeta + 6, 1},
		"slew_end":      word(wordSlewEnd), "slew_c0": word(wordSlewC0), "slew_t0": word(wordSlewT0), "slew_period": word(wordSlewPeriod),
		"steady_c0": word(wordSteadyC0), "steady_t0": word(wordSteadyT0), "steady_period": word(wordSteadyPeriod),
		"slew_t0_fraction": {8 * wordLineFractions, 4}, "steady_t0_fraction": {8*wordLineFractions + 4, 4},
		"difference": word(wordDifference), "hertz": word(wordHertz), "hertz_error": word(wordHertzError),
		"published": word(wordPublished), "instance": word(wordInstance), "reason": {8 * wordReason, reasonBytes},
		"marked": word(wordMarked), "marker": word(wordMarker),
		"raw_not_before": word(wordRawNotBefore), "raw_stale_after": word(wordRawStaleAfter), "raw_void_after": word(wordRawVoidAfter),
		"raw_at": word(wordRawAt), "raw_earliest": word(wordRawEarliest), "raw_latest": word(wordRawLatest), "raw_slow": word(wordRawSlow),
		"raw_fast": word(wordRawFast), "raw_time_namespace": word(wordRawTimeNamespace), "raw_suspended": word(wordRawSuspended),
		"raw_check": word(wordRawCheck),
		"tai":       {8 * wordLeap, 4}, "tai_known": {8*wordLeap + 4, 1}, "leap_sign": {8*wordLeap + 5, 1}, "leap_at": word(wordLeapAt),
		"leap_expires": word(wordLeapExpires),
	}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| (\\d+) \\| (?:`(\\w+)`)? *\\|")
	covered := make([]bool, pageSize)
	for _, m := range row.FindAllStringSubmatch(pageDocument(t), -1) {
		offset, _ := strconv.Atoi(m[1])
		size, _ := strconv.Atoi(m[2])
		if name := m[3]; name != "" {
			if want[name] != (place{offset, size}) {
				t.Errorf("%s: documented at %d with %d bytes, is %+v", name, offset, size, want[name])
			}
			delete(want, name)
		}
		for i := offset; i < offset+size; i++ {
			if covered[i] {
				t.Fatalf("byte %d is documented twice", i)
			}
			covered[i] = true
		}
	}
	if len(want) > 0 {
		t.Errorf("not documented: %v", want)
	}
	for i, c := range covered {
		if !c {
			t.Fatalf("byte %d is not documented", i)
		}
	}
}

// TestPageDocumentsExample compiles the reader in C from docs/page.md and compares it with this package on a real page.
func TestPageDocumentsExample(t *testing.T) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no C compiler")
		}
		t.Skip("no C compiler: install gcc")
	}
	_, code, _ := strings.Cut(pageDocument(t), "```c\n")
	code, _, _ = strings.Cut(code, "```")
	dir := t.TempDir()
	source, program := filepath.Join(dir, "readpage.c"), filepath.Join(dir, "readpage")
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, spec := range []string{"auto", "monotonic_raw"} {
		counter, err := hw.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "page")
		w := mustCreate(t, path, counter, 1)
		compareWithExample(t, program, path, w, counter)
	}
	m := newManual()
	path := filepath.Join(t.TempDir(), "page")
	mustCreate(t, path, m, 1)
	var exit *exec.ExitError
	if out, err := exec.Command(program, path).Output(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("a counter that it cannot read: %q, %v", out, err)
	}
}

func compareWithExample(t *testing.T, program, path string, w *PageWriter, counter hw.Counter) {
	t.Helper()
	r := newRand(t, 40)
	for i := range 40 {
		k := randomCoefficients(r)
		k.Status = []Status{Synchronised, Synchronised, Holdover, Disrupted, Unsynchronised}[i%5]
		now := counter.Read()
		second := hw.Ticks(counter.Frequency().Hertz)
		k.At = now - hw.Ticks(r.Uint64N(uint64(second)))
		if i%3 == 0 {
			k.At = now + second*hw.Ticks(r.IntN(100)) // ahead of the reading
		}
		k.StaleAfter, k.VoidAfter = now+1000*second, now+1000*second
		switch r.IntN(4) {
		case 0:
			k.StaleAfter = now - 1
		case 1:
			k.StaleAfter, k.VoidAfter = now-1, now-1
		}
		if err := w.PublishReason(&k, reason.OK); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, path).Output()
		var status Status
		if want, _ := k.judge(counter.Read()); !want.Sound() {
			if _, scanned := fmt.Sscanf(string(out), "status %d", &status); err == nil || scanned != nil || status != want.Status {
				t.Errorf("void page: %q, %v, want %v", out, err, want.Status)
			}
			continue
		}
		var ticks uint64
		var early, late int64
		var earlyFrac, lateFrac uint32
		if _, err := fmt.Sscanf(string(out), "status %d ticks %d earliest %d %d latest %d %d", &status, &ticks, &early, &earlyFrac,
			&late, &lateFrac); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		got := Interval{Unix(early, earlyFrac), Unix(late, lateFrac), k.Epoch, Standing{status, k.Kind}}
		if want := k.Interval(hw.Ticks(ticks)); got != want {
			t.Errorf("at %d the example says %+v, this package %+v", ticks, got, want)
		}
	}
}
