package daemon

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
)

// slot is one source of the node: an address, or the place for one that a name has not resolved to yet. A slot without an
// address is a source all the same: it counts among the n of which f may be false, so that the clock is not set by whoever
// happens to resolve first.
type slot struct {
	id      int
	name    string
	address netip.AddrPort
	// unanswered counts the requests since the last packet.
	unanswered int
	// why and detail say what the resolver or the network last complained of.
	why    reason.Code
	detail string
	link   *link
	// key authenticates the exchanges; nil: nobody does. keyVersion counts its changes.
	key        *keys.Key
	keyVersion uint64
	// nts is the source's side of NTS, nil if it does not speak it; timeCheck how its certificates' dates are checked.
	nts       *association
	timeCheck config.TimeCheck
}

// entry is one [[source]] of the configuration.
type entry struct {
	config config.Source
	// question is nil for an address.
	question *question
	resolved bool
	slots    []*slot
}

// roster is all sources: what the configuration says, and what its names resolved to.
type roster struct {
	entries    []*entry
	maxFalse   int
	nextID     int
	keyVersion uint64
}

// configure takes the sources of a configuration. Entries that stay the same keep their slots. It returns the slots and entries
// that are gone, and those that are new and have a name to ask for.
func (r *roster) configure(c *config.Config) (goneSlots []*slot, goneEntries, ask []*entry) {
	old := r.entries
	r.entries, r.maxFalse = nil, int(c.Selection.MaxFalse)
	for _, s := range c.Source {
		i := slices.IndexFunc(old, func(e *entry) bool {
			return e.config.Address == s.Address && e.config.Pool == s.Pool && e.config.PoolSize == s.PoolSize && sameNTS(&e.config, &s)
		})
		if i >= 0 {
			e := old[i]
			old = slices.Delete(slices.Clone(old), i, i+1)
			e.config = s
			r.entries = append(r.entries, e)
			continue
		}
		e := &entry{config: s}
		r.entries = append(r.entries, e)
		size := 1
		if s.Pool {
			size = s.PoolSize
		}
		for range size {
			e.slots = append(e.slots, r.newSlot(e))
		}
		if s.NTS {
			continue // the key exchange finds the address
		}
		if ip, err := netip.ParseAddr(s.Address.Host); err == nil {
			e.slots[0].address, e.slots[0].why = netip.AddrPortFrom(ip.Unmap(), s.Address.Port), reason.OK
			e.resolved = true
			continue
		}
		ask = append(ask, e)
	}
	r.pad()
	for _, e := range old {
		goneSlots = append(goneSlots, e.slots...)
	}
	return goneSlots, old, ask
}

// sameNTS reports whether two sources speak NTS with the same partner under the same conditions.
func sameNTS(a, b *config.Source) bool {
	return a.NTS == b.NTS && a.NTSPort == b.NTSPort && a.NTSCA == b.NTSCA && a.NTSTimeCheck == b.NTSTimeCheck
}

// pad gives the pools as many slots as f false sources need to be outvoted: a pool that was trimmed under a smaller f.
func (r *roster) pad() {
	for _, e := range r.entries {
		for e.config.Pool && r.maxFalse > 0 && r.count() < 2*r.maxFalse+1 {
			e.slots = append(e.slots, r.newSlot(e))
		}
	}
}

func (r *roster) newSlot(e *entry) *slot {
	r.nextID++
	s := &slot{id: r.nextID, name: e.config.Address.String(), why: reason.SourceResolve, detail: "not resolved yet"}
	if e.config.NTS {
		s.nts = &association{}
		s.why, s.detail = reason.KeyExchangeWaiting, ""
	}
	if e.config.Pool {
		s.name = fmt.Sprintf("%s#%d", s.name, len(e.slots)+1)
	}
	return s
}

// find returns the slot with that ID, or nil.
func (r *roster) find(id int) *slot {
	for _, e := range r.entries {
		for _, s := range e.slots {
			if s.id == id {
				return s
			}
		}
	}
	return nil
}

