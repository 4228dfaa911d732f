package order

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// note is a message of the tests: sender and number.
type note struct {
	sender int
	number uint64
}

func length(n note) int { return int(n.number%5) + 1 }

// slowFIFO keeps everything and looks through all of it.
type slowFIFO struct {
	held map[note]bool
	next map[int]uint64
}

func (q *slowFIFO) add(n note) (out []note) {
	if n.number >= q.next[n.sender] {
		q.held[n] = true
	}
	for {
		m := note{n.sender, q.next[n.sender]}
		if !q.held[m] {
			return out
		}
		delete(q.held, m)
		q.next[n.sender]++
		out = append(out, m)
	}
}

func messages[T any](d []Delivery[T]) (out []T) {
	for _, m := range d {
		out = append(out, m.Message)
	}
	return out
}

// TestFIFOAgainstItsSlowTwin: whatever is duplicated, reordered or late, both deliver the same at the same moment.
func TestFIFOAgainstItsSlowTwin(t *testing.T) {
	r := seeded(t)
	for range 300 {
		q, err := NewFIFO[note](Limits{Senders: 3, Window: 32}, nil)
		if err != nil {
			t.Fatal(err)
		}
		slow := &slowFIFO{map[note]bool{}, map[int]uint64{0: 1, 1: 1, 2: 1}}
		for range 400 {
			s := r.IntN(3)
			n := note{s, slow.next[s] - min(slow.next[s], 3) + uint64(r.IntN(30))}
			var want []note
			got, err := q.Add(nil, Node(s), n.number, n)
			held := slow.held[n]
			past := n.number < slow.next[s]
			want = slow.add(n)
			switch {
			case past != isReason(err, reason.QueuePast), held != isReason(err, reason.QueueDuplicate):
				t.Fatalf("%+v: %v; past %v, held %v", n, err, past, held)
			case err != nil && !past && !held:
				t.Fatal(err)
			case !slices.Equal(messages(got), want):
				t.Fatalf("%+v: delivered %v, want %v", n, got, want)
			}
			if c := q.Counts(); c.Held != uint64(len(slow.held)) {
				t.Fatalf("holds %d, not %d", c.Held, len(slow.held))
			}
			first, last, ok := q.Missing(Node(s))
			lowest := uint64(math.MaxUint64)
			for m := range slow.held {
				if m.sender == s {
					lowest = min(lowest, m.number)
				}
			}
			if ok != (lowest != math.MaxUint64) || ok && (first != slow.next[s] || last != lowest-1) {
				t.Fatalf("missing %d to %d, %v; next is %d, the lowest held %d", first, last, ok, slow.next[s], lowest)
			}
		}
	}
}

// TestFIFOIsBounded and says what it refuses; with the policy Skip everything that fits is delivered in order, and what was given up
// is counted exactly.
func TestFIFOIsBounded(t *testing.T) {
	r := seeded(t)
	for k := range 200 {
		l := Limits{Senders: 2, Window: 1 + r.IntN(20), Policy: Policy(k % 2)}
		if r.IntN(2) == 0 {
			l.Bytes = 5 + r.IntN(40)
		}
		q, err := NewFIFO(l, length)
		if err != nil {
			t.Fatal(err)
		}
		sent, accepted, delivered, refused, lost := uint64(0), 0, 0, 0, uint64(0)
		last := uint64(0)
		for range 500 {
			// One in three is lost on the way; sometimes a burst is.
			sent++
			if r.IntN(100) == 0 {
				sent += uint64(r.IntN(60))
			}
			if r.IntN(3) == 0 {
				continue
			}
			out, err := q.Add(nil, 7, sent, note{7, sent})
			if err != nil {
				refused++
				if l.Policy == Skip || !isReason(err, reason.QueueFull) {
					t.Fatalf("message %d: %v, %+v", sent, err, l)
				}
			} else {
				accepted++
			}
			for _, d := range out {
				if d.Sequence != last+d.Lost+1 || d.Message.number != d.Sequence {
					t.Fatalf("%+v after %d", d, last)
				}
				last = d.Sequence
				lost += d.Lost
				delivered++
			}
			s := q.senders[7]
			if s.ring.held > l.Window || len(s.ring.slots) > 2*l.Window+leastRing {
				t.Fatalf("%d held in %d places, %+v", s.ring.held, len(s.ring.slots), l)
			}
			bytes := 0
			for n := s.next; n <= s.next+uint64(l.Window); n++ {
				if s.ring.has(s.next, n) {
					bytes += length(s.ring.at(n).message)
				}
			}
			if bytes != s.ring.bytes || l.Bytes > 0 && bytes > l.Bytes && s.ring.held > 1 {
				t.Fatalf("%d bytes, %d counted, %+v", bytes, s.ring.bytes, l)
			}
		}
		c := q.Counts()
		if int(c.Delivered) != delivered || int(c.Delivered+c.Held) != accepted || c.Lost < lost || c.Refused[reason.QueueFull] != uint64(refused) {
			t.Fatalf("%+v; delivered %d, accepted %d, lost %d, refused %d", c, delivered, accepted, lost, refused)
		}
		if l.Policy == Refuse && (lost != 0 || refused == 0) {
			t.Fatalf("lost %d, refused %d, %+v", lost, refused, l)
		}
		if l.Policy == Skip && lost == 0 {
			t.Fatalf("nothing given up, %+v", l)
		}
	}
}

