package promexport

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

const rules = "../../deploy/prometheus"

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRulesFireAndClear(t *testing.T) {
	promtool := testkit.RequireTool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "recording.rules.yml", "alerts.rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		c := exec.Command(promtool, args...)
		c.Dir = rules
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// Every alert has a test in which it fires, and a runbook that its link leads to.
func TestEveryAlertHasATestAndARunbook(t *testing.T) {
	alerts, tests, books := readFile(t, rules+"/alerts.rules.yml"), readFile(t, rules+"/rules_test.yml"), readFile(t, "../../docs/runbooks.md")
	list := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(alerts, -1)
	if len(list) != 9 || strings.Count(books, "\n## ") != len(list) {
		t.Errorf("%d alerts, %d runbooks", len(list), strings.Count(books, "\n## "))
	}
	for _, a := range list {
		if !regexp.MustCompile(`alertname: ` + a[1] + `\n\s+exp_alerts:`).MatchString(tests) {
			t.Errorf("%s is fired by no test", a[1])
		}
		if !strings.Contains(books, "\n## "+a[1]+"\n") || !strings.Contains(alerts, "runbooks.md#"+strings.ToLower(a[1])+"\n") {
			t.Errorf("%s has no runbook, or no link to it", a[1])
		}
	}
}

// A rule about a metric that does not exist never fires.
func TestRulesNameOnlyMetricsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range families() {
		known[m.name] = true
	}
	text := readFile(t, rules+"/alerts.rules.yml") + readFile(t, rules+"/recording.rules.yml")
	found := regexp.MustCompile(`(?:^|[^\w:(])\(?(clockd_\w+)(?:[{\[ )]|\n|$)`).FindAllStringSubmatch(text, -1)
	if len(found) < 10 {
		t.Fatalf("only %d metrics found in the rules", len(found))
	}
	for _, m := range found {
		if strings.HasSuffix(m[1], "_") {
			continue
		}
		if !known[m[1]] {
			t.Errorf("%s is in a rule and does not exist", m[1])
		}
	}
}
