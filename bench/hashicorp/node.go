package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/clockd/clockd/internal/lab/orderbench"
)

// node is a member.
type node struct {
	setup   orderbench.Setup
	raft    *raft.Raft
	bolt    *boltdb.BoltStore
	forward *forwarder
}

// fsm hands on what is committed.
type fsm struct{ deliver func([]byte) }

// Apply implements raft.FSM.
func (f fsm) Apply(l *raft.Log) any {
	f.deliver(l.Data)
	return nil
}

// ApplyBatch implements raft.BatchingFSM.
func (f fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			f.deliver(l.Data)
		}
	}
	return make([]any, len(logs))
}

// Snapshot implements raft.FSM: there is no state.
func (fsm) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }

// Restore implements raft.FSM.
func (fsm) Restore(r io.ReadCloser) error { return r.Close() }

type nothing struct{}

// Persist implements raft.FSMSnapshot.
func (nothing) Persist(s raft.SnapshotSink) error { return s.Close() }

// Release implements raft.FSMSnapshot.
func (nothing) Release() {}

func name(id int) raft.ServerID { return raft.ServerID(strconv.Itoa(id)) }

// open starts a member.
func open(s orderbench.Setup, deliver func([]byte)) (orderbench.Log, error) {
	n := &node{setup: s}
	c := raft.DefaultConfig()
	c.LocalID = name(s.ID)
	c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Error})
	// Everything else is as users have it, but for the patience on a machine that is busy: no follower should take the leader for dead.
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Duration(s.SuspectS*1e9), time.Duration(s.SuspectS*1e9), time.Duration(s.SuspectS*1e9)
	if s.ID == 1 {
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, time.Second // it leads soon
	}
	address, err := net.ResolveTCPAddr("tcp", s.Members[s.ID])
	if err != nil {
		return nil, err
	}
	transport, err := raft.NewTCPTransport(s.Members[s.ID], address, 3, 10*time.Second, io.Discard)
	if err != nil {
		return nil, err
	}
	var logs raft.LogStore
	var stable raft.StableStore
	switch s.Durability {
	case "memory":
		m := raft.NewInmemStore()
		logs, stable = m, m
	case "fsync", "os":
		if n.bolt, err = boltdb.New(boltdb.Options{Path: filepath.Join(s.Dir, "raft.db"), NoSync: s.Durability == "os"}); err != nil {
			return nil, err
		}
		stable = n.bolt
		if logs, err = raft.NewLogCache(512, n.bolt); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("durability %q", s.Durability)
	}
	if s.ID == 1 {
		var all raft.Configuration
		for id := 1; id <= len(s.Members); id++ {
			all.Servers = append(all.Servers, raft.Server{ID: name(id), Address: raft.ServerAddress(s.Members[id])})
		}
		if err := raft.BootstrapCluster(c, logs, stable, raft.NewInmemSnapshotStore(), transport, all); err != nil {
			return nil, err
		}
	}
	if n.raft, err = raft.NewRaft(c, fsm{deliver}, logs, stable, raft.NewInmemSnapshotStore(), transport); err != nil {
		return nil, err
	}
	n.forward, err = newForwarder(s.Side[s.ID], n.apply)
	return n, err
}

// Wait implements orderbench.Log.
func (n *node) Wait(ctx context.Context) (int, error) {
	for {
		address, id := n.raft.LeaderWithID()
		if leader, err := strconv.Atoi(string(id)); err == nil && address != "" && n.whole() {
			return leader, n.forward.connect(ctx, n.setup.Side[leader])
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// whole reports whether this member knows all of them.
func (n *node) whole() bool {
	f := n.raft.GetConfiguration()
	return f.Error() == nil && len(f.Configuration().Servers) == len(n.setup.Members)
}

// apply proposes at the leader.
func (n *node) apply(payload []byte) error { return n.raft.Apply(payload, 10*time.Second).Error() }

// Broadcast implements orderbench.Log.
func (n *node) Broadcast(ctx context.Context, payload []byte) error {
	if n.raft.State() == raft.Leader {
		return n.apply(payload)
	}
	return n.forward.send(ctx, payload)
}

// Close implements orderbench.Log.
func (n *node) Close() error {
	err := errors.Join(n.raft.Shutdown().Error(), n.forward.close())
	if n.bolt != nil {
		err = errors.Join(err, n.bolt.Close())
	}
	return err
}
