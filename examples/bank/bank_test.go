package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// TestMain lets the test's program be a branch: the bank starts its branches from its own file.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == branchCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// played runs the bank in a directory with a short name, which it must leave empty.
func played(t *testing.T, args ...string) (r result, code int) {
	t.Helper()
	testkit.NoLeaks(t)
	dir, err := os.MkdirTemp("", "bt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	var out, errs bytes.Buffer
	args = append(args, "--json", "--seed", fmt.Sprint(testkit.Seed(t)))
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q; %s", err, out.String(), errs.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
	t.Logf("%s", out.String())
	return r, code
}

// TestTransfersAreExternallyConsistent between three processes with real clocks, two of which are wrong by 2 ms.
func TestTransfersAreExternallyConsistent(t *testing.T) {
	r, code := played(t, "--for", "3s")
	if code != exitOK || r.Anomalies != 0 || !r.Conserved || r.Worst != nil {
		t.Errorf("exit code %d, %+v", code, r)
	}
	if r.Transfers < 20 || r.Pairs < 100 || r.Audits < 1 || r.Money != 24_000 {
		t.Errorf("too little happened: %+v", r)
	}
	if r.MeanHalfWidthS < 0.5e-3 || r.MeanWaitS <= 0 {
		t.Errorf("the clocks claim ±%g s and the wait took %g s", r.MeanHalfWidthS, r.MeanWaitS)
	}
}

// TestAForgedBoundShowsAsAnomaly: the same bank, the same clocks, but nobody believes how wrong they can be.
func TestAForgedBoundShowsAsAnomaly(t *testing.T) {
	r, code := played(t, "--for", "3s", "--forge-bound", "0.02")
	if code != exitAnomaly || r.Anomalies == 0 || r.Worst == nil || r.Worst.BackS <= 0 || r.Worst.ApartS < 0 {
		t.Errorf("exit code %d, %+v", code, r)
	}
}

// slowExamine is all pairs.
func slowExamine(transfers []transfer) (pairs, anomalies int64, worst float64) {
	for _, x := range transfers {
		for _, y := range transfers {
			if x.end.After(y.begin) {
				continue
			}
			pairs++
			if !x.at.Before(y.at) {
				anomalies++
				worst = max(worst, x.at.Seconds(y.at))
			}
		}
	}
	return pairs, anomalies, worst
}

func TestExamineAgainstItsSlowTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	for range 2000 {
		all := make([]transfer, r.IntN(20))
		for k := range all {
			begin := r.Int64N(30)
			all[k] = transfer{begin: virtualclock.Unix(begin, 0), end: virtualclock.Unix(begin+1+r.Int64N(5), 0), at: virtualclock.Unix(begin+r.Int64N(8), 0)}
		}
		pairs, anomalies, worst := examine(all)
		wantPairs, wantAnomalies, back := slowExamine(all)
		if pairs != wantPairs || anomalies != wantAnomalies || (worst != nil) != (anomalies > 0) || worst != nil && worst.BackS != back {
			t.Fatalf("%d pairs, %d anomalies, worst %+v; want %d, %d, %g; %+v", pairs, anomalies, worst, wantPairs, wantAnomalies, back, all)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--for", "0s"}, {"--forge-bound", "0"}, {"--tellers", "0"}, {"more"}, {"--unknown"}, {"--delay", "1s"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &errs); code != exitUsage || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, errs.String())
		}
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, nil, nil, &errs); code != exitOK || !strings.Contains(errs.String(), "forge-bound") {
		t.Errorf("help: %d, %q", code, errs.String())
	}
	if code := run(t.Context(), []string{branchCommand, "--page", "/nonexistent"}, nil, nil, &errs); code != exitFailed {
		t.Errorf("a branch without a page: %d", code)
	}
}

func TestTheTextForPeople(t *testing.T) {
	for _, c := range []struct {
		r    result
		o    options
		want []string
	}{
		{result{Transfers: 3, Conserved: true, Pairs: 2, MeanWaitS: 4e-3}, options{forge: 1}, []string{"3 transfers", "4.00 ms", "in the order of real time"}},
		{result{Transfers: 3, Anomalies: 1, Worst: &anomaly{"north", "south", 1e-3, 2e-3}}, options{forge: 0.1}, []string{"at north", "2.000 ms earlier", "too small"}},
	} {
		var out bytes.Buffer
		c.o.out = &out
		if err := c.r.print(&c.o); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q: %s", want, out.String())
			}
		}
	}
}

// TestABranchByItself: locks, refusals and snapshots, without clocks that take time.
func TestABranchByItself(t *testing.T) {
	b := newBranch(still{}, []string{""})
	if err := b.Move(Transfer{From: 0, To: 1, Amount: openingMoney + 1}, &Done{}); err == nil || !strings.Contains(err.Error(), "only") {
		t.Errorf("more than there is: %v", err)
	}
	for _, bad := range []Transfer{{From: -1}, {From: accounts}, {Branch: 1}, {Branch: -1}, {To: accounts}} {
		if err := b.Move(bad, &Done{}); err == nil {
			t.Errorf("%+v went well", bad)
		}
	}
	if err := b.Settle(Entry{Account: accounts}, nil); err == nil {
		t.Error("an account that is not there was settled")
	}
	var p Proposal
	if err := b.Prepare(1, &p); err != nil {
		t.Fatal(err)
	}
	if err := b.Move(Transfer{From: 0, To: 1, Amount: 1}, &Done{}); err == nil {
		t.Error("an account in other hands was used")
	}
	if err := b.Settle(Entry{Account: 1, Amount: 5, At: p.After}, nil); err != nil {
		t.Fatal(err)
	}
	if m, ok := b.read(1, p.After.Time()); m != openingMoney+5 || !ok {
		t.Errorf("%d, %v", m, ok)
	}
	if m, ok := b.read(1, p.After.Time().Add(-time.Nanosecond)); m != openingMoney || !ok {
		t.Errorf("before: %d, %v", m, ok)
	}
	if m, ok := b.read(0, p.After.Time()); m != openingMoney || !ok {
		t.Errorf("what was refused left a trace: %d, %v", m, ok)
	}
}

// still is a clock that stands.
type still struct{}

func (still) Now() virtualclock.Interval {
	return virtualclock.Interval{
		Earliest: virtualclock.Unix(1e18, 0), Latest: virtualclock.Unix(1e18+1000, 0), Epoch: 1, Standing: virtualclock.Standing{Status: virtualclock.Synchronised},
	}
}
