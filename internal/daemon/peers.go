package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/peerwire"
)

// firstPeerID is above every source's, so that the two never share one.
const firstPeerID = 1 << 20

// peers are the other members of the host's group. They have slots as sources have.
type peers struct {
	roster roster
	// stamper is what their requests are answered from.
	stamper peerwire.Stamper
}

// loadPeers derives the keys of a configuration's peers. They ask under another key than they are asked under.
func (s *secrets) loadPeers(c *config.Config, identity *keys.Identity) error {
	for i := range c.Peer {
		public := keys.PublicKey(c.Peer[i].PublicKey)
		ask, err := identity.ClientKey(public)
		if err != nil {
			return fmt.Errorf("peer[%d]: %w", i, err)
		}
		answer, err := identity.ServerKey(public)
		if err != nil {
			return fmt.Errorf("peer[%d]: %w", i, err)
		}
		s.peers, s.asking, s.clients = append(s.peers, ask), append(s.asking, answer), append(s.clients, answer)
		s.identities = append(s.identities, public)
	}
	if len(c.Peer) > 0 {
		s.groupName = groupName(append([]keys.PublicKey{identity.Public()}, s.identities...))
	}
	return nil
}

// groupName is short and the same for every order of the members: for people and metrics, not for security.
func groupName(members []keys.PublicKey) string {
	slices.SortFunc(members, func(a, b keys.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for i := range members {
		h.Write(members[i][:])
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// configurePeers takes the peers of the configuration; see roster.configure.
func (d *daemon) configurePeers() (goneSlots []*slot, goneEntries, ask []*entry) {
	r := &d.peers.roster
	r.nextID = max(r.nextID, firstPeerID)
	c := &config.Config{}
	for i := range d.config.Peer {
		p := &d.config.Peer[i]
		c.Source = append(c.Source, config.Source{Address: p.Address, MinDelay: p.MinDelay})
	}
	goneSlots, goneEntries, ask = r.configure(c)
	for i, e := range r.entries {
		for _, s := range e.slots {
			s.name = d.config.Peer[i].Name
			if next := d.secrets.peers[i]; !s.key.Equal(next) {
				r.keyVersion++
				s.key, s.keyVersion = next, r.keyVersion
			}
		}
	}
	return goneSlots, goneEntries, ask
}

// fillGroup is fillNodeConfig for the group.
func (d *daemon) fillGroup(n *node.Config) {
	n.Peers, n.Agreement = nil, nil
	a := d.config.Agreement
	if a == nil || len(d.config.Peer) == 0 {
		return
	}
	group := a.Group(len(d.config.Peer))
	if group.Drift == 0 {
		// As the node does it: the nominal frequency's own error counts.
		e := n.Counter.ErrorPPB * 1e-9
		group.Drift = n.DriftBound + e + n.DriftBound*e
		if a.RateLimit == 0 {
			group.RateLimit = group.Drift
		}
	}
	n.Agreement = &group
	d.peers.roster.all(func(e *entry, s *slot) {
		x := node.PeerConfig{ID: s.id, Name: s.name, Key: s.nodeKey(), Poll: a.PollInterval().Seconds(), Timeout: a.AnswerTimeout().Seconds(),
			MinDelay: e.config.MinDelay.Seconds()}
		if s.address.IsValid() {
			x.Address = s.address.String()
		}
		n.Peers = append(n.Peers, x)
	})
}

// slot returns the source's or the peer's slot with that ID, or nil.
func (d *daemon) slot(id int) *slot {
	if id > firstPeerID {
		return d.peers.roster.find(id)
	}
	return d.roster.find(id)
}

// allEntries are those of sources and of peers.
func (d *daemon) allEntries() []*entry {
	return slices.Concat(d.roster.entries, d.peers.roster.entries)
}

// AnswerPeers takes what peers are answered from.
func (s *server) AnswerPeers(x peerwire.Stamper) {
	s.mu.Lock()
	s.stamper = x
	s.mu.Unlock()
}

// extend returns the responder's hook, which answers requests under one of the peers' keys.
func (s *server) extend(locks *secrets) func(ntp.Authenticator, []byte, []byte) bool {
	if len(locks.asking) == 0 {
		return nil
	}
	known := map[ntp.Authenticator]keys.PublicKey{}
	for i, k := range locks.asking {
		known[k] = locks.identities[i]
	}
	return func(key ntp.Authenticator, request, answer []byte) bool {
		peer, ok := known[key]
		if !ok || !peerwire.IsRequest(request) {
			return false
		}
		s.mu.Lock()
		x := s.stamper
		s.mu.Unlock()
		if x.State.Era == 0 {
			return false
		}
		a := x.Answer(s.arrival, s.counter.Read())
		if s.lie != nil && !s.lie(peer, &a) {
			s.silent = true
			return false
		}
		a.Append(answer[:0])
		return true
	}
}
