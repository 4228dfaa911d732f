package result

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// keys collects the JSON keys of a type, at any depth.
func keys(of reflect.Type, into map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		keys(of.Elem(), into)
	case reflect.Struct:
		for i := range of.NumField() {
			if tag := of.Field(i).Tag.Get("json"); tag != "" {
				into[tag] = true
				keys(of.Field(i).Type, into)
			}
		}
	}
}

// TestEveryKeyIsDocumented: docs/results.md names every key, and every value that a key with a list of values may have.
func TestEveryKeyIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../docs/results.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	keys(reflect.TypeFor[Result](), all)
	if len(all) < 60 {
		t.Fatalf("only %d keys were found", len(all))
	}
	for _, x := range []Mode{ModeSim, ModeLive, ModeObserve, ModeCompare, ModeCourse} {
		all[string(x)] = true
	}
	for _, x := range []Known{KnownExact, KnownSampled, KnownEstimated, KnownClaimed, KnownGiven, KnownNot} {
		all[string(x)] = true
	}
	for _, x := range []Quantity{TimeError, IntervalLow, IntervalHigh, ClaimedBound, Uncertainty, FrequencyError, Delay, Precision, PrecisionBound, Accuracy, AccuracyBound} {
		all[string(x)] = true
	}
	for _, x := range []Statistic{ADEV, OADEV, MDEV, TDEV, HDEV, MTIE, EnvelopeRate} {
		all[string(x)] = true
	}
	for _, x := range []EventKind{EventStatus, EventFault, EventRepair, EventFinding, EventNote} {
		all[string(x)] = true
	}
	for _, x := range []Role{RoleHost, RoleMaster, RolePeer, RoleLiar, RoleServer} {
		all[string(x)] = true
	}
	for key := range all {
		if !strings.Contains(string(b), "`"+key+"`") {
			t.Errorf("docs/results.md does not explain `%s`", key)
		}
	}
}
