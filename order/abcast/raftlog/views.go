package raftlog

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/clockd/clockd/order/abcast/core"
)

func (e *Engine) silent(p *peer) bool { return e.now.Elapsed-p.heard > e.config.SuspectAfter }

func (e *Engine) leaving() bool { return e.now.Elapsed < e.leaveUntil }

// reconfigure takes a process out of the view for a while, if it is this one; another one's absence the leader sees by itself.
func (e *Engine) reconfigure(id core.ID) {
	if id == e.self.ID {
		e.leaveUntil = e.now.Elapsed + e.config.EvictAfter
		e.statDue = true
	}
}

// changeView lets the leader write down who is there.
func (e *Engine) changeView() {
	if e.node.BasicStatus().RaftState != raft.StateLeader || e.removed {
		return
	}
	if e.leaving() && e.handOver() {
		return
	}
	var members []core.Member
	for _, id := range e.universe {
		p := e.peer(id)
		switch {
		case id == e.self.ID:
			members = append(members, e.self)
		case p == nil || p.life == 0 || !p.known || e.silent(p) || p.stat.leaving || p.stat.applied == 0:
		case p.stat.applied+uint64(max(e.config.JoinLag, joinLag)) < e.applied && !e.view.Contains(core.Member{ID: id, Incarnation: p.life}):
		default:
			members = append(members, core.Member{ID: id, Incarnation: p.life})
		}
	}
	quorum := len(e.universe)/2 + 1
	if len(members) < quorum || slices.Equal(members, e.view.Members) && quorum == e.view.Quorum || e.now.Elapsed-e.viewAt < 4*e.config.Heartbeat {
		return
	}
	v := &core.View{ID: e.view.ID + 1, Members: members, Quorum: quorum}
	if e.node.Propose(encodeView([]byte{entryView}, v)) == nil {
		e.viewAt = e.now.Elapsed
	}
}

// handOver gives the lead to another member of the view that is up to date.
func (e *Engine) handOver() bool {
	var best *peer
	for _, m := range e.view.Members {
		if p := e.peer(m.ID); p != nil && p.known && !e.silent(p) && !p.stat.leaving && (best == nil || p.stat.applied > best.stat.applied) {
			best = p
		}
	}
	if best == nil {
		return false
	}
	if e.now.Elapsed-e.viewAt >= 4*e.config.Heartbeat {
		e.viewAt = e.now.Elapsed
		e.node.TransferLeader(uint64(best.id))
	}
	return true
}

func (e *Engine) applyView(b []byte) {
	r := reader{b: b}
	v := r.view()
	if !r.end() || v.ID != e.view.ID+1 {
		return // it was proposed twice
	}
	e.view = v
	e.viewAt = e.now.Elapsed - time.Hour
	e.counters.ViewChanges++
	if !v.Contains(e.self) {
		e.statDue = true
	}
	e.out.Upcalls = append(e.out.Upcalls, core.Upcall{Kind: core.UpcallView, View: v})
}

// joinLag is how many entries a process may be behind to be let into the view.
const joinLag = 4096
