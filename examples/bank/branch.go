package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// A branch is a process of its own. It knows its clock's page and where the other branches listen, and nothing else.
const (
	branchCommand = "branch"
	accounts      = 8
	openingMoney  = 1000
	// mostAhead is how far in the future another branch's timestamp may be: clocks worse than that do not belong in this bank.
	mostAhead = time.Second
	// spin is how long a branch looks at its clock rather than to rely on a timer, at the end of each wait.
	spin = 80 * time.Microsecond
)

// errBusy says that somebody else has the account in hand; try again.
var errBusy = errors.New("the account is busy")

// Timestamp is a virtualclock.Time on the wire.
type Timestamp struct {
	NS       int64  `json:"ns"`
	Fraction uint32 `json:"fraction"`
}

func toWire(t virtualclock.Time) Timestamp { return Timestamp{t.UnixNano(), t.Fraction()} }

// Time is the timestamp as the clock gave it.
func (t Timestamp) Time() virtualclock.Time { return virtualclock.Unix(t.NS, t.Fraction) }

// Transfer asks the branch of the first account to move money to another one, at this branch or elsewhere.
type Transfer struct {
	From, Branch, To int
	Amount           int64
}

// Done is what became of a Transfer.
type Done struct {
	At Timestamp
	// WaitedNS is how long the commit wait took, WidthNS how wide the clock's interval was.
	WaitedNS, WidthNS int64
}

// Proposal is a participant's part of a transfer: its account is locked, and the transfer must be later than After.
type Proposal struct{ After Timestamp }

// Entry is an account's part of a transfer that is committed, or given up if Amount is 0.
type Entry struct {
	Account int
	Amount  int64
	At      Timestamp
}

// Branch is the accounts, with all their history, and the clock.
type Branch struct {
	clock     virtualclock.Source
	committer *order.Committer
	others    []string

	mu    sync.Mutex
	books [accounts]book
	peers map[int]*rpc.Client
}

// book is one account.
type book struct {
	locked bool
	// versions are what the account held from when on, in the order of time.
	versions []version
}

type version struct {
	from  virtualclock.Time
	money int64
}

func newBranch(clock virtualclock.Source, others []string) *Branch {
	b := &Branch{clock: clock, committer: order.NewCommitter(clock, mostAhead, order.Spinner(spin)), others: others, peers: map[int]*rpc.Client{}}
	for k := range b.books {
		b.books[k].versions = []version{{virtualclock.MinTime(), openingMoney}}
	}
	return b
}

