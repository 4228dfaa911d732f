package order_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// twoHosts are clocks that are within 1 ms of true time. In a program the clock is virtualclock.OpenPage("/run/clockd/page").
func twoHosts() (world *clocktest.World, here, there *clocktest.Host) {
	world = clocktest.NewManual(clocktest.Options{})
	here = world.Host(clocktest.HostOptions{Name: "here", ReadingError: time.Millisecond})
	there = world.Host(clocktest.HostOptions{Name: "there", ReadingError: time.Millisecond})
	return world, here, there
}

func ExampleCompare() {
	world, here, there := twoHosts()
	x := here.Now()
	world.Advance(100 * time.Microsecond)
	y := there.Now()
	world.Advance(10 * time.Millisecond)
	z := here.Now()
	fmt.Println("x", order.Compare(x, z), "z")
	fmt.Println("x and y:", order.Compare(x, y), "because", order.Why(x, y).Explain())
	// Output:
	// x before z
	// x and y: cannot tell because the intervals of the two events overlap: the clocks cannot tell which came first
}

// Two hosts stamp events; whoever has the stamps sorts them, and knows which neighbours might as well be the other way round.
func ExampleStamper() {
	world, here, there := twoHosts()
	a, b := order.NewStamper(here, 0, 1), order.NewStamper(there, 0, 2)
	x, err := a.Stamp()
	if err != nil {
		fmt.Println(err) // the clock does not know the time: do not guess
	}
	world.Advance(5 * time.Millisecond)
	y, err := b.Stamp()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(x.Compare(&y), x.Key().Compare(y.Key()))
	// Output:
	// before -1
}

func ExampleCommitter() {
	world, here, there := twoHosts()
	// In a program the last argument is nil, or order.Spinner(80*time.Microsecond).
	a, b := order.NewCommitter(here, time.Second, world), order.NewCommitter(there, time.Second, world)
	first, err := a.Pick()
	if err != nil {
		fmt.Println(err)
	}
	if err := a.Wait(context.Background(), first); err != nil {
		fmt.Println(err) // lost or stepped: take a new timestamp
	}
	// The first is visible now, so whatever begins from here on, anywhere, is later.
	second, err := b.Pick()
	fmt.Println(first.Time.Before(second.Time), err, "it took less than 4 ms:", world.Passed() < 4*time.Millisecond)
	// Output:
	// true <nil> it took less than 4 ms: true
}

func ExampleWaitUntilAfter() {
	world, here, _ := twoHosts()
	deadline := here.Now().Latest.Add(time.Second)
	err := order.WaitUntilAfter(context.Background(), here, deadline, world)
	fmt.Println(err, world.True().After(deadline))
	// Output:
	// <nil> true
}

func ExampleAt() {
	world, here, there := twoHosts()
	noon := virtualclock.FromTime(time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC))
	for _, host := range []*clocktest.Host{here, there} {
		// Both would wait at the same time, in programs of their own.
		r, err := order.At(context.Background(), host, noon, world)
		fmt.Println(err, "within 1.3 ms of noon:", r.Bound() < 1.3e-3)
	}
	// Output:
	// <nil> within 1.3 ms of noon: true
	// <nil> within 1.3 ms of noon: true
}

func ExampleBetween() {
	world, here, there := twoHosts()
	sent := here.Now()
	world.Advance(7 * time.Millisecond)
	received := there.Now()
	d, err := order.Between(sent, received)
	fmt.Println(d.Shortest <= 7e-3 && 7e-3 <= d.Longest, d.Error() < 2.1e-3, err)
	// Output:
	// true true <nil>
}

