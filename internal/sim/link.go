package sim

import "fmt"

// Link is what a client asks a server over: one source of the client's node.
type Link struct {
	Client, Server *Host
	// Source is the ID of the server in the client's configuration.
	Source int
	// To leads from the client to the server, From back. Two hosts that ask one another may share them.
	To, From *Path
	// Peer: the two are members of one group. The MACs of their packets are vouched for.
	Peer bool
	// Requests counts what the client sent, Answers what reached it.
	Requests, Answers uint64

	index      int32
	comparison comparison
	replay     []byte
	// digest is of the stamps of all answers.
	digest uint64
}

// manyLinks is from how many on they are found by a map.
const manyLinks = 8

// Connect makes server the source with that ID of client. The address and the reference identifier in the client's
// configuration are the caller's business (Host.Address, Host.ReferenceID).
func (w *World) Connect(client *Host, source int, server *Host, to, from *Path) (*Link, error) {
	if client.link(source) != nil {
		return nil, fmt.Errorf("sim: host %s has two sources with the ID %d", client.Name, source)
	}
	l := &Link{Client: client, Server: server, Source: source, To: to, From: from, index: int32(len(client.world.links))}
	w.links = append(w.links, l)
	client.links = append(client.links, l)
	if len(client.links) > manyLinks && client.bySource == nil {
		client.bySource = map[int]*Link{}
		for _, x := range client.links {
			client.bySource[x.Source] = x
		}
	}
	if client.bySource != nil {
		client.bySource[source] = l
	}
	return l, nil
}

// dispatch sends a message that leaves at instant t over a path; it takes the slot over.
func (w *World) dispatch(slot int32, p *Path, to *Host, t Instant) {
	arrivals, n := p.transit(t)
	if n > 0 && w.Travelled != nil {
		m := &w.messages[slot]
		w.Travelled(w.links[m.link], m.answer, (arrivals[0] - t).Seconds())
	}
	switch n {
	case 0:
		w.release(slot)
		return
	case 2:
		second := w.slot()
		m, copied := &w.messages[slot], &w.messages[second]
		own := copied.data[:0]
		own = append(own, m.data...)
		*copied = *m
		copied.data, copied.genuine = own, false
		w.queue.push(event{at: arrivals[1], kind: eventArrive, host: to.index, slot: second})
	}
	w.queue.push(event{at: arrivals[0], kind: eventArrive, host: to.index, slot: slot})
}

// hold is for how long a packet of the link is held up on purpose: by a lying member, or by a network that is unfair.
func (l *Link) hold(answer bool) Instant {
	if !l.Peer {
		return 0
	}
	return l.Client.member.group.hold(l, answer)
}