// all calls f for every slot.
func (r *roster) all(f func(e *entry, s *slot)) {
	for _, e := range r.entries {
		for _, s := range e.slots {
			f(e, s)
		}
	}
}

func (r *roster) count() (n int) {
	r.all(func(*entry, *slot) { n++ })
	return n
}

// inUse reports whether a slot other than s has that address: one server must not vote twice.
func (r *roster) inUse(a netip.AddrPort, s *slot) *slot {
	var found *slot
	r.all(func(_ *entry, x *slot) {
		if x != s && x.address == a {
			found = x
		}
	})
	return found
}

// staleAfter is how many unanswered requests make an address that a name gave worth replacing.
const staleAfter = 8

// resolved takes an answer of the resolver. It returns the slots whose address has changed and those that are gone.
func (r *roster) resolved(res resolution) (changed, gone []*slot) {
	i := slices.IndexFunc(r.entries, func(e *entry) bool { return e.question == res.name })
	if i < 0 {
		return nil, nil
	}
	e := r.entries[i]
	if res.err != nil {
		for _, s := range e.slots {
			if !s.address.IsValid() {
				s.why, s.detail = reason.SourceResolve, res.err.Error()
			}
		}
		return nil, nil
	}
	e.resolved = true
	var twin *slot
	for _, s := range e.slots {
		if s.address.IsValid() && s.unanswered < staleAfter {
			continue
		}
		// One that has not answered is tried last.
		candidates := slices.Clone(res.addresses)
		if j := slices.Index(candidates, s.address.Addr()); j >= 0 {
			candidates = append(candidates[j+1:], candidates[:j+1]...)
		}
		for _, a := range candidates {
			next := netip.AddrPortFrom(a, e.config.Address.Port)
			if other := r.inUse(next, s); other != nil {
				twin = other
				continue
			}
			if next != s.address {
				s.address, s.unanswered, s.why, s.detail = next, 0, reason.OK, ""
				changed = append(changed, s)
			}
			break
		}
		if !s.address.IsValid() && twin != nil {
			s.why, s.detail = reason.SourceResolve, "its address is that of "+twin.name+" already, and one server must not vote twice"
		}
	}
	return changed, r.trim(e)
}

// trim drops the slots of a pool that its name has no address for, but not so many that f false sources could not be outvoted.
func (r *roster) trim(e *entry) (gone []*slot) {
	if !e.config.Pool {
		return nil
	}
	least := 1
	if r.maxFalse > 0 {
		least = max(1, 2*r.maxFalse+1-(r.count()-len(e.slots)))
	}
	for i := len(e.slots) - 1; i >= 0 && len(e.slots) > least; i-- {
		if s := e.slots[i]; !s.address.IsValid() {
			gone = append(gone, s)
			e.slots = slices.Delete(e.slots, i, i+1)
		}
	}
	return gone
}

// nodeSources is the roster as the node wants it.
func (r *roster) nodeSources() []node.SourceConfig {
	var out []node.SourceConfig
	r.all(func(e *entry, s *slot) {
		c := &e.config
		x := node.SourceConfig{
			ID: s.id, Name: s.name, Poll: c.Poll.Seconds(), MaxPoll: c.MaxPoll.Seconds(), Burst: c.Burst, BurstSpacing: c.BurstSpacing.Seconds(),
			Timeout: c.Timeout.Seconds(), Interleaved: c.Interleaved, MinDelay: c.MinDelay.Seconds(), MaxServerError: c.MaxError.Seconds(),
			Key: s.nodeKey(),
		}
		if s.address.IsValid() {
			x.Address, x.ReferenceID = s.address.String(), referenceID(s.address.Addr())
		}
		out = append(out, x)
	})
	return out
}

// referenceID is what a server that follows a puts into its answers: the IPv4 address, or the first four bytes of the MD5 of
// the IPv6 address (RFC 5905, figure 12; a name, not a secret).
func referenceID(a netip.Addr) uint32 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	sum := md5.Sum(b[:])
	return binary.BigEndian.Uint32(sum[:4])
}
