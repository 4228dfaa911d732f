package order_test

import (
	"os"
	"strings"
	"testing"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// TestTheDocumentsCodeIsCompiled: every piece of Go in docs/ordering.md is in a file of examples, word for word.
func TestTheDocumentsCodeIsCompiled(t *testing.T) {
	document, err := os.ReadFile("../docs/ordering.md")
	if err != nil {
		t.Fatal(err)
	}
	var compiled strings.Builder
	for _, path := range []string{"example_test.go", "../virtualclock/clocktest/example_test.go"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		compiled.Write(b)
	}
	pieces := strings.Split(string(document), "```")
	found := 0
	for k := 1; k < len(pieces); k += 2 {
		code, isGo := strings.CutPrefix(pieces[k], "go\n")
		if !isGo {
			continue
		}
		if found++; !strings.Contains(compiled.String(), code) {
			t.Errorf("this is in no example:\n%s", code)
		}
	}
	if found != 3 {
		t.Errorf("%d pieces of code", found)
	}
	if err := commitOnce(t.Context()); err == nil {
		t.Log("there is a daemon on this machine, and its clock is sound")
	}
	resumeAfterStep(order.NewStamper(clocktest.NewManual(clocktest.Options{}).Host(clocktest.HostOptions{}), 0, 1))
}
