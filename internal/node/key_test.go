package node

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// locked is a node with one source that has a key, and what it last asked.
type locked struct {
	t       *testing.T
	node    *Node
	config  Config
	now     hw.Ticks
	request ntp.Packet
	raw     []byte
	asked   int
	reports []reason.Code
}

func newLocked(t *testing.T, key SourceKey) *locked {
	t.Helper()
	l := &locked{t: t, config: Config{Counter: hw.Frequency{Hertz: 1e9}, MaxFalse: -1, Sources: []SourceConfig{{
		ID: 1, Name: "a", Address: "192.0.2.1:123", Poll: 1, Burst: 4, BurstSpacing: 0.01, Timeout: 0.5, MaxServerError: 1, Key: key,
	}}}}
	n, err := New(l.config)
	if err != nil {
		t.Fatal(err)
	}
	l.node = n
	l.step(Event{Kind: EventStart, Realtime: stageEpoch})
	return l
}

// step hands over an event and notes what comes of it.
func (l *locked) step(e Event) {
	l.t.Helper()
	l.now += 1_000_000
	e.Now = l.now
	l.reports = nil
	for _, a := range l.node.Step(e) {
		switch a.Kind {
		case ActionSend:
			l.asked++
			l.raw = slices.Clone(a.Packet)
			if code := l.request.Decode(l.raw); code != reason.OK {
				l.t.Fatalf("request %x: %v", a.Packet, code)
			}
		case ActionReport:
			l.reports = append(l.reports, a.Report.Reason)
		}
	}
}

// poll waits for the next request.
func (l *locked) poll() {
	l.t.Helper()
	for before := l.asked; l.asked == before; {
		l.now += 10_000_000
		l.step(Event{Kind: EventTimer})
	}
}

// answer delivers a good answer with the request's own MAC room in its place.
func (l *locked) answer(authentic bool, change func(p *ntp.Packet)) {
	l.t.Helper()
	at := ntp.TimestampFloor(stageEpoch.UnixNano()+int64(l.now), 0)
	p := ntp.Packet{
		Version: 4, Mode: ntp.ModeServer, Stratum: 1, Precision: -25, ReferenceID: 0x47505300, Reference: at, Origin: l.request.Transmit,
		Receive: at, Transmit: at + 1000, MAC: l.request.MAC,
	}
	if change != nil {
		change(&p)
	}
	l.step(Event{Kind: EventPacket, Source: 1, Packet: p.Append(nil), Stamp: hw.Stamp{At: l.now + 500_000, Kind: hw.StampUser}, Authentic: authentic})
}

func (l *locked) samples() uint64 { return l.node.Snapshot(l.now).Sources[0].Reading.Samples }

// Only what the driver vouches for is used; a node without the secret leaves room for it.
func TestSourceWithAKey(t *testing.T) {
	key := SourceKey{ID: 7, Length: 20}
	l := newLocked(t, key)
	if l.asked == 0 {
		l.poll()
	}
	if len(l.raw) != 68 || l.request.MAC != (ntp.MAC{Length: 20, KeyID: 7}) {
		t.Fatalf("request %x", l.raw)
	}
	for name, f := range map[string]func(){
		"not vouched for":          func() { l.answer(false, nil) },
		"vouched for without MAC":  func() { l.answer(true, func(p *ntp.Packet) { p.MAC = ntp.MAC{} }) },
		"vouched for, another key": func() { l.answer(true, func(p *ntp.Packet) { p.MAC.KeyID = 8 }) },
		"kiss, not vouched for": func() {
			l.answer(false, func(p *ntp.Packet) { p.Stratum, p.ReferenceID = 0, ntp.KissDENY })
		},
	} {
		if f(); !slices.Contains(l.reports, reason.PacketAuthentication) || l.samples() != 0 {
			t.Errorf("%s: %v, %d samples", name, l.reports, l.samples())
		}
	}
	if l.answer(true, nil); l.samples() != 1 {
		t.Fatalf("vouched for: %v, %d samples", l.reports, l.samples())
	}
	if s := l.node.Snapshot(l.now).Sources[0]; s.Rejections[reason.PacketAuthentication] != 4 {
		t.Errorf("rejections %v", s.Rejections.Map())
	}
}

