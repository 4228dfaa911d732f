package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
)

func TestAllDeliverInTheOrderOfTime(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 7} {
		b := newBench(t, n, nil)
		b.together()
		var want []string
		for k := range 60 {
			payload := fmt.Sprint(k)
			b.broadcast(b.ids[k%n], payload)
			want = append(want, payload)
			b.run(10 * time.Microsecond)
		}
		b.until("all delivered", func() bool {
			return !slices.ContainsFunc(b.ids, func(id ID) bool { return len(b.hosts[id].messages()) < len(want) })
		})
		for _, id := range b.ids {
			if got := b.hosts[id].messages(); !slices.Equal(got, want) {
				t.Errorf("n=%d: process %d delivers %v", n, id, got)
			}
		}
	}
}

// TestLatencyIsThatOfTheFormula: theory 6.6 for equal delays d and nothing to write: with n = 3 a receiver has a message after d + min(h + π, d), its sender after 2d; with
// more members everybody after 2d. A STAT may wait for StatGap twice.
func TestLatencyIsThatOfTheFormula(t *testing.T) {
	const d = time.Millisecond
	for _, n := range []int{3, 5} {
		b := newBench(t, n, nil)
		b.delay = d
		b.together()
		b.run(50 * time.Millisecond)
		start := b.now
		b.broadcast(1, "x")
		b.until("delivered", func() bool {
			return !slices.ContainsFunc(b.ids, func(id ID) bool { return len(b.hosts[id].messages()) == 0 })
		})
		if took := b.now - start; took > 2*d+400*time.Microsecond {
			t.Errorf("n=%d: %v, one delay is %v", n, took, d)
		}
	}
}

func TestReasonsAgainstABroadcast(t *testing.T) {
	b := newBench(t, 3, func(c *Config) { c.MaxPayload, c.Window = 100, 1000 })
	b.together()
	h := b.hosts[1]
	refuse := func(payload int, want reason.Code) {
		t.Helper()
		if _, err := h.core.Broadcast(b.clock(h), make([]byte, payload), Key{}); !errors.Is(err, want) {
			t.Errorf("%v instead of %v", err, want.String())
		}
	}
	refuse(101, reason.BroadcastTooLong)
	h.unsound = true
	refuse(1, reason.BroadcastUnsynchronised)
	h.unsound = false
	b.cut = func(ID, ID) bool { return true }
	for k := 0; ; k++ {
		if _, err := h.core.Broadcast(b.clock(h), make([]byte, 100), Key{}); err != nil {
			if k != 1000/164 || !errors.Is(err, reason.BroadcastWindow) {
				t.Errorf("message %d: %v", k, err)
			}
			break
		}
	}
	b.turn(1)
	b.cut = nil
	b.until("there is room", func() bool { return h.room })
	b.broadcast(1, "again")
	if n := h.core.Counters().Refused; n[reason.BroadcastTooLong] != 1 || n[reason.BroadcastUnsynchronised] != 1 || n[reason.BroadcastWindow] != 1 {
		t.Errorf("the refusals are counted as %v", n)
	}
}

