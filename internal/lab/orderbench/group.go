package orderbench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/clockd/clockd/order/abcast"
	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/transport"
	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/virtualclock"
)

// groupNumber is the number of every group that is measured: nobody else reaches it.
const groupNumber = 0xbe7c

// Engines are the logs of package abcast.
func Engines() map[string]Open {
	return map[string]Open{TSAB: opener(abcast.TSAB), RaftLog: opener(abcast.RaftLog), Sequencer: opener(abcast.Sequencer)}
}

// opener opens an engine of package abcast.
func opener(engine func(core.Config, core.Restart) (abcast.Engine, error)) Open {
	return func(s Setup, deliver func([]byte)) (Log, error) {
		c, err := groupConfig(&s)
		if err != nil {
			return nil, err
		}
		c.Engine = engine
		g := &group{members: len(s.Members), deliver: deliver, over: make(chan struct{})}
		if g.Group, err = abcast.Open(c); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		g.cancel = cancel
		go g.consume(ctx)
		return g, nil
	}
}

func groupConfig(s *Setup) (abcast.Config, error) {
	c := abcast.Config{Group: groupNumber, ID: abcast.ID(s.ID), Members: map[abcast.ID]string{}, Dir: s.Dir}
	for id := 1; id <= len(s.Members); id++ {
		c.Bootstrap = append(c.Bootstrap, abcast.ID(id))
		c.Members[abcast.ID(id)] = s.Members[id]
	}
	var err error
	if c.Durability, err = wal.ParseMode(s.Durability); err != nil {
		return c, err
	}
	duration := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	c.Tuning = core.Config{Seed: uint64(s.ID), SnapshotEvery: -1, Delta: duration(s.DeltaS), Heartbeat: duration(s.HeartbeatS), SuspectAfter: duration(s.SuspectS)}
	if s.ClockOffsetS != 0 {
		c.Clock = ahead(duration(s.ClockOffsetS))
	}
	if c.Plain = s.Certificate == ""; !c.Plain {
		own, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key))
		if err != nil {
			return c, fmt.Errorf("orderbench: %w", err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(s.Authority))
		c.Security = &transport.Security{Certificate: own, Roots: roots}
	}
	return c, nil
}

// ahead is a clock that is ahead of the system's by a constant.
type ahead time.Duration

func (a ahead) Now() virtualclock.Interval { return a.Read().Interval }

// Read makes it a clock that shows one number.
func (a ahead) Read() virtualclock.Reading {
	t := virtualclock.FromTime(time.Now().Add(time.Duration(a)))
	return virtualclock.Reading{Time: t, Interval: virtualclock.Interval{Earliest: t, Latest: t, Standing: virtualclock.Standing{Status: virtualclock.Synchronised}}}
}

// group is a Log of package abcast.
type group struct {
	*abcast.Group
	members int
	deliver func([]byte)
	cancel  context.CancelFunc
	over    chan struct{}
}

func (g *group) consume(ctx context.Context) {
	defer close(g.over)
	for d := range g.Deliveries(ctx) {
		if d.Kind == abcast.Message {
			g.deliver(d.Payload)
		}
	}
}

// Wait waits until all are in the view.
func (g *group) Wait(ctx context.Context) (int, error) {
	for {
		s := g.Status()
		if s.InView && len(s.View.Members) == g.members && s.Leader != 0 {
			return int(s.Leader), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-g.Done():
			return 0, g.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (g *group) Broadcast(ctx context.Context, payload []byte) error {
	_, err := g.Group.Broadcast(ctx, payload)
	return err
}

func (g *group) Close() error {
	failed := g.Err()
	err := g.Group.Close()
	g.cancel()
	<-g.over
	return errors.Join(failed, err)
}
