package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/demo"
)

// options is what the program was told.
type options struct {
	duration time.Duration
	forge    float64
	tellers  int
	delay    time.Duration
	seed     uint64
	json     bool
	out      io.Writer
}

func names() []string { return []string{"north", "south", "west"} }

// office is one branch as the bank sees it.
type office struct {
	name    string
	socket  string
	process *exec.Cmd
	input   io.Closer
	client  *rpc.Client
}

// bank is everything.
type bank struct {
	options *options
	network *demo.Network
	dir     string
	offices []*office
	log     *ledger
}

// play starts the clocks and the branches, moves money, and judges.
func (o *options) play(ctx context.Context) (*result, error) {
	dir, err := os.MkdirTemp("", "bank-")
	if err != nil {
		return nil, err
	}
	b := &bank{options: o, dir: dir, log: &ledger{}}
	r, err := b.play(ctx)
	return r, errors.Join(err, b.close())
}

func (b *bank) play(ctx context.Context) (*result, error) {
	var err error
	b.network, err = demo.StartNetwork(ctx, demo.NetworkOptions{Hosts: len(names()), Seed: b.options.seed, Delay: b.delays})
	if err != nil {
		return nil, err
	}
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	if !b.options.json {
		fmt.Fprintf(b.options.out, "three branches, each a process with a clock of its own; %d tellers move money for %v\n", b.options.tellers, b.options.duration)
	}
	working, cancel := context.WithTimeout(ctx, b.options.duration)
	defer cancel()
	var running sync.WaitGroup
	failed := make(chan error, b.options.tellers+2)
	for k := range b.options.tellers {
		running.Go(func() { failed <- b.teller(working, rand.New(rand.NewPCG(b.options.seed, uint64(k)))) })
	}
	running.Go(func() { failed <- b.auditor(working) })
	running.Go(func() {
		select {
		case <-working.Done():
		case err := <-b.network.Ended():
			failed <- err
			cancel()
		}
	})
	running.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return b.log.judge(b), err
}

// delays makes the first branch's clock late and the second one's early, by half of the delay: their requests, and answers, are
// slower than the other way.
func (b *bank) delays(i int) (there, back time.Duration) {
	switch i {
	case 0:
		return b.options.delay, 0
	case 1:
		return 0, b.options.delay
	}
	return 0, 0
}

// open starts the branches' processes.
func (b *bank) open(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var sockets []string
	for _, name := range names() {
		sockets = append(sockets, filepath.Join(b.dir, name))
	}
	for i, name := range names() {
		o := &office{name: name, socket: sockets[i]}
		o.process = exec.CommandContext(ctx, program, branchCommand, "--page", b.network.Page(i), "--listen", o.socket,
			"--branches", strings.Join(sockets, ","), "--forge-bound", fmt.Sprint(b.options.forge))
		o.process.Stderr = os.Stderr
		if o.input, err = o.process.StdinPipe(); err != nil {
			return err
		}
		output, err := o.process.StdoutPipe()
		if err != nil {
			return err
		}
		if err := o.process.Start(); err != nil {
			return err
		}
		b.offices = append(b.offices, o)
		if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "ready\n" {
			return fmt.Errorf("the branch %s did not start: %w", name, errors.Join(err, errors.New("see above")))
		}
		if o.client, err = rpc.Dial("unix", o.socket); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything.
func (b *bank) close() error {
	var errs []error
	for _, o := range b.offices {
		if o.client != nil {
			errs = append(errs, o.client.Close())
		}
		errs = append(errs, o.input.Close())
	}
	for _, o := range b.offices {
		if err := o.process.Wait(); err != nil && o.process.ProcessState.ExitCode() >= 0 {
			errs = append(errs, fmt.Errorf("the branch %s: %w", o.name, err))
		}
	}
	if b.network != nil {
		errs = append(errs, b.network.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// teller moves money until ctx ends. It is the outside world: a transfer that begins after another one was complete comes later.
func (b *bank) teller(ctx context.Context, r *rand.Rand) error {
	for ctx.Err() == nil {
		i := r.IntN(len(b.offices))
		t := Transfer{From: r.IntN(accounts), Branch: i, To: r.IntN(accounts), Amount: 1 + r.Int64N(20)}
		if r.IntN(3) == 0 {
			t.Branch = r.IntN(len(b.offices))
		}
		if t.Branch == i && t.To == t.From {
			continue
		}
		var done Done
		begin := b.network.True()
		err := b.offices[i].client.Call("Branch.Move", t, &done)
		end := b.network.True()
		var refused rpc.ServerError
		switch {
		case err == nil:
			b.log.add(transfer{
				Branch: b.offices[i].name, To: b.offices[t.Branch].name, begin: begin, end: end, at: done.At.Time(),
				waited: time.Duration(done.WaitedNS), width: time.Duration(done.WidthNS),
			})
		case errors.As(err, &refused):
			b.log.refuse(refused.Error())
			// Whoever was refused has not learnt that anything is complete.
			time.Sleep(time.Duration(r.Int64N(int64(2 * time.Millisecond))))
		default:
			return b.broken(ctx, i, err)
		}
	}
	return nil
}

// broken says that a branch cannot be reached; when the day is over that is no surprise.
func (b *bank) broken(ctx context.Context, i int, err error) error {
	if ctx.Err() == nil {
		return fmt.Errorf("the branch %s: %w", b.offices[i].name, err)
	}
	return nil
}

// auditor sums up all money as of one instant, again and again.
func (b *bank) auditor(ctx context.Context) error {
	for ctx.Err() == nil {
		at, sum := toWire(b.network.True()), int64(0)
		for i, o := range b.offices {
			var part int64
			if err := o.client.Call("Branch.Snapshot", at, &part); err != nil {
				return b.broken(ctx, i, err)
			}
			sum += part
		}
		b.log.audit(sum)
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// print shows the result to a person, or as JSON to a program.
func (r *result) print(o *options) error {
	if o.json {
		return json.NewEncoder(o.out).Encode(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d transfers; %d refused, mostly because an account was in other hands\n", r.Transfers, r.Refused)
	if r.Transfers > 0 {
		fmt.Fprintf(&b, "the clocks said that they may be wrong by ±%.2f ms, and the commit wait took %.2f ms on average\n",
			r.MeanHalfWidthS*1e3, r.MeanWaitS*1e3)
	}
	fmt.Fprintf(&b, "%d audits as of one instant over all branches found %d, as there should be: %v\n", r.Audits, r.Money, r.Conserved)
	fmt.Fprintf(&b, "in %d pairs of transfers one was complete before the other began; %d of them have timestamps the other way round\n", r.Pairs, r.Anomalies)
	if w := r.Worst; w != nil {
		fmt.Fprintf(&b, "the worst: a transfer at %s was complete, %.3f ms later one at %s began, and its timestamp is %.3f ms earlier:\n"+
			"who reads the books as of an instant between the two sees the second and not the first\n", w.First, w.ApartS*1e3, w.Second, w.BackS*1e3)
	}
	switch {
	case r.Anomalies > 0 && o.forge < 1:
		fmt.Fprintf(&b, "that is what comes of believing in a bound that is too small\n")
	case r.Anomalies == 0:
		fmt.Fprintf(&b, "external consistency: the timestamps are in the order of real time\n")
	}
	_, err := io.WriteString(o.out, b.String())
	return err
}

// money is how much there is in the bank.
func money() int64 { return int64(len(names())) * accounts * openingMoney }
