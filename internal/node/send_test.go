package node

import (
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// A host that is paused at any moment makes at most one request to a source in one step: two would share their buffer, and leave
// with one number but two departure stamps, of which the later one would falsify the bound.
func TestOneRequestInAStep(t *testing.T) {
	const seed = 91
	rng := rand.New(rand.NewPCG(seed, seed))
	n, err := New(Config{Counter: hw.Frequency{Hertz: 1e9}, MaxFalse: -1, Sources: []SourceConfig{
		{ID: 1, Poll: 0.1, Burst: 4, BurstSpacing: 0.01, Timeout: 1, MaxServerError: 1, Interleaved: true},
		{ID: 2, Poll: 0.05, Burst: 1, BurstSpacing: 0.01, Timeout: 0.04, MaxServerError: 1, Interleaved: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var now hw.Ticks
	due := map[int]ntp.Packet{}
	requests, stalls := 0, 0
	step := func(e Event) {
		e.Now = now
		sent := map[int]bool{}
		for _, a := range n.Step(e) {
			if a.Kind != ActionSend {
				continue
			}
			if sent[a.Source] {
				t.Fatalf("seed %d: two requests to source %d in the step of a %v", seed, a.Source, e.Kind)
			}
			sent[a.Source] = true
			var p ntp.Packet
			if code := p.Decode(a.Packet); code != reason.OK {
				t.Fatal(code)
			}
			due[a.Source] = p
			requests++
		}
	}
	step(Event{Kind: EventStart, Realtime: stageEpoch})
	for range 20_000 {
		now += hw.Ticks(rng.ExpFloat64() * 3e6)
		if rng.IntN(20) == 0 {
			now += hw.Ticks(rng.ExpFloat64() * 150e6) // the host was paused
			stalls++
		}
		id := 1 + rng.IntN(2)
		q, asked := due[id]
		if !asked || rng.IntN(3) == 0 {
			step(Event{Kind: EventTimer})
			continue
		}
		delete(due, id)
		at := ntp.TimestampFloor(stageEpoch.UnixNano()+int64(now), 0) | 1
		p := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1, Precision: -25, ReferenceID: 1, Reference: at, Origin: q.Transmit, Receive: at, Transmit: at + 1000}
		if q.Receive != 0 && rng.IntN(4) > 0 {
			p.Origin, p.Transmit = q.Receive, q.Origin+2000
		}
		step(Event{Kind: EventPacket, Source: id, Packet: p.Append(nil), Stamp: hw.Stamp{At: now, Kind: hw.StampUser}})
	}
	if requests < 2000 || stalls < 500 {
		t.Errorf("only %d requests, %d stalls", requests, stalls)
	}
}