func TestFIFOStepByStep(t *testing.T) {
	for _, l := range []Limits{{}, {Senders: 1}, {Senders: 1, Window: maxWindow + 1}, {Senders: 1, Window: 1, Bytes: 1}, {Senders: 1, Window: 1, Policy: 2},
		{Senders: 1, Window: 1, Bytes: -1}} {
		if _, err := NewFIFO[int](l, nil); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
	q, err := NewFIFO[string](Limits{Senders: 1, Window: 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Begin(1, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Add(nil, 2, 1, "x"); !isReason(err, reason.QueueSender) {
		t.Error(err)
	}
	if _, err := q.Add(nil, 1, math.MaxUint64, "x"); !isReason(err, reason.CounterExhausted) {
		t.Error(err)
	}
	for _, n := range []uint64{12, 14} {
		if out, err := q.Add(nil, 1, n, fmt.Sprint(n)); err != nil || len(out) != 0 {
			t.Errorf("%v, %v", out, err)
		}
	}
	if out := q.Skip(nil, 1, 12); len(out) != 1 || out[0] != (Delivery[string]{1, 12, "12", 2}) {
		t.Errorf("%+v", out)
	}
	if out := q.Skip(nil, 1, 20); len(out) != 1 || out[0] != (Delivery[string]{1, 14, "14", 1}) || q.senders[1].next != 21 {
		t.Errorf("%+v, next %d", out, q.senders[1].next)
	}
	if out := q.Skip(nil, 1, 20); len(out) != 0 {
		t.Errorf("%+v", out)
	}
	if out, err := q.Add(nil, 1, 21, "21"); err != nil || len(out) != 1 || out[0].Lost != 6 {
		t.Errorf("%+v, %v", out, err)
	}
	_, _ = q.Add(nil, 1, 24, "24")
	if err := q.Begin(1, 3); err != nil || q.Counts().Held != 0 {
		t.Errorf("%v, %+v", err, q.Counts())
	}
	_, _ = q.Add(nil, 1, 5, "5")
	q.Forget(1)
	if err := q.Begin(2, 1); err != nil || q.Counts().Held != 0 {
		t.Errorf("%v, %+v", err, q.Counts())
	}
}

// cast is a random history of messages that members send after having delivered others.
type cast struct {
	sender int
	vector Vector
}

func (c *cast) note() note { return note{c.sender, c.vector[c.sender]} }

// causalHistory makes n messages of some members: each sender has delivered a random, causally closed part of what was sent before.
func causalHistory(r *rand.Rand, members, n int) []cast {
	var all []cast
	known := make([]Vector, members)
	for k := range known {
		known[k] = make(Vector, members)
	}
	for range n {
		k := r.IntN(members)
		for range r.IntN(3) {
			if len(all) > 0 {
				// To deliver a message is to have delivered all that it depends on.
				known[k].Merge(all[r.IntN(len(all))].vector)
			}
		}
		known[k][k]++
		all = append(all, cast{k, slices.Clone(known[k])})
	}
	return all
}

// depends reports whether b may have been caused by a, by the definition: b's sender knew a.
func depends(a, b *cast) bool {
	return a != b && b.vector[a.sender] >= a.vector[a.sender]
}

// slowCausal keeps everything and looks through all of it.
type slowCausal struct {
	all       []cast
	arrived   map[note]bool
	delivered map[note]bool
}

func (q *slowCausal) add(c *cast) {
	q.arrived[c.note()] = true
	for again := true; again; {
		again = false
		for k := range q.all {
			m := &q.all[k]
			if !q.arrived[m.note()] || q.delivered[m.note()] {
				continue
			}
			ready := true
			for j := range q.all {
				ready = ready && (!depends(&q.all[j], m) || q.delivered[q.all[j].note()])
			}
			if ready {
				q.delivered[m.note()], again = true, true
			}
		}
	}
}

// TestCausalAgainstItsSlowTwin: after each arrival both have delivered the same, and the order is a linear extension of causality.
func TestCausalAgainstItsSlowTwin(t *testing.T) {
	r := seeded(t)
	for range 300 {
		members := 2 + r.IntN(4)
		h := causalHistory(r, members, 40)
		q, err := NewCausal[note](Limits{Senders: members, Window: 64}, nil)
		if err != nil {
			t.Fatal(err)
		}
		slow := &slowCausal{h, map[note]bool{}, map[note]bool{}}
		arrivals := r.Perm(len(h))
		position := map[note]int{}
		for _, k := range arrivals {
			out, err := q.Add(nil, h[k].sender, slices.Clone(h[k].vector), h[k].note())
			if err != nil {
				t.Fatal(err)
			}
			slow.add(&h[k])
			for _, d := range out {
				if !slow.delivered[d.Message] || d.Sender != Node(d.Message.sender) || d.Sequence != d.Message.number {
					t.Fatalf("delivered %+v too early", d)
				}
				if _, twice := position[d.Message]; twice {
					t.Fatalf("delivered %+v twice", d)
				}
				position[d.Message] = len(position)
			}
			if len(position) != len(slow.delivered) || q.Counts().Held != uint64(len(slow.arrived)-len(slow.delivered)) {
				t.Fatalf("delivered %d and holds %d, want %d and %d", len(position), q.Counts().Held, len(slow.delivered), len(slow.arrived)-len(slow.delivered))
			}
			if member, first, last, ok := q.Missing(); ok != (q.Counts().Held > 0) || ok && (slow.arrived[note{member, first}] || slow.arrived[note{member, last}]) {
				t.Fatalf("missing %d to %d of %d, %v", first, last, member, ok)
			}
			// Once more: a duplicate, or past.
			if _, err := q.Add(nil, h[k].sender, h[k].vector, h[k].note()); !isReason(err, reason.QueueDuplicate) && !isReason(err, reason.QueuePast) {
				t.Fatalf("the second time: %v", err)
			}
		}
		if len(position) != len(h) {
			t.Fatalf("%d of %d delivered", len(position), len(h))
		}
		for a := range h {
			for b := range h {
				if depends(&h[a], &h[b]) && position[h[a].note()] > position[h[b].note()] {
					t.Fatalf("%+v delivered after %+v", h[a], h[b])
				}
			}
		}
	}
}

// permutations calls f with all orders of 0…n−1.
func permutations(n int, f func([]int)) {
	p := make([]int, 0, n)
	var rec func(used int)
	rec = func(used int) {
		if len(p) == n {
			f(p)
			return
		}
		for k := range n {
			if used>>k&1 == 0 {
				p = append(p, k)
				rec(used | 1<<k)
				p = p[:len(p)-1]
			}
		}
	}
	rec(0)
}

// TestQueuesDeliverExactlyTheLinearExtensions: over all arrival orders of a small history, what the causal queue delivers is
// exactly the set of the linear extensions of causality, the FIFO's that of the senders' orders, and the total one's is one.
func TestQueuesDeliverExactlyTheLinearExtensions(t *testing.T) {
	r := seeded(t)
	for range 12 {
		const members, n = 3, 6
		h := causalHistory(r, members, n)
		causalWant, fifoWant := map[string]bool{}, map[string]bool{}
		causalGot, fifoGot, totalGot := map[string]bool{}, map[string]bool{}, map[string]bool{}
		permutations(n, func(p []int) {
			causal, fifo := true, true
			for j := range p {
				for i := range j {
					later, earlier := &h[p[i]], &h[p[j]]
					causal = causal && !depends(earlier, later)
					fifo = fifo && (earlier.sender != later.sender || !depends(earlier, later))
				}
			}
			text := ""
			for _, k := range p {
				text += fmt.Sprint(h[k].note())
			}
			if causal {
				causalWant[text] = true
			}
			if fifo {
				fifoWant[text] = true
			}
			c, _ := NewCausal[note](Limits{Senders: members, Window: n}, nil)
			f, _ := NewFIFO[note](Limits{Senders: members, Window: n}, nil)
			l, _ := NewTotal[note](Limits{Senders: members, Window: n}, nil, 0, 1, 2)
			in, _ := NewFIFO[int](Limits{Senders: members, Window: n}, nil)
			var a, b, d []Delivery[note]
			for _, k := range p {
				m := &h[k]
				a, _ = c.Add(a, m.sender, slices.Clone(m.vector), m.note())
				b, _ = f.Add(b, Node(m.sender), m.note().number, m.note())
				ready, _ := in.Add(nil, Node(m.sender), m.note().number, k)
				for _, x := range ready {
					// The place in the history is the timestamp.
					d, _ = l.Add(d, Key{point(int64(x.Message)), x.Sender, x.Sequence}, h[x.Message].note())
				}
			}
			for k := range members {
				d = l.Promise(d, Node(k), point(n))
			}
			causalGot[fmt.Sprint(messages(a))] = true
			fifoGot[fmt.Sprint(messages(b))] = true
			totalGot[fmt.Sprint(messages(d))] = true
		})
		same := func(what string, got, want map[string]bool) {
			t.Helper()
			if len(got) != len(want) {
				t.Errorf("%s: %d orders, want %d", what, len(got), len(want))
			}
			for k := range want {
				if !got["["+spaced(k)+"]"] {
					t.Errorf("%s: never delivered %s", what, k)
				}
			}
		}
		same("causal", causalGot, causalWant)
		same("FIFO", fifoGot, fifoWant)
		if len(totalGot) != 1 {
			t.Errorf("total: %d orders", len(totalGot))
		}
	}
}

// spaced puts the spaces of fmt between the messages.
func spaced(s string) string {
	out := make([]byte, 0, len(s))
	for k := range len(s) {
		if out = append(out, s[k]); s[k] == '}' && k+1 < len(s) {
			out = append(out, ' ')
		}
	}
	return string(out)
}

// TestCausalIsBounded, with honest senders whose messages get lost and with liars; under Skip it always goes on, and what is
// delivered is in causal order but for what was given up.
func TestCausalIsBounded(t *testing.T) {
	r := seeded(t)
	wentOn := 0
	for k := range 200 {
		const members = 3
		l := Limits{Senders: members, Window: 1 + r.IntN(6), Policy: Policy(k % 2)}
		if r.IntN(2) == 0 {
			l.Bytes = 3 + r.IntN(10)
		}
		liars := r.IntN(2) == 0
		q, err := NewCausal(l, length)
		if err != nil {
			t.Fatal(err)
		}
		h := causalHistory(r, members, 120)
		if liars {
			for k := range h {
				if r.IntN(10) == 0 {
					h[k].vector[r.IntN(members)] += r.Uint64N(40)
				}
			}
		}
		last := make(Vector, members)
		delivered, accepted := 0, 0
		for k := range h {
			if r.IntN(4) == 0 {
				continue
			}
			out, err := q.Add(nil, h[k].sender, slices.Clone(h[k].vector), h[k].note())
			if err == nil {
				accepted++
			}
			if l.Policy == Skip && isReason(err, reason.QueueFull) {
				t.Fatalf("full under Skip: %+v", h[k])
			}
			for _, d := range out {
				if d.Sequence != last[d.Sender]+d.Lost+1 {
					t.Fatalf("%+v after %d, %+v", d, last[d.Sender], l)
				}
				last[d.Sender] = d.Sequence
				delivered++
			}
			for k := range q.rings {
				if held := q.rings[k].held; held > l.Window+1 {
					t.Fatalf("%d held of one member, %+v", held, l)
				}
			}
		}
		if c := q.Counts(); int(c.Delivered) != delivered || int(c.Delivered+c.Held) != accepted {
			t.Fatalf("%+v, delivered %d, accepted %d", c, delivered, accepted)
		}
		if l.Policy == Skip && !liars {
			wentOn += delivered
		}
	}
	// Of 50 histories of 90 messages that arrive each.
	if wentOn < 1000 {
		t.Errorf("only %d delivered under Skip", wentOn)
	}
}

func TestCausalStepByStep(t *testing.T) {
	if _, err := NewCausal[int](Limits{}, nil); err == nil {
		t.Error("no limits")
	}
	q, err := NewCausal[string](Limits{Senders: 2, Window: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		member int
		v      Vector
		want   reason.Code
	}{
		{2, Vector{1, 1}, reason.QueueSender}, {-1, Vector{1, 1}, reason.QueueSender}, {0, Vector{1}, reason.VectorImpossible},
		{0, Vector{0, 1}, reason.VectorImpossible}, {0, Vector{1, math.MaxUint64}, reason.VectorImpossible}, {0, Vector{4, 0}, reason.QueueFull},
	} {
		if out, err := q.Add(nil, c.member, c.v, "x"); !isReason(err, c.want) || len(out) != 0 {
			t.Errorf("%d, %v: %v, want %v", c.member, c.v, err, c.want)
		}
	}
	// 0's second message and 1's first wait for 0's first, which is lost.
	for _, m := range []struct {
		member int
		v      Vector
	}{{0, Vector{2, 0}}, {1, Vector{1, 1}}} {
		if out, err := q.Add(nil, m.member, m.v, "held"); err != nil || len(out) != 0 {
			t.Errorf("%v, %v", out, err)
		}
	}
	if out := q.Skip(nil, 0, 1); len(out) != 2 || out[0].Lost+out[1].Lost != 1 || !slices.Equal(q.Delivered(nil), Vector{2, 1}) {
		t.Errorf("%+v, %v", out, q.Delivered(nil))
	}
	if _, _, _, ok := q.Missing(); ok {
		t.Error("something is missing")
	}
}

// slowTotal keeps all and sorts all.
type slowTotal struct {
	held     []Key
	frontier map[Node]Key
}

func (q *slowTotal) deliver() (out []Key) {
	slices.SortFunc(q.held, Key.Compare)
	for len(q.held) > 0 {
		for _, f := range q.frontier {
			if q.held[0].Compare(f) > 0 {
				return out
			}
		}
		out, q.held = append(out, q.held[0]), q.held[1:]
	}
	return out
}

// TestTotalAgainstItsSlowTwin: both deliver the same at the same moment, with many equal timestamps, promises and members that go and
// come; two receivers that hear the members' streams in different interleavings deliver one order.
func TestTotalAgainstItsSlowTwin(t *testing.T) {
	r := seeded(t)
	for range 300 {
		q, err := NewTotal[Key](Limits{Senders: 4, Window: 1000}, nil, 0, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		slow := &slowTotal{frontier: map[Node]Key{}}
		for k := range Node(3) {
			slow.frontier[k] = Key{Time: virtualclock.MinTime()}
		}
		clock := [4]int64{}
		sequence := [4]uint64{}
		var all []Key
		for range 200 {
			n := Node(r.IntN(4))
			_, member := slow.frontier[n]
			clock[n] += r.Int64N(4)
			sequence[n]++
			k := Key{point(clock[n]), n, sequence[n]}
			var got []Delivery[Key]
			switch {
			case r.IntN(60) == 0:
				got = q.Remove(nil, n)
				delete(slow.frontier, n)
				if len(slow.frontier) == 0 {
					// With nobody left there is nothing to wait for.
					slow.frontier[99] = Key{virtualclock.MaxTime(), math.MaxUint64, math.MaxUint64}
				}
			case !member && r.IntN(4) == 0:
				// Whoever joins promises to be after all that was delivered.
				delete(slow.frontier, 99)
				early := len(all) > 0 && k.Compare(all[len(all)-1]) < 0
				switch err := q.Join(n, k); {
				case err == nil && !early:
					slow.frontier[n] = k
				case isReason(err, reason.QueueSender), early && isReason(err, reason.PromiseBroken):
				default:
					t.Fatalf("joined at %+v: %v", k, err)
				}
				if len(slow.frontier) == 0 {
					slow.frontier[99] = Key{virtualclock.MaxTime(), math.MaxUint64, math.MaxUint64}
				}
			case r.IntN(3) == 0:
				got = q.Promise(nil, n, k.Time)
				if p := (Key{k.Time, math.MaxUint64, math.MaxUint64}); member && p.Compare(slow.frontier[n]) > 0 {
					slow.frontier[n] = p
				}
			default:
				got, err = q.Add(nil, k, k)
				switch {
				case !member && !isReason(err, reason.QueueSender) && !isReason(err, reason.PromiseBroken):
					t.Fatalf("no member: %v", err)
				case member && k.Compare(slow.frontier[n]) <= 0 != isReason(err, reason.PromiseBroken):
					t.Fatalf("%+v after a promise of %+v: %v", k, slow.frontier[n], err)
				case err == nil:
					slow.held = append(slow.held, k)
					slow.frontier[n] = k
				}
			}
			want := slow.deliver()
			if len(slow.frontier) == 0 {
				want = nil
			}
			if !slices.Equal(messages(got), want) {
				t.Fatalf("delivered %+v, want %+v", got, want)
			}
			all = append(all, want...)
		}
		if !slices.IsSortedFunc(all, Key.Compare) {
			t.Fatalf("not in order: %+v", all)
		}
	}
}

func TestTwoReceiversDeliverOneOrder(t *testing.T) {
	r := seeded(t)
	for range 200 {
		const members, each = 4, 30
		var streams [members][]Key
		for m := range streams {
			at := int64(0)
			for s := range each {
				at += r.Int64N(3)
				streams[m] = append(streams[m], Key{point(at), Node(m), uint64(s)})
			}
		}
		receive := func() (out []Delivery[Key]) {
			q, _ := NewTotal[Key](Limits{Senders: members, Window: each}, nil, 0, 1, 2, 3)
			var at [members]int
			for range members * (each + 1) {
				m := r.IntN(members)
				for at[m] > each {
					m = (m + 1) % members
				}
				if at[m] == each {
					out = q.Promise(out, Node(m), virtualclock.MaxTime())
				} else {
					k := streams[m][at[m]]
					out, _ = q.Add(out, k, k)
				}
				at[m]++
			}
			return out
		}
		a, b := receive(), receive()
		if len(a) != members*each || !slices.Equal(a, b) {
			t.Fatalf("%d and %d delivered, or in two orders", len(a), len(b))
		}
	}
}

// TestTotalIsBoundedAndNeverStuck: however much one member sends, the one for whom all wait gets its message in.
func TestTotalIsBoundedAndNeverStuck(t *testing.T) {
	if _, err := NewTotal[note](Limits{Senders: 2, Window: 1, Policy: Skip}, nil); err == nil {
		t.Error("Skip is taken")
	}
	if _, err := NewTotal[note](Limits{}, nil); err == nil {
		t.Error("no limits")
	}
	if _, err := NewTotal[note](Limits{Senders: 1, Window: 1}, nil, 1, 2); !isReason(err, reason.QueueSender) {
		t.Errorf("too many members: %v", err)
	}
	q, err := NewTotal(Limits{Senders: 2, Window: 8, Bytes: 20}, length, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	full := 0
	for k := range uint64(100) {
		out, err := q.Add(nil, Key{point(int64(k) + 10), 1, k}, note{1, k})
		if len(out) != 0 {
			t.Fatalf("delivered %+v", out)
		}
		if isReason(err, reason.QueueFull) {
			full++
		}
	}
	if c := q.Counts(); full < 92 || c.Held > 8 || c.Refused[reason.QueueFull] != uint64(full) {
		t.Errorf("%d refused, %+v", full, c)
	}
	if node, frontier, ok := q.Slowest(); node != 2 || !ok || frontier.Time != virtualclock.MinTime() {
		t.Errorf("slowest is %d at %+v", node, frontier)
	}
	held := q.Counts().Held
	out, err := q.Add(nil, Key{point(1000), 2, 1}, note{2, 1})
	if err != nil || uint64(len(out)) != held {
		t.Errorf("%d of %d delivered, %v", len(out), held, err)
	}
	if _, err := q.Add(nil, Key{point(1000), 2, 1}, note{2, 1}); !isReason(err, reason.QueueDuplicate) {
		t.Error(err)
	}
	if _, err := q.Add(nil, Key{point(999), 2, 2}, note{2, 2}); !isReason(err, reason.PromiseBroken) {
		t.Error(err)
	}
	if out := q.Remove(nil, 1); len(out) != 1 {
		t.Errorf("the last message waits for one that is gone: %+v", out)
	}
	if q.Remove(nil, 2); len(q.members) != 0 {
		t.Errorf("%+v", q.members)
	}
	if _, _, ok := q.Slowest(); ok {
		t.Error("there is a slowest of nobody")
	}
}