func TestCancelTellsWhetherTheMessageMayBeDelivered(t *testing.T) {
	b := newBench(t, 3, nil)
	h := b.hosts[1]
	first, err := h.core.Broadcast(b.clock(h), []byte("before there is a view"), Key{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.core.Cancel(first); err != nil {
		t.Error(err)
	}
	b.together()
	sent := b.broadcast(1, "sent")
	if err := h.core.Cancel(sent); !errors.Is(err, reason.BroadcastMaybe) {
		t.Error(err)
	}
	b.until("delivered", func() bool { return len(h.messages()) == 1 })
	if got := h.messages(); got[0] != "sent" {
		t.Error(got)
	}
}

func TestAKeyIsDeliveredOnce(t *testing.T) {
	b := newBench(t, 3, nil)
	b.together()
	for _, id := range []ID{1, 2, 1} {
		if _, err := b.hosts[id].core.Broadcast(b.clock(b.hosts[id]), []byte("x"), Key{1}); err != nil {
			t.Fatal(err)
		}
		b.turn(id)
		b.run(time.Millisecond)
	}
	b.until("delivered", func() bool { return b.hosts[3].core.Status().Index == 3 })
	if got := b.hosts[3].messages(); len(got) != 1 || b.hosts[3].core.Counters().Duplicates != 2 {
		t.Errorf("%v and %d duplicates", got, b.hosts[3].core.Counters().Duplicates)
	}
}

func TestKeysAreForgottenAtTheSamePlace(t *testing.T) {
	var r keyRing
	key := func(k int) Key { return Key{1, byte(k), byte(k >> 8), byte(k >> 16)} }
	for k := range DedupeWindow + 10 {
		if !r.add(key(k)) {
			t.Fatal(k)
		}
	}
	if r.add(key(10)) || !r.add(key(9)) || len(r.set) != DedupeWindow || r.inOrder()[DedupeWindow-1] != key(9) {
		t.Error("not the last ones are remembered")
	}
}

// TestTimeTriggered: in Δ-mode all deliver when their clocks show the timestamp + Δ, and say so when they could not.
func TestTimeTriggered(t *testing.T) {
	const delta = 20 * time.Millisecond
	b := newBench(t, 3, func(c *Config) { c.Delta = delta })
	b.together()
	b.run(10 * time.Millisecond)
	start := b.now
	b.broadcast(1, "x")
	for _, id := range b.ids {
		b.until("delivered", func() bool { return len(b.hosts[id].messages()) == 1 })
		if took := b.now - start; took < delta || took > delta+500*time.Microsecond {
			t.Errorf("process %d delivers after %v", id, took)
		}
	}
	b.delay = 30 * time.Millisecond
	b.broadcast(2, "late")
	b.until("delivered", func() bool { return len(b.hosts[3].messages()) == 2 })
	last := b.hosts[3].upcalls[len(b.hosts[3].upcalls)-1]
	if !last.Message.Late || b.hosts[3].core.Counters().Late != 1 {
		t.Errorf("%+v is not late", last.Message)
	}
}

func TestEarlyComesBeforeUniform(t *testing.T) {
	b := newBench(t, 5, func(c *Config) { c.Early, c.LookAhead = true, 5*time.Millisecond })
	b.delay = 10 * time.Millisecond
	b.together()
	b.run(100 * time.Millisecond)
	b.broadcast(1, "x")
	kinds := func(id ID) (k []UpcallKind) {
		for _, u := range b.hosts[id].upcalls {
			if u.Kind != UpcallView {
				k = append(k, u.Kind)
			}
		}
		return k
	}
	early := b.until("early", func() bool { return len(kinds(2)) == 1 })
	uniform := early + b.until("uniform", func() bool { return len(kinds(2)) == 2 })
	if k := kinds(2); k[0] != UpcallEarly || k[1] != UpcallMessage || early > 16*time.Millisecond || uniform < 20*time.Millisecond {
		t.Errorf("%v after %v and %v", k, early, uniform)
	}
}

// TestAClockFarBehindHoldsNobodyUp: although it is behind by more than Bump, its member promises what a quorum has promised.
func TestAClockFarBehindHoldsNobodyUp(t *testing.T) {
	b := newBench(t, 3, nil)
	b.together()
	b.hosts[3].offset = -time.Hour
	b.run(20 * time.Millisecond)
	b.broadcast(1, "x")
	took := b.until("delivered", func() bool { return len(b.hosts[2].messages()) == 1 })
	if took > 12*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if v := b.hosts[1].core.Status().View.ID; v != 1 {
		t.Errorf("view %d", v)
	}
}

// TestAClockFarAheadLeaves: its messages do not pull the others along, they wait; after EvictAfter it asks to be put out, and the cut of the view has its messages.
func TestAClockFarAheadLeaves(t *testing.T) {
	b := newBench(t, 3, func(c *Config) { c.EvictAfter = 300 * time.Millisecond })
	b.together()
	b.hosts[3].offset = time.Hour
	b.run(20 * time.Millisecond)
	b.broadcast(3, "ahead")
	b.broadcast(1, "in time")
	b.until("delivered", func() bool { return len(b.hosts[2].messages()) == 1 })
	took := b.until("the other too", func() bool { return len(b.hosts[2].messages()) == 2 })
	if took > time.Second || !slices.Equal(b.hosts[2].messages(), []string{"in time", "ahead"}) {
		t.Errorf("%v after %v", b.hosts[2].messages(), took)
	}
	b.until("it is out", func() bool { return len(b.hosts[2].core.Status().View.Members) == 2 })
	b.broadcast(1, "on")
	b.until("the others go on", func() bool { return len(b.hosts[2].messages()) == 3 })
}

// TestACrashStopsTheOthersForTheSuspicionOnly and the process comes back as a new life.
func TestACrashStopsTheOthersForTheSuspicionOnly(t *testing.T) {
	for _, mode := range []Durability{Fsync, Memory} {
		b := newBench(t, 3, func(c *Config) { c.Durability = mode })
		b.together()
		b.broadcast(3, "before")
		b.run(5 * time.Millisecond)
		b.hosts[3].core = nil
		b.broadcast(1, "during")
		took := b.until("delivered", func() bool { return len(b.hosts[2].messages()) == 2 })
		if took < 40*time.Millisecond || took > 90*time.Millisecond {
			t.Errorf("%v for a suspicion of 50 ms", took)
		}
		if mode == Memory {
			b.hosts[3].records = slices.DeleteFunc(b.hosts[3].records, func(r Record) bool { return r.Kind == RecordData })
		}
		b.hosts[3].upcalls = nil
		b.start(3)
		b.together()
		b.until("all is back", func() bool { return slices.Equal(b.hosts[3].messages(), []string{"before", "during"}) })
		if m := b.hosts[3].core.Status().Member; m.Incarnation != 2 {
			t.Error(m)
		}
	}
}

func TestReadSeesWhatWasDeliveredBefore(t *testing.T) {
	b := newBench(t, 3, nil)
	b.together()
	b.broadcast(1, "x")
	b.until("delivered somewhere", func() bool {
		return slices.ContainsFunc(b.ids, func(id ID) bool { return len(b.hosts[id].messages()) > 0 })
	})
	h := b.hosts[3]
	id, err := h.core.Read(b.clock(h))
	if err != nil {
		t.Fatal(err)
	}
	b.turn(3)
	b.until("read", func() bool { return len(h.reads) == 1 })
	if h.reads[0] != (ReadResult{ID: id, Index: 1}) {
		t.Error(h.reads)
	}
	// In a minority there is no answer: its clock alone says nothing.
	b.cut = func(from, to ID) bool { return from == 3 || to == 3 }
	b.run(time.Millisecond)
	if _, err := h.core.Read(b.clock(h)); err != nil {
		t.Fatal(err)
	}
	b.turn(3)
	b.run(time.Second)
	if len(h.reads) != 1 {
		t.Error(h.reads)
	}
	b.cut = nil
	b.until("read after all", func() bool { return len(h.reads) == 2 })
}

// TestLogAndMemoryStayShort: in a group whose view never changes too, snapshots let records be forgotten.
func TestLogAndMemoryStayShort(t *testing.T) {
	b := newBench(t, 3, func(c *Config) { c.SnapshotEvery, c.Retain, c.Window, c.MaxPayload = 4000, 8000, 4000, 200 })
	b.together()
	most, held := 0, uint64(0)
	for range 2000 {
		for _, id := range b.ids {
			h := b.hosts[id]
			if _, err := h.core.Broadcast(b.clock(h), make([]byte, 100), Key{}); err != nil && !errors.Is(err, reason.BroadcastWindow) {
				t.Fatal(err)
			}
			b.turn(id)
			most, held = max(most, len(h.records)), max(held, h.core.Counters().Held)
		}
		b.run(200 * time.Microsecond)
	}
	if n := b.hosts[1].core.Status().Index; n < 2000 {
		t.Errorf("only %d messages", n)
	}
	if most > 500 || held > 60_000 {
		t.Errorf("%d records in the log, %d bytes in memory", most, held)
	}
	b.hosts[2].core = nil
	b.run(200 * time.Millisecond)
	b.start(2)
	b.together()
	b.until("back", func() bool { return b.hosts[2].core.Status().Index == b.hosts[1].core.Status().Index })
}

// TestAnApplicationThatDoesNotTakeIsNotFlooded: delivery pauses, and in the end the senders must wait.
func TestAnApplicationThatDoesNotTakeIsNotFlooded(t *testing.T) {
	b := newBench(t, 3, func(c *Config) {
		c.Unconsumed, c.Window, c.MaxPayload, c.Retain, c.SnapshotEvery = 5000, 10_000, 1000, 1, -1
	})
	b.together()
	b.hosts[3].unconsumed = true
	refused := false
	for range 1000 {
		_, err := b.hosts[1].core.Broadcast(b.clock(b.hosts[1]), make([]byte, 100), Key{})
		refused = refused || errors.Is(err, reason.BroadcastWindow)
		b.turn(1)
		b.run(200 * time.Microsecond)
	}
	bytes := 0
	for _, m := range b.hosts[3].messages() {
		bytes += len(m)
	}
	if !refused || bytes > 5100 || b.hosts[3].core.Counters().Held > 50_000 {
		t.Errorf("refused %v, %d bytes were given, %d are held", refused, bytes, b.hosts[3].core.Counters().Held)
	}
	b.hosts[3].core.Consumed(bytes)
	b.hosts[3].unconsumed = false
	b.until("it goes on", func() bool {
		return b.hosts[3].core.Status().Index == b.hosts[1].core.Status().Index && b.hosts[1].core.Status().Pending == 0
	})
}

func TestMembersAreAddedAndRemoved(t *testing.T) {
	b := newBench(t, 3, nil)
	b.together()
	for k := range 20 {
		b.broadcast(1, fmt.Sprint(k))
	}
	b.ids = append(b.ids, 4)
	b.hosts[4] = &host{config: Config{Group: 1, ID: 4, Seed: 5, SuspectAfter: 50 * time.Millisecond}}
	b.start(4)
	if err := b.step(2, Event{Kind: EventAddMember, Peer: 4}); err != nil {
		t.Fatal(err)
	}
	b.together()
	b.until("it has all", func() bool { return len(b.hosts[4].messages()) == 20 })
	if v := b.hosts[4].core.Status().View; v.Quorum != 3 || v.FlushQuorum() != 2 {
		t.Errorf("%+v", v)
	}
	if err := b.step(2, Event{Kind: EventAddMember, Peer: 4}); err == nil {
		t.Error("it was added twice")
	}
	if err := b.step(2, Event{Kind: EventRemoveMember, Peer: 9}); err == nil {
		t.Error("an unknown one was removed")
	}
	if err := b.step(2, Event{Kind: EventRemoveMember, Peer: 1}); err != nil {
		t.Fatal(err)
	}
	b.until("it is out", func() bool {
		s := b.hosts[3].core.Status()
		return len(s.View.Members) == 3 && s.View.Quorum == 2 && !slices.Contains(s.Universe, 1)
	})
}

func TestFramesAreRefusedWithAReason(t *testing.T) {
	b := newBench(t, 3, nil)
	b.together()
	frame := func(group uint64, m Member, kind frameKind) []byte {
		var e encoder
		e.header(&header{kind: kind, group: group, from: m})
		return e.b
	}
	old := frame(1, Member{2, 1}, kindFreeze)
	old[0] = 9
	for name, c := range map[string]struct {
		frame []byte
		want  reason.Code
	}{
		"empty":           {nil, reason.FrameMalformed},
		"another version": {old, reason.FrameVersion},
		"another group":   {frame(2, Member{2, 1}, kindFreeze), reason.FrameGroup},
		"another sender":  {frame(1, Member{3, 1}, kindFreeze), reason.FrameSender},
		"cut off":         {frame(1, Member{2, 1}, kindFreeze), reason.FrameMalformed},
		"unknown kind":    {frame(1, Member{2, 1}, 99), reason.FrameMalformed},
	} {
		before := b.hosts[1].core.Counters().Refused[c.want]
		if err := b.step(1, Event{Kind: EventFrame, Peer: 2, Frame: c.frame}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if b.hosts[1].core.Counters().Refused[c.want] != before+1 {
			t.Errorf("%s is not counted", name)
		}
	}
	b.hosts[2].core = nil
	b.start(2)
	b.together()
	if err := b.step(1, Event{Kind: EventFrame, Peer: 2, Frame: frame(1, Member{2, 1}, kindFreeze)}); !errors.Is(err, reason.FrameStale) {
		t.Errorf("a frame of an earlier life: %v", err)
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	for name, c := range map[string]Config{
		"no ID":        {Bootstrap: []ID{1}},
		"twice":        {ID: 1, Bootstrap: []ID{1, 1}},
		"zero":         {ID: 1, Bootstrap: []ID{1, 0}},
		"heartbeat":    {ID: 1, Heartbeat: time.Second, SuspectAfter: 2 * time.Second},
		"small window": {ID: 1, Window: 10},
		"negative":     {ID: 1, Bump: -1},
	} {
		if _, err := New(c, Restart{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestALostDiskDoesNotAnswerForItsFormerLife: 1 and 3 have delivered what 2 never heard of; then 1 is down, and 3 comes back without its disk. A view of 2 and 3 would lose it.
func TestALostDiskDoesNotAnswerForItsFormerLife(t *testing.T) {
	b := newBench(t, 3, func(c *Config) { c.Disk = 1000 + uint64(c.ID) })
	b.together()
	b.run(10 * time.Millisecond)
	lose := func(from, to ID) bool { return from == 2 || to == 2 }
	b.delay = time.Millisecond
	b.broadcast(2, "wakes up all") // a promise of 2 that is above the next timestamp would come too late otherwise
	b.hosts[2].offset = 10 * time.Millisecond
	b.run(9 * time.Millisecond)
	b.cut = lose
	b.queue = slices.DeleteFunc(b.queue, func(m letter) bool { return lose(m.from, m.to) })
	b.broadcast(1, "x")
	b.run(4 * time.Millisecond)
	if !slices.Contains(b.hosts[1].messages(), "x") {
		t.Fatal("it was not delivered")
	}
	b.hosts[1].core, b.hosts[3].core = nil, nil
	b.cut, b.queue = nil, nil
	h := b.hosts[3]
	h.records, h.upcalls, h.config.Disk = nil, nil, 2000
	b.start(3)
	b.run(5 * time.Second)
	if v := b.hosts[2].core.Status().Decided; v != 1 {
		t.Fatalf("view %d was decided without what is durable at 1 only", v)
	}
	b.start(1)
	b.until("2 has it", func() bool { return slices.Contains(b.hosts[2].messages(), "x") })
	b.until("3 has it", func() bool { return slices.Contains(h.messages(), "x") })
}
