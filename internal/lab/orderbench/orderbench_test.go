package orderbench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// TestMain makes the test program a member too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "order-member" {
		if err := RunMember(context.Background(), os.Stdin, os.Stdout, Engines()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func plan() *Plan {
	return &Plan{Engines: []string{TSAB, Sequencer, RaftLog}, Links: []string{"loopback"}, Durabilities: []string{"memory"}, Origins: []string{OriginAll}, Nodes: []int{3},
		Sizes: []int{100}, Outstanding: []int{4}, For: 300 * time.Millisecond, Warm: 50 * time.Millisecond, Repeat: 1}
}

func measured(t *testing.T, p *Plan) []Row {
	t.Helper()
	rows, err := Run(t.Context(), p, &Options{Member: []string{os.Args[0], "order-member"}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Error != "" {
			t.Fatalf("%s: %s", r.Engine, r.Error)
		}
	}
	return rows
}

// TestEnginesAreMeasured runs real processes; what they take depends on the machine, that there is something does not.
func TestEnginesAreMeasured(t *testing.T) {
	testkit.NoLeaks(t)
	p := plan()
	rows := measured(t, p)
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		rate, ok := r.MessagesPerS.Value()
		if !ok {
			t.Errorf("%s: no rate", r.Engine)
		}
		if rate == 0 {
			t.Logf("%s: the machine was too busy for a single message", r.Engine)
			continue
		}
		p50, p99, most := r.ReceiverP50.Float(), r.ReceiverP99.Float(), r.ReceiverMax.Float()
		if !(p50 > 0 && p50 <= p99 && p99 <= most && most < 60) {
			t.Errorf("%s: receivers' latencies %g, %g, %g s", r.Engine, p50, p99, most)
		}
		if r.Failed != 0 || r.Failure != "" || r.Transport != "tcp+tls" {
			t.Errorf("%s: %+v", r.Engine, r)
		}
	}
}

func TestInterruptKeepsWhatWasMeasured(t *testing.T) {
	testkit.NoLeaks(t)
	p := plan()
	p.Engines, p.Repeat = []string{TSAB}, 50
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rows, err := Run(ctx, p, &Options{Member: []string{os.Args[0], "order-member"}, Dir: t.TempDir(), Done: func(Row) { cancel() }})
	if err == nil || len(rows) != 1 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestMembersThatCannotStartAreNamed(t *testing.T) {
	p := plan()
	p.Engines = []string{Hashicorp} // which this program does not have
	rows, err := Run(t.Context(), p, &Options{HashicorpMember: []string{os.Args[0], "order-member"}, Dir: t.TempDir()})
	if err != nil || len(rows) != 1 || !strings.Contains(rows[0].Error, `no engine "hashicorp-raft"`) {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Plan){
		`--engine "paxos"`:     func(p *Plan) { p.Engines = []string{"paxos"} },
		`--durability "tape"`:  func(p *Plan) { p.Durabilities = []string{"tape"} },
		`--origin "nobody"`:    func(p *Plan) { p.Origins = []string{"nobody"} },
		"--nodes 0":            func(p *Plan) { p.Nodes = []int{0} },
		"--size 23":            func(p *Plan) { p.Sizes = []int{23} },
		"--outstanding 0":      func(p *Plan) { p.Outstanding = []int{0} },
		`--link "moon"`:        func(p *Plan) { p.Links = []string{"moon"} },
		"--link is empty":      func(p *Plan) { p.Links = nil },
		"--engine is empty":    func(p *Plan) { p.Engines = nil },
		"--for 1ns":            func(p *Plan) { p.For = 1 },
		"--warm -1s":           func(p *Plan) { p.Warm = -time.Second },
		"--repeat 0":           func(p *Plan) { p.Repeat = 0 },
		"--delta is what only": func(p *Plan) { p.Delta = time.Millisecond },
		"--clock-spread -1s":   func(p *Plan) { p.Spread = -time.Second },
		"one node has no followers": func(p *Plan) {
			p.Nodes, p.Origins = []int{1}, []string{OriginFollower}
		},
	} {
		p := plan()
		change(p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := plan().Check(); err != nil {
		t.Error(err)
	}
}

// TestFormula holds the examples of theory 6.6: a WAN triangle, q–p 60 ms, q–r 30 ms, r–p 40 ms.
func TestFormula(t *testing.T) {
	const ms = 1e-3
	d := Delays{{0, 60 * ms, 30 * ms}, {60 * ms, 0, 40 * ms}, {30 * ms, 40 * ms, 0}}
	homogeneous := func(n int, x float64) Delays {
		var d Delays
		for range n {
			row := make([]float64, n)
			for k := range row {
				row[k] = x
			}
			d = append(d, row)
		}
		return d
	}
	for _, x := range []struct {
		what      string
		got, want float64
	}{
		{"TSAB from q to p", (&Formula{HeartbeatS: 5 * ms}).TSAB(d, 0, 1), 60 * ms},
		{"sequencer r", (&Formula{WriteS: 3 * ms}).Sequencer(d, 0, 2, 1), 30*ms + 43*ms},
		{"n=5, sequencer elsewhere", (&Formula{WriteS: 3 * ms}).Sequencer(homogeneous(5, 10*ms), 0, 1, 0), 33 * ms},
		{"time-triggered, q's clock 2 ms ahead of p's", (&Formula{DeltaS: 80 * ms, OffsetsS: []float64{1 * ms, -1 * ms, 0}}).of(TSAB, d, 0, 2, 1), 82 * ms},
		{"raft, leader r", (&Formula{}).Leader(d, 0, 2, 1), 130 * ms},
		{"n=3 at a receiver", (&Formula{HeartbeatS: 1, WriteS: 3 * ms}).TSAB(homogeneous(3, 10*ms), 0, 1), 20 * ms},
		{"n=3 at the sender", (&Formula{WriteS: 3 * ms}).TSAB(homogeneous(3, 10*ms), 0, 0), 23 * ms},
		{"n=5 anywhere", (&Formula{WriteS: 3 * ms}).TSAB(homogeneous(5, 10*ms), 0, 1), 23 * ms},
		{"raft, leader origin, at the leader", (&Formula{WriteS: 3 * ms}).Leader(homogeneous(3, 10*ms), 0, 0, 0), 23 * ms},
		{"raft, follower origin, at the origin", (&Formula{WriteS: 3 * ms}).Leader(homogeneous(3, 10*ms), 1, 0, 1), 43 * ms},
	} {
		if math.Abs(x.got-x.want) > 1e-9 {
			t.Errorf("%s: %g s, want %g s", x.what, x.got, x.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if _, ok := h.Quantile(0.5); ok {
		t.Error("an empty histogram has a median")
	}
	for k := range 100_000 {
		h.Add(time.Duration(k+1) * 13 * time.Microsecond)
	}
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var back Histogram
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	back.Merge(&h)
	if back.Count() != 200_000 {
		t.Errorf("%d durations", back.Count())
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.99, 1} {
		want := (q*99_999 + 1) * 13e-6
		if got, _ := back.Quantile(q); math.Abs(got/want-1) > 1.0/128+1e-4 {
			t.Errorf("quantile %g is %g s, not %g s", q, got, want)
		}
	}
}

// FuzzMember: what comes on standard input that is no order ends the member with an error or an answer, and nothing else.
func FuzzMember(f *testing.F) {
	f.Add([]byte(`{"do":"run","senders":1,"size":24,"start_ns":0,"end_ns":1}`))
	f.Add([]byte(`{"do":"wait"}`))
	f.Add([]byte("\x00\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if bytes.Contains(b, []byte("run")) {
			return // it measures for as long as it is told
		}
		in := io.MultiReader(strings.NewReader(`{"engine":"none"}`+"\n"), bytes.NewReader(b))
		var out bytes.Buffer
		_ = RunMember(ctx, in, &out, map[string]Open{"none": func(Setup, func([]byte)) (Log, error) { return nothing{}, nil }})
		for lines := bufio.NewScanner(&out); lines.Scan(); {
			var a answer
			if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
		}
	})
}

type nothing struct{}

func (nothing) Wait(context.Context) (int, error)       { return 1, nil }
func (nothing) Broadcast(context.Context, []byte) error { return nil }
func (nothing) Close() error                            { return nil }