// lock takes an account in hand, and returns when it last changed and what is in it.
func (b *Branch) lock(account int) (version, error) {
	if account < 0 || account >= accounts {
		return version{}, fmt.Errorf("there is no account %d", account)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k := &b.books[account]
	if k.locked {
		return version{}, errBusy
	}
	k.locked = true
	return k.versions[len(k.versions)-1], nil
}

// settle writes an entry and lets go of its account.
func (b *Branch) settle(e *Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := &b.books[e.Account]
	if e.Amount != 0 {
		k.versions = append(k.versions, version{e.At.Time(), k.versions[len(k.versions)-1].money + e.Amount})
	}
	k.locked = false
}

// Prepare takes this branch's part of a transfer in hand. The transfer must be later than what this branch has shown to anybody: that is its latest
// possible time, and when the account last changed.
func (b *Branch) Prepare(account int, p *Proposal) error {
	last, err := b.lock(account)
	if err != nil {
		return err
	}
	c, err := b.committer.PickAfter(last.from)
	if err != nil {
		b.settle(&Entry{Account: account})
		return err
	}
	p.After = toWire(c.Time)
	return nil
}

// Settle ends this branch's part of a transfer.
func (b *Branch) Settle(e Entry, _ *struct{}) error {
	if e.Account < 0 || e.Account >= accounts {
		return fmt.Errorf("there is no account %d", e.Account)
	}
	b.settle(&e)
	return nil
}

// Move moves money: it takes both accounts in hand, takes a timestamp, waits until it has certainly passed, and only then shows anything.
func (b *Branch) Move(t Transfer, done *Done) (err error) {
	last, err := b.lock(t.From)
	if err != nil {
		return err
	}
	own := Entry{Account: t.From}
	defer func() { b.settle(&own) }()
	if last.money < t.Amount {
		return fmt.Errorf("account %d has %d only", t.From, last.money)
	}
	partner, after, err := b.prepareElsewhere(&t, last.from)
	if err != nil {
		return err
	}
	other := Entry{Account: t.To}
	defer func() { err = errors.Join(err, partner.Call("Branch.Settle", other, nil)) }()
	commit, err := b.committer.PickAfter(after)
	if err != nil {
		return err
	}
	started := time.Now()
	width := b.clock.Now().Width()
	if err = b.committer.Wait(context.Background(), commit); err != nil {
		return err
	}
	own.Amount, own.At = -t.Amount, toWire(commit.Time)
	other.Amount, other.At = t.Amount, own.At
	*done = Done{own.At, int64(time.Since(started)), int64(width * 1e9)}
	return nil
}

// caller is another branch, or this one.
type caller interface {
	Call(method string, args, reply any) error
}

// prepareElsewhere takes the other account in hand, and returns what the transfer must be later than.
func (b *Branch) prepareElsewhere(t *Transfer, after virtualclock.Time) (caller, virtualclock.Time, error) {
	partner, err := b.peer(t.Branch)
	if err != nil {
		return nil, after, err
	}
	var p Proposal
	if err := partner.Call("Branch.Prepare", t.To, &p); err != nil {
		return nil, after, err
	}
	if proposed := p.After.Time(); after.Before(proposed) {
		after = proposed
	}
	return partner, after, nil
}

// here lets a branch talk to itself.
type here struct{ b *Branch }

func (h here) Call(method string, args, reply any) error {
	switch x := args.(type) {
	case int:
		p, _ := reply.(*Proposal)
		return h.b.Prepare(x, p)
	case Entry:
		return h.b.Settle(x, nil)
	}
	return fmt.Errorf("no such method: %s", method)
}

func (b *Branch) peer(number int) (caller, error) {
	if number < 0 || number >= len(b.others) {
		return nil, fmt.Errorf("there is no branch %d", number)
	}
	if b.others[number] == "" {
		return here{b}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.peers[number]; c != nil {
		return c, nil
	}
	c, err := rpc.Dial("unix", b.others[number])
	if err != nil {
		return nil, err
	}
	b.peers[number] = c
	return c, nil
}

// Snapshot is the sum of this branch's accounts at a time. It waits until that time has certainly passed, so that no transfer can get
// an earlier timestamp any more, and for the transfers that have one already.
func (b *Branch) Snapshot(at Timestamp, sum *int64) error {
	if err := order.WaitUntilAfter(context.Background(), b.clock, at.Time(), order.Spinner(spin)); err != nil {
		return err
	}
	*sum = 0
	for account := range b.books {
		for {
			money, ok := b.read(account, at.Time())
			if ok {
				*sum += money
				break
			}
			time.Sleep(spin)
		}
	}
	return nil
}

// read is what an account held at a time; not ok while somebody has it in hand.
func (b *Branch) read(account int, at virtualclock.Time) (money int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := &b.books[account]
	for _, v := range k.versions {
		if !at.Before(v.from) {
			money = v.money
		}
	}
	return money, !k.locked
}

// runBranch is the process of one branch. It ends when its input does: when the bank is gone.
func runBranch(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet(branchCommand, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	page := flags.String("page", "", "the clock's page")
	listen := flags.String("listen", "", "the socket to listen at")
	others := flags.String("branches", "", "the sockets of all branches")
	forge := flags.Float64("forge-bound", 1, "what to make of the clock's error")
	if err := flags.Parse(args); err != nil {
		return err
	}
	reader, err := virtualclock.OpenPage(*page)
	if err != nil {
		return err
	}
	defer reader.Close()
	var clock virtualclock.Source = reader
	if *forge != 1 {
		clock = clocktest.Forge(reader, *forge)
	}
	sockets := strings.Split(*others, ",")
	for k := range sockets {
		if sockets[k] == *listen {
			sockets[k] = "" // this one
		}
	}
	return serve(ctx, newBranch(clock, sockets), *listen, in, out)
}

// serve answers until ctx or the input ends.
func serve(ctx context.Context, b *Branch, socket string, in io.Reader, out io.Writer) error {
	server := rpc.NewServer()
	if err := server.Register(b); err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(socket) }()
	go func() {
		defer listener.Close()
		ended := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, in)
			close(ended)
		}()
		select {
		case <-ctx.Done():
		case <-ended:
		}
	}()
	fmt.Fprintln(out, "ready")
	for {
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go server.ServeConn(c)
	}
}
