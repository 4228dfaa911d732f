package sim

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// Member is a host's part in a group: what it tells its peers, what it lies, and what is remembered of it for the judge.
type Member struct {
	Host  *Host
	Index int
	// Liar, if set, lies in the host's name. The host's own node is honest and knows nothing of it.
	Liar adversary.Liar
	// LiarName is what it is called.
	LiarName string
	// Bytes counts what the host sent to masters and peers, UDP payloads only; Answers the answers in it.
	Bytes, Answers uint64

	group   *Group
	stamper peerwire.Stamper
	told    bool // the stamper says something
	// asker, arrival and refused belong to the request that is being answered.
	asker   *Host
	arrival hw.Stamp
	refused bool
	// side is +1 for a member whose clock the adversary keeps ahead, −1 for one that it keeps behind.
	side float64

	// made counts the rounds in a row since the member came in, formed those in which it formed a group with others.
	made, formed int
	inBefore     bool // it came in by joining a group that was there
	rounds       uint64
	skipped      uint64
	wasIn        bool // it has been synchronised in this life
	epoch        virtualclock.Epoch
	steps        uint64
	waits        *Rejoin
	looks        uint32
}

// correct reports whether what the member tells is right: it runs and does not lie.
func (m *Member) correct() bool { return m.Liar == nil && !m.Host.down }

// Correct reports whether what the member tells is right: it runs and does not lie.
func (m *Member) Correct() bool { return m.correct() }

// Settled reports whether the bounds for the readings that were really used hold for the member's clock.
func (m *Member) Settled() bool { return m.settled() }

// Group is what it is a member of.
func (m *Member) Group() *Group { return m.group }

// Find is the member's key ring: the key of two members has the identifier pairKey of them, and whoever asks has it.
func (m *Member) Find(_ []byte, mac *ntp.MAC) ntp.Authenticator {
	if m.asker == nil || m.asker.member == nil || m.asker.member.group != m.group {
		return nil
	}
	if mac.KeyID != pairKey(m.Index, m.asker.member.Index) {
		return nil
	}
	return &roundtrip.Vouched{KeyID: mac.KeyID, Length: ntp.MACShort, Good: true}
}

// pairKey is the identifier of the key of two members.
func pairKey(a, b int) uint32 { return uint32(maxHosts*(min(a, b)+1) + max(a, b)) }

// asked notes whose request is about to be answered.
func (m *Member) asked(l *Link, arrival hw.Stamp) {
	m.asker, m.arrival, m.refused = l.Client, arrival, false
}

// finish ends the answer and reports whether it is not to be sent.
func (m *Member) finish(reply []byte) bool {
	m.asker = nil
	if reply != nil && !m.refused {
		m.Answers++
		m.Bytes += uint64(len(reply))
	}
	return m.refused
}

// extend writes what the member tells its peer.
func (m *Member) extend(_ ntp.Authenticator, request, answer []byte) bool {
	h := m.Host
	if !peerwire.IsRequest(request) || !m.told {
		return false
	}
	a := m.stamper.Answer(m.arrival, h.Reading(h.world.now))
	if m.Liar != nil && !m.Liar.Answer(sight{m.group}, m.Index, m.asker.member.Index, &a) {
		m.refused = true
		return false
	}
	a.Append(answer[:0])
	return true
}

// target is the member's target clock now.
func (m *Member) target() virtualclock.Time {
	h := m.Host
	return m.stamper.State.Current.At(m.stamper.Raw.At(h.Reading(h.world.now)))
}

// takeState takes what the node tells its peers from now on; it changes with every round.
func (m *Member) takeState(s *peerwire.Stamper) {
	old := m.stamper
	if !m.told || old.State.Era != s.State.Era {
		m.stamper, m.told = *s, true
		m.made, m.inBefore = 0, false
		return
	}
	if old.State.Version == s.State.Version {
		m.stamper = *s
		return
	}
	last := m.Host.Node.Snapshot(m.Host.Reading(m.Host.world.now)).Group.Last
	if last.Kind == agreement.Adjusted {
		m.group.judge.beforeRound(m)
	}
	m.stamper = *s
	switch last.Kind {
	case agreement.Adjusted:
		m.rounds++
		m.made++
		m.group.judge.afterRound(m, &last)
	case agreement.Skipped:
		m.skipped++
		m.made = 0
	case agreement.Joined:
		m.made, m.inBefore = 0, true
	case agreement.Formed:
		m.formed++
		m.made, m.inBefore = 0, false
	}
	if last.Reason == reason.TooManyLiars || last.Reason == reason.AdjustmentLimit {
		m.group.judge.detected(m, last.Reason)
	}
}

// settledRounds is after how many rounds in a row the figures of a group that has just formed are those of its present readings: what was
// left of the wider ones of its forming is halved in each. Who joins a group that is there needs one.
const settledRounds = 8

// settled reports whether the bounds for the readings that were really used hold for the member.
func (m *Member) settled() bool {
	if !m.correct() || !m.told || m.stamper.State.Status != agreement.Sync {
		return false
	}
	return m.made >= settledRounds || m.inBefore && m.made >= 1
}

// published is called when the host has published.
func (m *Member) published() {
	h, k := m.Host, &m.Host.Publication.Clock
	w := h.world
	m.group.look("after")
	m.looks++
	if c := h.Reading(w.now); c.Before(k.SlewEnd) {
		if at := h.oscillator.When(k.SlewEnd.Add(-h.jump), w.now-h.stopped, farWake); at != Never {
			w.queue.push(event{at: at + h.stopped, kind: eventLook, host: h.index, slot: -1, generation: m.looks})
		}
	}
	sync := k.Interval(h.Reading(w.now)).Status == virtualclock.Synchronised
	if sync && m.wasIn && k.Epoch != m.epoch {
		m.steps++
	}
	if sync {
		m.wasIn, m.epoch = true, k.Epoch
		if m.waits != nil {
			m.waits.After = Number((w.now - m.waits.at).Seconds())
			m.waits = nil
		}
	}
}

// slewEnded looks at the clocks where one of them changes its rate.
func (m *Member) slewEnded(generation uint32) {
	if generation == m.looks && !m.Host.down {
		m.group.look("slew end")
	}
}

// stopped forgets what belongs to this life of the host.
func (m *Member) stopped() {
	m.told, m.made, m.inBefore, m.wasIn = false, 0, false, false
	m.stamper = peerwire.Stamper{}
}

// restart starts the host again with a clock that is wrong by so many seconds.
func (m *Member) restart(wallError float64) error {
	if !m.Host.down {
		return nil
	}
	m.await()
	return m.Host.Start(m.group.nodes[m.Index], wallError)
}

// await begins to wait for the member to be synchronised again.
func (m *Member) await() {
	if m.Liar != nil {
		return
	}
	r := &Rejoin{Member: m.Host.Name, At: Number(m.Host.world.now.Seconds()), After: missing(), at: m.Host.world.now}
	m.group.rejoins, m.waits = append(m.group.rejoins, r), r
}

// peerConfig is what a member is told of another one.
func (g *Group) peerConfig(m, q *Member) node.PeerConfig {
	return node.PeerConfig{
		ID: peerID(q.Index), Name: q.Host.Name, Address: q.Host.Address(), Key: node.SourceKey{ID: pairKey(m.Index, q.Index), Length: ntp.MACShort},
		Poll: g.poll, Timeout: g.timeout, MinDelay: g.minDelay,
	}
}

// peerID is the source ID of a member at its peers. Masters have the numbers from 1 on.
func peerID(index int) int { return maxHosts + 1 + index }
