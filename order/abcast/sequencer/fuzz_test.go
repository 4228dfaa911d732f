package sequencer

import (
	"testing"

	"github.com/clockd/clockd/order/abcast/core"
)

// FuzzFrame: no frame, and no snapshot's description, of a peer breaks an engine.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x53, 1, 7, 2, 1, 8, 1})
	f.Add([]byte{0x53, 7, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9})
	f.Add([]byte{0x53, 2, 7, 2, 1, 5, 5, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := New(core.Config{Group: 7, ID: 1, Bootstrap: []core.ID{1, 2, 3}}, core.Restart{})
		if err != nil {
			t.Fatal(err)
		}
		e.Ready(core.Now{})
		_ = e.Step(core.Now{}, core.Event{Kind: core.EventFrame, Peer: 2, Frame: b})
		_ = e.Step(core.Now{}, core.Event{Kind: core.EventSnapshotReceived, Peer: 2, Meta: b})
		e.Ready(core.Now{})
	})
}