// Under NTS the request is the bare header, and what the driver says of a false answer is its reason.
func TestSourceUnderNTS(t *testing.T) {
	l := newLocked(t, SourceKey{NTS: true, Version: 3})
	if l.asked == 0 {
		l.poll()
	}
	if len(l.raw) != 48 {
		t.Fatalf("request %x", l.raw)
	}
	at := ntp.TimestampFloor(stageEpoch.UnixNano()+int64(l.now), 0)
	p := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1, Precision: -25, Reference: at, Origin: l.request.Transmit, Receive: at, Transmit: at + 1000}
	deliver := func(authentic bool, why reason.Code) {
		l.step(Event{Kind: EventPacket, Source: 1, Packet: p.Append(nil), Stamp: hw.Stamp{At: l.now + 500_000, Kind: hw.StampUser}, Authentic: authentic, Reason: why})
	}
	for _, why := range []reason.Code{reason.NTSMissing, reason.NTSUniqueID, reason.NTSAuthenticator, reason.KissNTSN, reason.PacketAuthentication} {
		if deliver(false, why); !slices.Contains(l.reports, why) || l.samples() != 0 {
			t.Errorf("%v: %v, %d samples", why, l.reports, l.samples())
		}
	}
	if deliver(true, reason.OK); l.samples() != 1 {
		t.Errorf("vouched for: %v, %d samples", l.reports, l.samples())
	}
}

// A source that only false answers come from says so.
func TestFalseAnswersAreNamed(t *testing.T) {
	l := newLocked(t, SourceKey{ID: 7, Length: 20})
	for range 4 {
		l.poll()
		l.answer(false, nil)
	}
	l.poll()
	if s := l.node.Snapshot(l.now).Sources[0]; s.Reason != reason.PacketAuthentication || s.Reading.Samples != 0 {
		t.Errorf("%+v", s)
	}
}

// What was measured under another key, or none, is not mixed with what comes.
func TestChangeOfKeyResetsTheSource(t *testing.T) {
	keys := []SourceKey{{}, {ID: 7, Length: 20}, {ID: 7, Length: 20, Version: 1}, {ID: 8, Length: 20, Version: 1}, {ID: 8, Length: 24, Version: 1}, {NTS: true}, {NTS: true, Version: 1}, {}}
	l := newLocked(t, keys[0])
	for i, key := range keys {
		c := l.config
		c.Sources = slices.Clone(c.Sources)
		c.Sources[0].Key = key
		l.step(Event{Kind: EventConfigure, Config: &c})
		if i > 0 && l.samples() != 0 {
			t.Errorf("%d samples outlived the change to %+v", l.samples(), key)
		}
		l.poll()
		if want := 48 + key.Length; len(l.raw) != want {
			t.Errorf("%+v: request %x", key, l.raw)
		}
		if l.answer(true, nil); l.samples() != 1 {
			t.Errorf("%+v: %v, %d samples", key, l.reports, l.samples())
		}
		// The same again keeps what is known.
		if l.step(Event{Kind: EventConfigure, Config: &c}); l.samples() != 1 {
			t.Errorf("%+v: the same key again, %d samples", key, l.samples())
		}
	}
}

func TestKeysThatCannotBe(t *testing.T) {
	for _, key := range []SourceKey{{ID: 1}, {Length: 20}, {ID: 1, Length: 16}, {ID: 1, Length: 4}, {Version: 1}, {NTS: true, ID: 1, Length: 20}, {NTS: true, Length: 20}} {
		c := Config{Counter: hw.Frequency{Hertz: 1e9}, MaxFalse: -1, Sources: []SourceConfig{{
			ID: 1, Poll: 1, BurstSpacing: 0.01, Timeout: 0.5, MaxServerError: 1, Key: key}}}
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "cannot be") {
			t.Errorf("%+v: %v", key, err)
		}
	}
}

// A key's record in an event log has no secret, and a source without one is recorded as before.
func TestKeysInTheEventLog(t *testing.T) {
	b, err := json.Marshal(SourceConfig{ID: 1, Key: SourceKey{ID: 7, Length: 20}})
	if err != nil || !strings.Contains(string(b), `"key":{"id":7,"length":20}`) {
		t.Errorf("%s, %v", b, err)
	}
	if b, err = json.Marshal(SourceConfig{ID: 1}); err != nil || strings.Contains(string(b), "key") {
		t.Errorf("%s, %v", b, err)
	}
	if b, err = json.Marshal(Event{Kind: EventPacket}); err != nil || strings.Contains(string(b), "authentic") {
		t.Errorf("%s, %v", b, err)
	}
}
