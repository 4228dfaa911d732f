package core

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

func someFrame(r *rand.Rand) *frame {
	f := &frame{
		view: ViewID(1 + r.Uint64N(1000)), origin: Member{ID(1 + r.Uint64N(9)), 1 + r.Uint64N(9)}, seq: 1 + r.Uint64N(1<<40), ts: Timestamp(r.Int64N(1 << 61)), number: 1 + r.Uint64N(1<<40),
		entries: make([]entry, 1+r.IntN(20)),
	}
	for k := range f.entries {
		f.entries[k].payload = make([]byte, r.IntN(50))
		for i := range f.entries[k].payload {
			f.entries[k].payload[i] = byte(r.Uint32())
		}
		if r.IntN(3) == 0 {
			f.entries[k].key = Key{byte(1 + r.IntN(255))}
		}
	}
	return f
}

func sameFrames(a, b *frame) bool {
	return a.view == b.view && a.origin == b.origin && a.seq == b.seq && a.ts == b.ts && a.number == b.number &&
		slices.EqualFunc(a.entries, b.entries, func(x, y entry) bool { return x.key == y.key && bytes.Equal(x.payload, y.payload) })
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	for range 2000 {
		f := someFrame(r)
		f.encode()
		g, err := decodeFrame(f.body)
		if err != nil || !sameFrames(f, g) {
			t.Fatalf("%+v, %v instead of %+v", g, err, f)
		}
		if len(f.body) > f.payloadBytes()+40+30*len(f.entries) {
			t.Fatalf("%d messages of %d bytes take %d", len(f.entries), f.payloadBytes(), len(f.body))
		}
		seq := f.seq + r.Uint64N(uint64(len(f.entries)))
		rest, err := decodeFrame(f.from(seq).body)
		n := int(seq - f.seq)
		if err != nil || rest.last() != f.last() || rest.ts != f.ts+Timestamp(n) || rest.number != f.number+uint64(n) || !bytes.Equal(rest.entries[0].payload, f.entries[n].payload) {
			t.Fatalf("the rest of %+v from %d is %+v, %v", f, seq, rest, err)
		}
		for cut := range len(f.body) {
			if _, err := decodeFrame(f.body[:cut]); !errors.Is(err, reason.FrameMalformed) {
				t.Fatalf("cut to %d bytes: %v", cut, err)
			}
		}
	}
}

func TestStatAndViewComeBackAsTheyWere(t *testing.T) {
	s := stat{view: 3, decided: 4, flags: flagMember | flagLeave, promise: 123456789, seq: 7, delivered: 99, snapshot: 5, acked: []uint64{1, 2, 3}, suspects: []ID{2}}
	var e encoder
	s.encode(&e)
	var got stat
	if err := got.decode(&decoder{b: e.b}); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v", got, err)
	}
	v := newView{prev: 3, members: []Member{{1, 2}, {3, 4}}, quorum: 2, cut: []prefix{{1, 5}, {3, 0}}, holders: []ID{3}}
	var f encoder
	v.encode(&f)
	d := &decoder{b: f.b}
	var back newView
	if back.decode(d); !d.end() || !reflect.DeepEqual(back, v) {
		t.Errorf("%+v", back)
	}
}

// fuzzed is a process in a view, to be attacked.
func fuzzed(t testing.TB) *bench {
	b := newBench(t, 3, func(c *Config) { c.Window, c.MaxPayload, c.Retain = 10_000, 1000, 10_000 })
	b.together()
	b.broadcast(1, "x")
	b.broadcast(2, "y")
	b.run(10 * time.Millisecond)
	return b
}

// FuzzFrame gives a process foreign frames, in which only what the transport vouches for is right.
func FuzzFrame(f *testing.F) {
	b := fuzzed(f)
	b.delay = 0
	for _, m := range b.queue {
		f.Add(m.frame)
	}
	r := rand.New(rand.NewPCG(1, 1))
	add := func(kind frameKind, body func(*encoder)) {
		var e encoder
		e.header(&header{kind: kind, group: 1, from: Member{2, 1}})
		body(&e)
		f.Add(e.b)
	}
	frame := someFrame(r)
	frame.view, frame.origin, frame.seq = 1, Member{2, 1}, 2
	frame.encode()
	add(kindData, func(e *encoder) { e.bytes(frame.body) })
	add(kindStat, func(e *encoder) {
		(&stat{view: 1, decided: 1, flags: flagMember, promise: 1 << 60, seq: 9, acked: []uint64{9, 9, 9}}).encode(e)
	})
	for _, kind := range []frameKind{kindFreeze, kindFillOK, kindGone, kindProbe} {
		add(kind, func(e *encoder) { e.uint(1); e.uint(2) })
	}
	add(kindReport, func(e *encoder) { e.uint(1); e.uint(1); e.prefixes([]prefix{{1, 5}}) })
	add(kindFill, func(e *encoder) { e.uint(1); e.uint(1); e.prefixes([]prefix{{1, 5}}); e.ids([]ID{2}) })
	add(kindNeed, func(e *encoder) { e.uint(1); e.uint(1); e.uint(1); e.uint(9) })
	add(kindProbeOK, func(e *encoder) { e.uint(1); e.uint(1); e.uint(1); e.int(5) })
	add(kindSnapAsk, func(e *encoder) { e.uint(0) })
	m, err := proto.Marshal(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(1 << 40), Commit: proto.Uint64(1 << 40)})
	if err != nil {
		f.Fatal(err)
	}
	add(kindRaft, func(e *encoder) { e.bytes(m) })
	f.Fuzz(func(t *testing.T, frame []byte) {
		b := fuzzed(t)
		h := b.hosts[1]
		_ = h.core.Step(b.clock(h), Event{Kind: EventFrame, Peer: 2, Frame: slices.Clone(frame)})
		r := h.core.Ready(b.clock(h))
		for _, m := range r.Messages {
			if len(m.Frame) > MaxFrameSize {
				t.Errorf("a frame of %d bytes is sent", len(m.Frame))
			}
		}
		b.now += 10 * time.Millisecond
		_ = h.core.Step(b.clock(h), Event{Kind: EventTimer})
		h.core.Ready(b.clock(h))
		if held := h.core.Counters().Held; held > 200_000 {
			t.Errorf("%d bytes are held", held)
		}
	})
}

// FuzzMeta gives a process a foreign snapshot.
func FuzzMeta(f *testing.F) {
	b := fuzzed(f)
	f.Add(b.hosts[1].core.meta())
	f.Add([]byte{1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, meta []byte) {
		b := fuzzed(t)
		if err := b.step(1, Event{Kind: EventSnapshotReceived, Peer: 2, Meta: meta}); err == nil {
			return
		}
		_, err := New(Config{Group: 1, ID: 9}, Restart{Snapshot: meta})
		if err != nil && !errors.Is(err, reason.SnapshotUnusable) {
			t.Error(err)
		}
	})
}

// FuzzRecord begins a process from a log with a foreign record in it.
func FuzzRecord(f *testing.F) {
	b := fuzzed(f)
	for _, r := range b.hosts[1].records {
		f.Add(r.Data, 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		b := fuzzed(t)
		records := slices.Clone(b.hosts[1].records)
		records[uint(at)%uint(len(records))].Data = data
		c, err := New(b.hosts[1].config, Restart{Records: records})
		if err != nil {
			return
		}
		_ = c.Step(b.clock(b.hosts[1]), Event{Kind: EventTimer})
		c.Ready(b.clock(b.hosts[1]))
	})
}