func ExampleLattice() {
	world, here, there := twoHosts()
	lattice, err := order.NewLattice(10 * time.Millisecond)
	if err != nil {
		fmt.Println(err)
	}
	x, _ := lattice.Stamp(here)
	y, _ := lattice.Stamp(there)
	fmt.Println("one instant, at most one tick apart:", x-y <= 1 && y-x <= 1)
	world.Advance(30 * time.Millisecond)
	z, _ := lattice.Stamp(there)
	fmt.Println("x", lattice.Compare(x, z), "z")
	fine, _ := order.NewLattice(time.Millisecond)
	_, err = fine.Stamp(here)
	fmt.Println(err != nil) // a lattice that this clock is not good enough for
	// Output:
	// one instant, at most one tick apart: true
	// x before z
	// true
}

func ExampleSparse() {
	world, here, there := twoHosts()
	lattice, _ := order.NewLattice(10 * time.Millisecond)
	sparse, err := order.NewSparse(lattice, 1, 3)
	if err != nil {
		fmt.Println(err)
	}
	slot, err := sparse.Wait(context.Background(), here, world)
	if err != nil {
		fmt.Println(err)
	}
	// An event is made here, and observed at the same instant there.
	tick, _ := lattice.Stamp(there)
	fmt.Println(sparse.Slot(tick) == slot)
	// Output:
	// true
}

func ExampleLamport() {
	var a, b order.Lamport
	sent, _ := a.Tick()
	received, _ := b.Witness(sent)
	fmt.Println(sent, received)
	// Output:
	// 1 2
}

func ExampleVector() {
	a, _ := order.NewVectorClock(0, 3)
	b, _ := order.NewVectorClock(1, 3)
	sent, _ := a.Tick(nil)
	alone, _ := b.Tick(nil)
	received, _ := b.Receive(nil, sent)
	fmt.Println(sent, alone, sent.Compare(alone))
	fmt.Println(sent, received, sent.Compare(received))
	wire := received.AppendBinary(nil)
	back, _, err := order.DecodeVector(nil, wire, 16)
	fmt.Println(len(wire), "bytes:", back, err)
	// Output:
	// [1 0 0] [0 1 0] concurrent
	// [1 0 0] [1 2 0] before
	// 5 bytes: [1 2 0] <nil>
}

func ExampleHLC() {
	world, here, there := twoHosts()
	a, b := order.NewHLC(here), order.NewHLC(there)
	sent, _ := a.Now()
	received, err := b.Receive(sent)
	fmt.Println(sent.Compare(received), err)
	// A timestamp that no clock within its bound can have given proves that some clock lies.
	_, err = b.Receive(order.Hybrid{Time: world.True().Add(time.Second)})
	fmt.Println(err != nil)
	// Output:
	// -1 <nil>
	// true
}

func ExampleFIFO() {
	queue, err := order.NewFIFO[string](order.Limits{Senders: 16, Window: 64}, nil)
	if err != nil {
		fmt.Println(err)
	}
	var out []order.Delivery[string]
	for _, m := range []struct {
		sequence uint64
		text     string
	}{{2, "world"}, {1, "hello"}, {1, "hello"}} {
		if out, err = queue.Add(out[:0], 7, m.sequence, m.text); err != nil {
			fmt.Println(err)
		}
		for _, d := range out {
			fmt.Println(d.Sequence, d.Message)
		}
	}
	// Output:
	// 1 hello
	// 2 world
	// order: message 1 of 7: queue past: the message was delivered already, or was given up
}

func ExampleCausal() {
	queue, err := order.NewCausal[string](order.Limits{Senders: 2, Window: 64}, nil)
	if err != nil {
		fmt.Println(err)
	}
	// The answer of member 1 arrives before the question of member 0.
	out, _ := queue.Add(nil, 1, order.Vector{1, 1}, "the answer")
	fmt.Println(len(out))
	out, _ = queue.Add(nil, 0, order.Vector{1, 0}, "the question")
	fmt.Println(out[0].Message, "and", out[1].Message)
	// Output:
	// 0
	// the question and the answer
}

