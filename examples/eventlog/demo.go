package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/demo"
	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// play is a demonstration: hosts that log, each to a file of its own, and an observer.
type play struct {
	events int
	delay  time.Duration
	forge  float64
	seed   uint64

	mu sync.Mutex
	// began and ended are true time before and after each event was stamped.
	began, ended map[id]virtualclock.Time
}

type id struct {
	node     order.Node
	sequence uint64
}

const hosts = 3

// delays makes one clock late and one early; see examples/bank.
func (p *play) delays(i int) (there, back time.Duration) {
	switch i {
	case 0:
		return p.delay, 0
	case 1:
		return 0, p.delay
	}
	return 0, 0
}

func (p *play) run(ctx context.Context, out io.Writer) (err error) {
	p.began, p.ended = map[id]virtualclock.Time{}, map[id]virtualclock.Time{}
	dir, err := os.MkdirTemp("", "eventlog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	network, err := demo.StartNetwork(ctx, demo.NetworkOptions{Hosts: hosts, Seed: p.seed, Delay: p.delays})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	var running sync.WaitGroup
	failed := make(chan error, hosts)
	for i := range hosts {
		running.Go(func() { failed <- p.host(ctx, network, dir, i) })
	}
	running.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	if err != nil {
		return err
	}
	m := newMerger()
	for i := range hosts {
		if err := m.file(logPath(dir, i)); err != nil {
			return err
		}
	}
	merged := m.merge()
	if err := merged.text(out); err != nil {
		return err
	}
	return p.judge(merged, out)
}

func logPath(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("host%d.log", i+1)) }

// host writes its part of the events. It never talks to the others.
func (p *play) host(ctx context.Context, network *demo.Network, dir string, i int) error {
	reader, err := virtualclock.OpenPage(network.Page(i))
	if err != nil {
		return err
	}
	defer reader.Close()
	var clock virtualclock.Source = reader
	if p.forge != 1 {
		clock = clocktest.Forge(reader, p.forge)
	}
	file, err := os.Create(logPath(dir, i))
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(p.seed, uint64(i)))
	w := &writer{stamper: order.NewStamper(clock, 0, order.Node(i+1)), out: file}
	things := []string{"door opened", "door closed", "alarm", "light on", "light off", "badge read"}
	for range (p.events + hosts - 1 - i) / hosts {
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), file.Close())
		case <-time.After(time.Duration(r.ExpFloat64() * float64(8*time.Millisecond))):
		}
		began := network.True()
		e, err := w.write(things[r.IntN(len(things))])
		ended := network.True()
		if err != nil {
			return errors.Join(err, file.Close())
		}
		p.mu.Lock()
		p.began[id{e.Node, e.Sequence}], p.ended[id{e.Node, e.Sequence}] = began, ended
		p.mu.Unlock()
	}
	return file.Close()
}

// judge compares what the merged log says with true time.
func (p *play) judge(m *merged, out io.Writer) error {
	told, untold, wrong, byChance := 0, 0, 0, 0
	for i := range m.lines {
		x := m.lines[i].stamp()
		for j := i + 1; j < len(m.lines); j++ {
			y := m.lines[j].stamp()
			// The log has x before y.
			backwards := p.ended[id{y.Node, y.Sequence}].Before(p.began[id{x.Node, x.Sequence}])
			switch certain := x.Compare(&y) == order.Before || x.Node == y.Node; {
			case certain && backwards:
				wrong++
				told++
			case certain:
				told++
			case backwards:
				byChance++
				untold++
			default:
				untold++
			}
		}
	}
	fmt.Fprintf(out, "\n%d events on %d hosts. Of %d pairs the log tells the order of %d, and of %d of these wrongly.\n", len(m.lines), hosts,
		told+untold, told, wrong)
	fmt.Fprintf(out, "Of %d pairs it says that it cannot tell. %d of those stand here in the wrong order: a log with plain timestamps would not have said so.\n",
		untold, byChance)
	if wrong > 0 {
		return fmt.Errorf("%d pairs of events are told in the wrong order: %w", wrong, errWrong)
	}
	return nil
}
