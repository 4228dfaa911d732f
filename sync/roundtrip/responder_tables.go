package roundtrip

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/virtualclock"
)

// ways is how many entries share one place of a hash table: among them the stalest is evicted.
const ways = 8

// access decides by the longest prefix.
type access struct {
	// lengths are the prefix lengths in use, longest first: for each, one lookup.
	lengths4, lengths6 []int
	rules              map[netip.Prefix]bool
	otherwise          bool
}

// Access says which addresses are answered, by the longest prefix.
type Access struct{ rules access }

// NewAccess returns the rule of ResponderConfig.Allow and Deny.
func NewAccess(allow, deny []netip.Prefix) (*Access, error) {
	rules, err := newAccess(allow, deny)
	return &Access{rules}, err
}

// Allows reports whether a client is to be answered.
func (a *Access) Allows(client netip.Addr) bool { return a.rules.allows(client.Unmap().WithZone("")) }

func newAccess(allow, deny []netip.Prefix) (access, error) {
	a := access{rules: make(map[netip.Prefix]bool, len(allow)+len(deny)), otherwise: len(allow) == 0}
	for _, list := range []struct {
		prefixes []netip.Prefix
		allowed  bool
	}{{allow, true}, {deny, false}} {
		for _, p := range list.prefixes {
			if !p.IsValid() {
				return a, fmt.Errorf("roundtrip: %v is not a prefix; write 192.0.2.0/24 or 2001:db8::/32", p)
			}
			a.add(p, list.allowed)
		}
	}
	longest := func(x, y int) int { return cmp.Compare(y, x) }
	slices.SortFunc(a.lengths4, longest)
	slices.SortFunc(a.lengths6, longest)
	return a, nil
}

// add sets the rule of a prefix.
func (a *access) add(p netip.Prefix, allowed bool) {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	lengths := &a.lengths6
	if p.Addr().Is4() {
		lengths = &a.lengths4
	}
	if !slices.Contains(*lengths, p.Bits()) {
		*lengths = append(*lengths, p.Bits())
	}
	a.rules[p.Masked()] = allowed
}

// allows reports whether a client (unmapped, without zone) is to be answered.
func (a *access) allows(client netip.Addr) bool {
	lengths := a.lengths6
	if client.Is4() {
		lengths = a.lengths4
	}
	for _, n := range lengths {
		p, err := client.Prefix(n)
		if err != nil {
			continue
		}
		if allowed, ok := a.rules[p]; ok {
			return allowed
		}
	}
	return a.otherwise && client.IsValid()
}

// keyed is a hash with secret keys, good enough that nobody outside can choose addresses that fall together.
type keyed struct{ a, b, c uint64 }

func newKeyed(rng *rand.ChaCha8) keyed {
	return keyed{rng.Uint64() | 1, rng.Uint64() | 1, rng.Uint64() | 1}
}

func mix(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}

func (h keyed) sum(address [16]byte, extra uint64) uint64 {
	x := binary.LittleEndian.Uint64(address[:8]) ^ h.a
	y := binary.LittleEndian.Uint64(address[8:]) ^ h.b
	return mix(mix(x, y^h.c)^extra^h.b, h.a^bits.RotateLeft64(y, 32))
}

// tableSets returns how many places a table of that many entries has: a power of two.
func tableSets(entries int) int {
	sets := max(1, (entries+ways-1)/ways)
	return 1 << bits.Len(uint(sets-1))
}

// buckets is the rate limit: a token bucket for each client that asked lately.
type buckets struct {
	hash    keyed
	entries [][ways]bucket
	// perTick tokens flow in with each tick, up to burst.
	perTick, burst float64
}

type bucket struct {
	used bool
	// authentic: this is the bucket of the client's authenticated requests, which nobody can empty in its name.
	authentic bool
	client    [16]byte
	last      hw.Ticks
	tokens    float64
}

func newBuckets(c ResponderConfig, rng *rand.ChaCha8) *buckets {
	return &buckets{
		hash: newKeyed(rng), entries: make([][ways]bucket, tableSets(c.MaxClients)),
		perTick: c.RatePerSecond / c.Hertz, burst: float64(c.Burst),
	}
}

// rateKey is what the limit counts as one client: an IPv4 address or an IPv6 /64, all of which one host may own.
func rateKey(client netip.Addr) [16]byte {
	key := client.As16()
	if !client.Is4() {
		clear(key[8:])
	}
	return key
}