func ExampleTotal() {
	queue, err := order.NewTotal[string](order.Limits{Senders: 2, Window: 64}, nil, 1, 2)
	if err != nil {
		fmt.Println(err)
	}
	at := func(ns int64) virtualclock.Time { return virtualclock.Unix(ns, 0) }
	out, _ := queue.Add(nil, order.Key{Time: at(20), Node: 1, Sequence: 1}, "second")
	out, _ = queue.Add(out, order.Key{Time: at(10), Node: 2, Sequence: 1}, "first")
	out = queue.Promise(out, 2, at(30)) // nothing more of 2 up to 30
	for _, d := range out {
		fmt.Println(d.Message)
	}
	// Output:
	// first
	// second
}

// Stamps of a clock that was stepped in between: what came before may have been wrong.
func ExampleEpochs() {
	world := clocktest.NewManual(clocktest.Options{})
	host := world.Host(clocktest.HostOptions{Script: []clocktest.Event{clocktest.Disrupt(time.Second, time.Second, reason.HostSuspended)}})
	stamper := order.NewStamper(host, 0, 1)
	x, _ := stamper.Stamp()
	world.Advance(5 * time.Second)
	_, err := stamper.Stamp()
	fmt.Println(err)
	stamper.Resume()
	y, _ := stamper.Stamp()

	epochs := order.NewEpochs(100)
	for _, s := range []order.Stamp{y, x} {
		fmt.Println(epochs.Note(&s))
	}
	// Output:
	// order: cannot stamp an event: epoch 1 became 2: the clock was stepped, take a new timestamp: epoch changed: the clock was stepped: what was read of it before may have been wrong
	// ok: nothing is wrong
	// epoch changed: the clock was stepped: what was read of it before may have been wrong
}

func ExampleHolder() {
	world := clocktest.NewManual(clocktest.Options{})
	server := world.Host(clocktest.HostOptions{Name: "lock server"})
	client := world.Host(clocktest.HostOptions{Name: "client", Script: []clocktest.Event{
		clocktest.Disrupt(20*time.Second, time.Second, reason.HostSuspended),
	}})
	grantor, err := order.NewGrantor(server, order.GrantorOptions{Longest: time.Minute, Fresh: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	lease, err := grantor.Grant("orders/7", 1, 10*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	holder := order.NewHolder(client, 0)
	if err := holder.Take(lease); err != nil {
		fmt.Println(err)
	}
	world.Advance(9 * time.Second)
	fmt.Println("after 9 s:", holder.Check())
	world.Advance(999900 * time.Microsecond)
	fmt.Println("after 9.9999 s:", holder.Check() != nil)
	_, err = grantor.Grant("orders/7", 2, 10*time.Second)
	fmt.Println("nobody else yet:", err != nil)
	world.Advance(time.Millisecond)
	_, err = grantor.Grant("orders/7", 2, 10*time.Second)
	fmt.Println("after 10.0009 s:", err)
	// Output:
	// after 9 s: <nil>
	// after 9.9999 s: true
	// nobody else yet: true
	// after 10.0009 s: <nil>
}

// commitOnce is how docs/ordering.md begins.
func commitOnce(ctx context.Context) error {
	clock, err := virtualclock.OpenPage("/run/clockd/page")
	if err != nil {
		return err // no daemon, or no page: the error says what to do
	}
	defer clock.Close()
	committer := order.NewCommitter(clock, time.Second, nil)
	commit, err := committer.Pick()
	if err != nil {
		return err // the clock does not know the time: do not guess
	}
	// Write, replicate: the wait runs meanwhile.
	if err := committer.Wait(ctx, commit); err != nil {
		return err // the clock was lost or stepped: take a new timestamp
	}
	// Now it may be seen.
	return nil
}

// resumeAfterStep is what docs/ordering.md says of steps.
func resumeAfterStep(stamper *order.Stamper) {
	_, err := stamper.Stamp()
	if errors.Is(err, virtualclock.ErrEpoch) {
		stamper.Resume() // after dealing with what was stamped before: it may have been wrong
	}
}
