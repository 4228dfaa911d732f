package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
)

// TestPropertyTable: a client and a group; every property is there, with a value or a reason, for people and for programs.
func TestPropertyTable(t *testing.T) {
	long(t)
	code, text, errors := run(t, "sim", "group_cold_start", "--seeds", "2-3", "--properties")
	if code != cli.OK {
		t.Fatalf("code %d: %s", code, errors)
	}
	for _, p := range metrics.Properties() {
		if !strings.Contains(text, p.Symbol()+" ") || !strings.Contains(text, p.Name()) {
			t.Errorf("%s is missing in\n%s", p, text)
		}
	}
	if !strings.Contains(text, "group m, of 2 runs") || strings.Contains(text, "VIOLATED") {
		t.Error(text)
	}
	code, text, errors = run(t, "sim", "group_cold_start", "--seeds", "2", "--properties", "--json")
	if code != cli.OK {
		t.Fatalf("code %d: %s", code, errors)
	}
	var r report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Properties) != 1 || r.Properties[0].Clocks != "m" || r.Properties[0].Seed != 2 || r.Properties[0].Scenario != "group_cold_start" {
		t.Fatalf("%+v", r.Properties)
	}
	for _, row := range r.Properties[0].Table.Rows() {
		if row.Value.Known == (row.Missing != reason.OK) {
			t.Errorf("%+v", row)
		}
	}
}