// take reports whether the client may ask once more, and counts it. Authenticated requests are counted apart.
func (b *buckets) take(client netip.Addr, authentic bool, now hw.Ticks) bool {
	key := rateKey(client)
	set := &b.entries[b.hash.sum(key, 0)&uint64(len(b.entries)-1)]
	e := &set[0]
	for i := range set {
		c := &set[i]
		if c.used && c.client == key && c.authentic == authentic {
			e = c
			break
		}
		if e.used && (!c.used || c.last.Before(e.last)) {
			e = c
		}
	}
	if !e.used || e.client != key || e.authentic != authentic {
		*e = bucket{used: true, authentic: authentic, client: key, last: now, tokens: b.burst}
	}
	if passed := now.Sub(e.last); passed > 0 {
		e.tokens = min(b.burst, e.tokens+float64(passed)*b.perTick)
	}
	e.last = now
	if e.tokens < 1 {
		return false
	}
	e.tokens--
	return true
}

// receiveStep is the distance of receive timestamps that share their last bits, in units of 2⁻³² s.
const receiveStep = 8

// issued makes receive timestamps unique, so that no two answers, to whomever, can be taken for each other in interleaved mode.
// It allows for requests that are handled in another order than that of their arrival.
type issued struct {
	any  bool
	last ntp.Timestamp
	// recent are the newest ones in no order, forgotten the largest of those that are not in it any more.
	recent    [64]ntp.Timestamp
	next      int
	full      bool
	forgotten ntp.Timestamp
}

// unique returns t, or if it was or may have been issued, the next after the largest issued one.
func (u *issued) unique(t ntp.Timestamp) ntp.Timestamp {
	switch {
	case !u.any:
		u.any, u.last = true, t
	case t.Sub(u.last) > 0:
		u.last = t
	case u.full && t.Sub(u.forgotten) <= 0, slices.Contains(u.recent[:], t):
		u.last += receiveStep
		t = u.last
	}
	if old := u.recent[u.next]; old != 0 && (!u.full || old.Sub(u.forgotten) > 0) {
		u.forgotten, u.full = old, true
	}
	u.recent[u.next] = t
	u.next = (u.next + 1) % len(u.recent)
	return t
}

type pairState uint8

const (
	pairFree pairState = iota
	// pairWaiting: the answer's departure is not known yet.
	pairWaiting
	pairComplete
)

// pair is the two timestamps of an answer, saved until the client asks when that answer left.
type pair struct {
	state             pairState
	generation        uint32
	client            [16]byte
	receive, transmit ntp.Timestamp
	epoch             virtualclock.Epoch
	// ready is the counter reading just before the answer was sent.
	ready hw.Ticks
	// bound is the largest distance from true time at either timestamp, in seconds.
	bound float64
}

// pairs is the memory of the interleaved mode.
type pairs struct {
	hash    keyed
	entries [][ways]pair
}

func newPairs(entries int, rng *rand.ChaCha8) *pairs {
	return &pairs{hash: newKeyed(rng), entries: make([][ways]pair, tableSets(entries))}
}

func (p *pairs) set(client [16]byte, receive ntp.Timestamp) int {
	return int(p.hash.sum(client, uint64(receive)) & uint64(len(p.entries)-1))
}

func (p *pairs) find(client [16]byte, receive ntp.Timestamp) *pair {
	set := &p.entries[p.set(client, receive)]
	for i := range set {
		if e := &set[i]; e.state != pairFree && e.receive == receive && e.client == client {
			return e
		}
	}
	return nil
}

// take returns the saved pair with that receive timestamp, once, if its departure is known and the clock was not stepped since.
// A receive timestamp must not be used twice (RFC 9769 section 2).
func (p *pairs) take(client netip.Addr, receive ntp.Timestamp, epoch virtualclock.Epoch) (saved pair, ok bool) {
	e := p.find(client.As16(), receive)
	if e == nil || e.state != pairComplete {
		return pair{}, false
	}
	e.state = pairFree
	return *e, e.epoch == epoch
}

// save keeps an answer's timestamps in place of the stalest and returns their token.
func (p *pairs) save(client netip.Addr, receive, transmit ntp.Timestamp, bound float64, ready hw.Ticks, epoch virtualclock.Epoch) (token uint64) {
	key := client.As16()
	n := p.set(key, receive)
	set := &p.entries[n]
	way := 0
	for i := range set {
		if set[i].state == pairFree {
			way = i
			break
		}
		if set[i].ready.Before(set[way].ready) {
			way = i
		}
	}
	e := &set[way]
	*e = pair{
		state: pairWaiting, generation: e.generation + 1, client: key, receive: receive, transmit: transmit,
		epoch: epoch, ready: ready, bound: bound,
	}
	return uint64(e.generation)<<32 | uint64(n*ways+way+1)
}

// byToken returns the saved pair with that token, or nil if it has been forgotten or used.
func (p *pairs) byToken(token uint64) *pair {
	n := int(uint32(token)) - 1
	if n < 0 || n >= len(p.entries)*ways {
		return nil
	}
	e := &p.entries[n/ways][n%ways]
	if e.state == pairFree || e.generation != uint32(token>>32) {
		return nil
	}
	return e
}
