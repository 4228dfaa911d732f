package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// lookupFunc finds the addresses of a name, best first.
type lookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// systemLookup asks the system's resolver; it sorts by RFC 6724, so what cannot be reached from here comes last.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// How long to wait: for one answer, after the first failure, after many, and between two answers at the least.
const (
	lookupPatience = 10 * time.Second
	lookupFirst    = time.Second
	lookupLast     = time.Minute
	lookupAgain    = 30 * time.Second
)

// resolution is what a name resolved to, or why it did not.
type resolution struct {
	// name is the question that it answers.
	name      *question
	addresses []netip.Addr
	err       error
}

// question is a name that is being asked for as long as its source is configured.
type question struct {
	host   string
	again  chan struct{}
	cancel context.CancelFunc
}

// Again asks for the name once more; nothing happens if it is being asked anyway.
func (q *question) Again() {
	select {
	case q.again <- struct{}{}:
	default:
	}
}

// resolver asks for names, each in its own goroutine, and never gives up.
type resolver struct {
	lookup  lookupFunc
	results chan resolution
	running sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
}

func newResolver(ctx context.Context, lookup lookupFunc) *resolver {
	ctx, stop := context.WithCancel(ctx)
	return &resolver{lookup: lookup, results: make(chan resolution), ctx: ctx, stop: stop}
}

// Ask starts asking for a name until the question is cancelled.
func (r *resolver) Ask(host string) *question {
	ctx, cancel := context.WithCancel(r.ctx)
	q := &question{host: host, again: make(chan struct{}, 1), cancel: cancel}
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		r.pursue(ctx, q)
	}()
	return q
}

// Close stops asking and waits for the goroutines.
func (r *resolver) Close() {
	r.stop()
	r.running.Wait()
}

func (r *resolver) pursue(ctx context.Context, q *question) {
	wait := lookupFirst
	for {
		addresses, err := r.once(ctx, q.host)
		select {
		case r.results <- resolution{q, addresses, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			if !sleep(ctx, wait) {
				return
			}
			wait = min(2*wait, lookupLast)
			continue
		}
		wait = lookupFirst
		if !sleep(ctx, lookupAgain) {
			return
		}
		select {
		case <-q.again:
		case <-ctx.Done():
			return
		}
	}
}

func (r *resolver) once(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	addresses, err := r.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, 0, len(addresses))
	for _, a := range addresses {
		out = append(out, a.Unmap())
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return out, nil
}

// sleep waits; false means that the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
