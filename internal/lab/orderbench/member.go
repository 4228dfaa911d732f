package orderbench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Log is a replicated log as a member drives it.
type Log interface {
	// Wait returns once the group is whole, with who orders (0: nobody in particular).
	Wait(context.Context) (leader int, err error)
	// Broadcast returns when the payload is in the log, as users of the log learn it.
	Broadcast(ctx context.Context, payload []byte) error
	Close() error
}

// Open opens a log whose deliveries are told to deliver, one after the other.
type Open func(s Setup, deliver func(payload []byte)) (Log, error)

// MinSize is the smallest payload: origin, number, stamp.
const MinSize = 24

// maxLine is the longest line that is read.
const maxLine = 64 << 20

// RunMember is a member's whole life: it reads what to do from in, until that ends, and answers on out.
func RunMember(ctx context.Context, in io.Reader, out io.Writer, engines map[string]Open) (err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	answers := json.NewEncoder(out)
	if !lines.Scan() {
		return errors.New("orderbench: a member is started by clockbench order, which says what to do")
	}
	m := &member{offset: monotonicOffset()}
	if err := json.Unmarshal(lines.Bytes(), &m.setup); err != nil {
		return fmt.Errorf("orderbench: the first line: %w", err)
	}
	open := engines[m.setup.Engine]
	if open == nil {
		return fmt.Errorf("orderbench: this program has no engine %q", m.setup.Engine)
	}
	if m.log, err = open(m.setup, m.deliver); err != nil {
		return errors.Join(err, answers.Encode(answer{Error: err.Error()}))
	}
	defer func() { err = errors.Join(err, m.log.Close()) }()
	if err := answers.Encode(answer{}); err != nil {
		return err
	}
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return fmt.Errorf("orderbench: %w", err)
		}
		if err := answers.Encode(m.obey(ctx, &o)); err != nil {
			return err
		}
	}
	return lines.Err()
}

// member is one process of the group.
type member struct {
	setup  Setup
	log    Log
	offset monotonic
	number atomic.Uint64

	mu      sync.Mutex
	current *order
	report  *report
}

// monotonic turns Go's monotonic time into that of all processes, without a system call.
type monotonic struct {
	at time.Time
	ns int64
}

func monotonicOffset() monotonic {
	at := time.Now()
	return monotonic{at, Monotonic()}
}

func (m *monotonic) now() int64 { return m.ns + int64(time.Since(m.at)) }

// Monotonic is CLOCK_MONOTONIC in nanoseconds; 0 if there is none.
func Monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

func (m *member) obey(ctx context.Context, o *order) answer {
	switch o.Do {
	case "wait":
		leader, err := m.log.Wait(ctx)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Leader: leader}
	case "run":
		if o.Size < MinSize || o.Senders < 0 || o.EndNS <= o.StartNS {
			return answer{Error: "orderbench: a run that cannot be"}
		}
		return answer{Report: m.run(ctx, o)}
	}
	return answer{Error: fmt.Sprintf("orderbench: %q is nothing that a member can do", o.Do)}
}

// run broadcasts and measures.
func (m *member) run(ctx context.Context, o *order) *report {
	r := &report{Paths: map[int]*Histogram{}, Samples: []sample{}}
	m.mu.Lock()
	m.current, m.report = o, r
	m.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(time.Duration(o.EndNS-m.offset.now())+time.Second))
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	for range o.Senders {
		all.Go(func() { m.send(ctx, o, r, &mu) })
	}
	m.pause(ctx, o.StartNS)
	cpu := processorTime()
	m.pause(ctx, o.EndNS)
	cpu = processorTime() - cpu
	all.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current, m.report = nil, nil
	r.CPUSeconds = cpu
	return r
}

func (m *member) pause(ctx context.Context, until int64) {
	t := time.NewTimer(time.Duration(until - m.offset.now()))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// send is one sender.
func (m *member) send(ctx context.Context, o *order, r *report, mu *sync.Mutex) {
	var latencies Histogram
	var sent, failed uint64
	var failure string
	for {
		begun := m.offset.now()
		if begun >= o.EndNS || ctx.Err() != nil {
			break
		}
		payload := make([]byte, o.Size) // the log keeps it
		binary.LittleEndian.PutUint32(payload, uint32(m.setup.ID))
		binary.LittleEndian.PutUint64(payload[4:], m.number.Add(1))
		binary.LittleEndian.PutUint64(payload[12:], uint64(begun))
		err := m.log.Broadcast(ctx, payload)
		end := m.offset.now()
		switch {
		case err != nil && end < o.EndNS:
			failed++
			failure = err.Error()
			m.pause(ctx, end+int64(10*time.Millisecond))
		case err == nil && end >= o.StartNS && end < o.EndNS:
			sent++
			latencies.Add(time.Duration(end - begun))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	r.Origin.Merge(&latencies)
	r.Sent += sent
	r.Failed += failed
	if failure != "" {
		r.Failure = failure
	}
}

// deliver measures one delivery.
func (m *member) deliver(payload []byte) {
	if len(payload) < MinSize {
		return
	}
	at := m.offset.now()
	origin, number := int(binary.LittleEndian.Uint32(payload)), binary.LittleEndian.Uint64(payload[4:])
	sent := int64(binary.LittleEndian.Uint64(payload[12:]))
	m.mu.Lock()
	defer m.mu.Unlock()
	o, r := m.current, m.report
	if o == nil || at < o.StartNS || at >= o.EndNS {
		return
	}
	r.Delivered++
	h := r.Paths[origin]
	if h == nil {
		h = &Histogram{}
		r.Paths[origin] = h
	}
	h.Add(time.Duration(at - sent))
	if o.Every > 0 && number%o.Every == 0 && len(r.Samples) < maxSamples {
		r.Samples = append(r.Samples, sample{origin, number, sent, at})
	}
}

// processorTime is what this process has used, in seconds.
func processorTime() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)*1e-6
}
