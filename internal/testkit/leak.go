package testkit

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// NoLeaks fails the test if goroutines that it started still run when it ends. Call it first in the test, before helpers that
// register clean-ups, because clean-ups run in the reverse order. It cannot tell tests apart that run in parallel: do not use
// it beside t.Parallel.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		left := leaked(before, 5*time.Second)
		for _, stack := range left {
			t.Errorf("this goroutine outlived its test:\n%s", stack)
		}
	})
}

// leaked waits until all goroutines but those in before are gone, at most limit, and returns the stacks of the rest.
func leaked(before map[string]string, limit time.Duration) []string {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		var left []string
		for id, stack := range goroutines() {
			if _, old := before[id]; !old && !foreign(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// goroutines returns the stacks of all goroutines but the caller's, by their identifiers.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i == 0 {
			continue // the caller
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}

// foreign reports whether a goroutine belongs to the test framework or to the runtime's signal handling, which is started once
// and stays.
func foreign(stack string) bool {
	for _, mark := range []string{"testing.(*T).Run", "testing.(*M).", "testing.runTests", "testing.runFuzzing", "os/signal.loop", "created by runtime"} {
		if strings.Contains(stack, mark) {
			return true
		}
	}
	return strings.Contains(stack, "created by testing.")
}
