package main

import (
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
)

// TestPeersAreShown: the spread beside its promise, who took part, and why somebody did not; what is not known is no number.
func TestPeersAreShown(t *testing.T) {
	var out buffer
	a := testApp(t.TempDir(), &out, &buffer{})
	spread, promised, offset, half := 210e-6, 1.4e-3, -3e-6, 40e-6
	in, address := agreement.Sync, "192.0.2.2:123"
	g := control.Group{
		Status: agreement.Sync, Members: 4, Faults: 1, SpreadS: &spread, PrecisionBoundS: &promised,
		Peers: []control.Peer{
			{Name: "b", Address: &address, Status: &in, Used: true, OffsetS: &offset, ErrorS: &half, Reach: 0o377, Received: 9, TransmitStamp: "kernel", ReceiveStamp: "kernel"},
			{Name: "c", Reason: reason.PeerSilent, Explanation: reason.PeerSilent.Explain()},
		},
	}
	a.showPeers(&g)
	text := out.String()
	for _, want := range []string{"sync, 2 of 4 members took part (1 may lie)", "promised 1.4", "192.0.2.2:123", "377", "kernel/kernel", "peer_silent", "! c: nothing fresh is known"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not shown in:\n%s", want, text)
		}
	}
	g.SpreadS, g.Reason, g.Explanation = nil, reason.GroupForming, reason.GroupForming.Explain()
	if line := groupLine(&g); strings.Contains(line, "spread 0") || !strings.Contains(line, reason.GroupForming.Explain()) {
		t.Errorf("an unknown spread is shown as %q", line)
	}
}
