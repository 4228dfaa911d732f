package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// dashboards is where those are that ship.
const dashboards = "../../deploy/grafana/dashboards"

// panelQuery is one query of a dashboard: of a panel, an annotation or a variable.
type panelQuery struct {
	where, expr string
	// trouble: it is answered only while something is wrong.
	trouble bool
}

// questions reads all of a dashboard's queries, with its variables filled in.
func questions(t *testing.T, name string, variables map[string]string) []panelQuery {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dashboards, name))
	if err != nil {
		t.Fatal(err)
	}
	type target struct{ RefID, Expr string }
	var d struct {
		Panels []struct {
			Type, Title string
			Targets     []target
		}
		Annotations struct {
			List []struct {
				Name   string
				Expr   string
				Target target
			}
		}
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var words []string
	for variable, value := range variables {
		words = append(words, "$"+variable, value)
	}
	fill := strings.NewReplacer(words...)
	var out []panelQuery
	add := func(where string, x target) {
		expr := fill.Replace(x.Expr)
		if expr == "" || strings.Contains(expr, "$") {
			t.Errorf("%s: %s has no query, or one with an unknown variable: %s", name, where, expr)
		}
		out = append(out, panelQuery{name + ": " + where, expr, strings.HasPrefix(x.RefID, "Trouble")})
	}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s: %s asks nothing", name, p.Title)
		}
		for _, x := range p.Targets {
			add(p.Title+" "+x.RefID, x)
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != a.Target.Expr {
			t.Errorf("%s: the annotation %s has two queries", name, a.Name)
		}
		add("annotation "+a.Name, a.Target)
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Query)
		if m == nil {
			t.Errorf("%s: the variable %s asks %s", name, v.Name, v.Query)
			continue
		}
		add("variable "+v.Name, target{Expr: fmt.Sprintf("count by (%s) (%s)", m[2], m[1])})
	}
	return out
}

// survey is the questions that have had no answer yet.
type survey struct {
	p    *prometheus
	open []panelQuery
}

// ask asks those that are open, and leaves out what is answered.
func (s *survey) ask() {
	var left []panelQuery
	for _, q := range s.open {
		if n, ok := s.p.count(q.expr); !ok || n == 0 {
			left = append(left, q)
		}
	}
	s.open = left
}

// silent returns where there was no answer: of those that need no trouble, or of all.
func (s *survey) silent(all bool) []string {
	var out []string
	for _, q := range s.open {
		if all || !q.trouble {
			out = append(out, q.where+"\n\t"+q.expr)
		}
	}
	return out
}

// watch asks, and calls also, until the channel is closed, and a last time then. Its end is told by the channel that it returns.
func (s *survey) watch(stop <-chan struct{}, also func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := false; !last; {
			select {
			case <-stop:
				last = true
			default:
			}
			s.ask()
			also()
			time.Sleep(200 * time.Millisecond) // the cables are in this process too, and must be quick
		}
	}()
	return done
}

// healthy waits until every question that needs no trouble is answered.
func (s *survey) healthy(t *testing.T) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("no answer, while all is well: %s", strings.Join(s.silent(false), "\n"))
		}
	}()
	testkit.WaitFor(t, patience, "every panel to show something", func() bool {
		s.ask()
		return len(s.silent(false)) == 0
	})
}
