package config

import (
	"strings"
	"testing"
	"time"
)

// peerFile is a member with one peer, and what else is written.
func peerFile(rest string) string {
	return identity + "[server]\n[[peer]]\naddress = \"b.example\"\npublic_key = \"" + alice + "\"\n" + rest
}

func TestMistakesOfPeersAreSaid(t *testing.T) {
	for _, c := range []struct{ name, document, message string }{
		{"no address", identity + "[server]\n[[peer]]\npublic_key = \"" + alice + "\"\n", "a peer needs an address"},
		{"no key", identity + "[server]\n[[peer]]\naddress = \"b\"\n", "a peer needs its public key"},
		{"no identity", "[server]\n[[peer]]\naddress = \"b\"\npublic_key = \"" + alice + "\"\n", "run clockd keygen"},
		{"no server", identity + "[[peer]]\naddress = \"b\"\npublic_key = \"" + alice + "\"\n", "add [server]"},
		{"address twice", peerFile("[[peer]]\naddress = \"b.example\"\npublic_key = \"" + alice + "\"\n"), "must not vote twice"},
		{"key twice", peerFile("[[peer]]\naddress = \"c.example\"\npublic_key = \"" + alice + "\"\n"), "this is the key of peer[0] already"},
		{"agreement alone", source + "[agreement]\n", "there is no [[peer]]"},
		{"local too", peerFile("[local]\n"), "cannot be the reference too"},
		{"too many liars", peerFile("[agreement]\nfaults = 1\n"), "at least 4 are needed"},
		{"condition C1", peerFile("[agreement]\nreading_error = \"200ms\"\n"), "too short"},
		{"drift bound", peerFile("[agreement]\ndrift_bound = \"10ppm\"\n"), "below this host's"},
		{"period", peerFile("[agreement]\nperiod = \"1ms\"\n"), "out of range"},
		{"gain", peerFile("[agreement]\ngain = 2\n"), "out of range"},
		{"source without gain", peerFile(source), "write gain"},
		{"min_delay", peerFile("min_delay = \"1m\"\n"), "out of range"},
		{"unknown key", peerFile("pol = \"1s\"\n"), "[[peer]] has no key"},
		{"not a list", identity + "[server]\n[peer]\naddress = \"b\"\n", "double brackets"},
	} {
		_, err := Parse("f", []byte(c.document), testPaths())
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %q", c.name, err, c.message)
		}
	}
}

func TestAgreementIsReadAndCompleted(t *testing.T) {
	c, err := Parse("f", []byte(peerFile("")), testPaths())
	if err != nil {
		t.Fatal(err)
	}
	if c.Agreement == nil || *c.Agreement != defaultAgreement() || c.Peer[0].Name != "b.example" {
		t.Errorf("%+v, %+v", c.Agreement, c.Peer)
	}
	if p, to := c.Agreement.PollInterval(), c.Agreement.AnswerTimeout(); p != Duration(125*time.Millisecond) || to != p/2 {
		t.Errorf("poll %v, timeout %v", p, to)
	}
	c, err = Parse("f", []byte(peerFile(source+"[agreement]\nperiod = \"2s\"\nfaults = 0\nreading_error = \"1ms\"\ndrift_bound = \"60ppm\"\nrate_limit = \"20ppm\"\n"+
		"poll = \"100ms\"\ntimeout = \"30ms\"\ngain = 0.5\nexternal_error = \"2ms\"\nexternal_faults = 0\n")), testPaths())
	if err != nil {
		t.Fatal(err)
	}
	g := c.Agreement.Group(1)
	if g.Members != 2 || g.Faults != 0 || g.Period != 2*time.Second || g.ReadingError != 1e-3 || g.Drift != 60e-6 || g.RateLimit != 20e-6 ||
		g.PublicationDelay != 0.13 || g.Gain != 0.5 || g.ExternalError != 2e-3 || g.ExternalFaults != 0 {
		t.Errorf("%+v", g)
	}
}
