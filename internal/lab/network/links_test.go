package network

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/testkit"
)

// TestQueueIsAHeap compares the queue with sorting: parcels come out by their time, and in the order of their coming if that is
// the same, whatever goes in and out between.
func TestQueueIsAHeap(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	type key struct{ due, number int64 }
	for range 200 {
		var q queue
		var twin []key
		for number := range int64(300) {
			if r.Float64() < 0.6 || len(twin) == 0 {
				due := r.Int64N(50)
				q.push(parcel{due: due, packet: make([]byte, 1+number)})
				twin = append(twin, key{due, 1 + number})
				slices.SortStableFunc(twin, func(a, b key) int { return int(a.due - b.due) })
				continue
			}
			p := q.pop()
			if want := twin[0]; p.due != want.due || int64(len(p.packet)) != want.number {
				t.Fatalf("parcel %d of %d came out, want %+v", len(p.packet), p.due, want)
			}
			twin = twin[1:]
			bytes := 0
			for _, x := range q.parcels {
				bytes += cap(x.packet)
			}
			if bytes != q.bytes || len(q.parcels) != len(twin) {
				t.Fatalf("%d bytes and %d parcels are counted, %d and %d are there", q.bytes, len(q.parcels), bytes, len(twin))
			}
		}
	}
}

// TestTransit: what the law says comes out in the long run, and what must hold for each packet holds for each.
func TestTransit(t *testing.T) {
	const n = 100_000
	seed := testkit.Seed(t)
	near := func(what string, got uint64, p float64) {
		t.Helper()
		if math.Abs(float64(got)-p*n) > 6*math.Sqrt(p*(1-p)*n) {
			t.Errorf("%s: %d of %d, want %g of them", what, got, n, p)
		}
	}
	l := newLink(seed, 1, 2)
	law := Law{Delay: mustParse(t, "200us + exp(50us)"), Added: time.Millisecond, Loss: 0.1, Duplicate: 0.05}
	l.law.Store(&law)
	sum, overtaken, last := 0.0, 0, int64(0)
	for i := range int64(n) {
		due, copies := l.transit(i*10_000, 0)
		for k := range copies {
			if wait := due[k] - i*10_000; wait < 1_200_000 {
				t.Fatalf("a packet is due after %d ns, the law's least is 1.2 ms", wait)
			}
		}
		if copies > 0 {
			sum += float64(due[0] - i*10_000)
			if due[0] < last {
				overtaken++
			}
			last = due[0]
		}
	}
	c := l.counters()
	near("lost", c.Lost, 0.1)
	near("sent twice", c.Duplicated, 0.9*0.05)
	if mean := sum / float64(n-c.Lost); math.Abs(mean-1_250_000) > 6*50_000/math.Sqrt(n*0.9) || c.Received != n || overtaken == 0 {
		t.Errorf("the mean delay is %.0f ns, %d overtaken, %+v", mean, overtaken, c)
	}
	ordered := newLink(seed, 1, 2)
	law.Ordered, law.Duplicate = true, 0
	ordered.law.Store(&law)
	last = 0
	for i := range int64(n) {
		if due, copies := ordered.transit(i*10_000, 0); copies > 0 {
			if due[0] < last {
				t.Fatal("a packet overtook another on an ordered link")
			}
			last = due[0]
		}
	}
	ordered.cut.Store(true)
	if _, copies := ordered.transit(0, 0); copies != 0 || ordered.counters().Cut != 1 {
		t.Error("a packet went through a cut link")
	}
	soon := newLink(seed, 1, 2)
	soon.law.Store(&Law{Delay: mustParse(t, "50us")})
	if due, _ := soon.transit(1000, 20_000); due[0] != 31_000 {
		t.Errorf("with an overhead of 20 µs a delay of 50 µs is %d ns", due[0]-1000)
	}
	if due, _ := soon.transit(1000, 80_000); due[0] != 1000 {
		t.Error("a packet arrives before it is sent")
	}
}

// TestTransitIsRepeatable: the same seed, the same network; and each direction is its own.
func TestTransitIsRepeatable(t *testing.T) {
	seed := testkit.Seed(t)
	draw := func(seed, from, to uint64) (all []int64) {
		l := newLink(seed, from, to)
		l.law.Store(&Law{Delay: mustParse(t, "exp(50us)"), Loss: 0.2, Duplicate: 0.2})
		for i := range int64(100) {
			due, copies := l.transit(i, 0)
			all = append(append(all, int64(copies)), due[:]...)
		}
		return all
	}
	if !slices.Equal(draw(seed, 1, 2), draw(seed, 1, 2)) {
		t.Error("the same seed gave two networks")
	}
	if slices.Equal(draw(seed, 1, 2), draw(seed, 2, 1)) || slices.Equal(draw(seed, 1, 2), draw(seed+1, 1, 2)) {
		t.Error("two directions or two seeds are the same")
	}
}

func TestPartition(t *testing.T) {
	s := newLinks(5, 1)
	cut := func() (pairs []int) {
		for from := range 5 {
			for to := range 5 {
				if s.link(from, to).cut.Load() {
					pairs = append(pairs, 10*from+to)
				}
			}
		}
		return pairs
	}
	if err := s.Partition([]int{0, 1}, []int{2}); err != nil {
		t.Fatal(err)
	}
	if want := []int{2, 3, 4, 12, 13, 14, 20, 21, 23, 24, 30, 31, 32, 40, 41, 42}; !slices.Equal(cut(), want) {
		t.Errorf("cut are %v, want %v", cut(), want)
	}
	for _, bad := range [][][]int{{{0, 5}}, {{-1}}, {{0}, {0}}} {
		if err := s.Partition(bad...); err == nil {
			t.Errorf("%v is a partition", bad)
		}
	}
	if len(cut()) != 16 {
		t.Error("a partition that was refused changed something")
	}
	if err := s.Partition(); err != nil || len(cut()) != 0 {
		t.Errorf("%v, and %v are cut still", err, cut())
	}
	if err := s.Cut(1, 2, true); err != nil || !slices.Equal(cut(), []int{12}) {
		t.Errorf("%v, cut are %v, want one direction", err, cut())
	}
}

func TestLawsAreChecked(t *testing.T) {
	s := newLinks(3, 1)
	for text, law := range map[string]Law{
		"probabilities": {Loss: 1.1}, "must be probabilities": {Duplicate: math.NaN()}, "added delay": {Added: -1}, "from 0 to": {Added: 2 * maxAdded},
	} {
		if err := s.Set(0, 1, law); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v", law, err)
		}
		if err := s.SetAll(law); err == nil {
			t.Errorf("%+v is taken for all", law)
		}
	}
	for _, pair := range [][2]int{{-1, 0}, {0, 3}} {
		if err := s.Set(pair[0], pair[1], Law{}); err == nil || !strings.Contains(err.Error(), "0 to 2") {
			t.Errorf("%v: %v", pair, err)
		}
		if err := s.Cut(pair[0], pair[1], true); err == nil {
			t.Errorf("%v can be cut", pair)
		}
		if s.Counters(pair[0], pair[1]) != (Counters{}) || s.Law(pair[0], pair[1]).Delay.String() != "0" {
			t.Errorf("%v has counters or a law", pair)
		}
	}
	law := Law{Delay: delay.Constant(1e-3), Loss: 0.5}
	if err := s.Set(2, 1, law); err != nil || s.Law(2, 1).Loss != 0.5 || s.Law(1, 2).Loss != 0 || s.Hosts() != 3 {
		t.Errorf("%v, %+v", err, s.Law(2, 1))
	}
}
