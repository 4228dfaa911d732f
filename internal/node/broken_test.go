package node

import (
	"math"
	"testing"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// TestDriftBeyondBound: an oscillator that does not keep its drift bound. At first nobody can know; then the status must turn bad and
// stay bad, whatever contradictions come and go.
func TestDriftBeyondBound(t *testing.T) {
	for _, skew := range []float64{60e-6, 90e-6, 300e-6, -120e-6} {
		s := newStage(t, 31, oneSource(4), map[int]*server{1: lan()})
		s.skew = skew
		s.start()
		s.run(300)
		wrong, checks, sound := s.wrong, s.checks, 0
		for range 300 {
			s.run(1)
			if s.status().Sound() {
				sound++
			}
		}
		if sound > 0 {
			t.Errorf("skew %g: sound in %d of 300 s long after the drift bound was seen to be broken (reason %v)", skew, sound, s.pub.Reason)
		}
		if s.wrong > wrong {
			t.Errorf("skew %g: %d of %d intervals wrong", skew, s.wrong-wrong, s.checks-checks)
		}
	}
}

// TestDriftNearBound: one that just keeps it is not accused.
func TestDriftNearBound(t *testing.T) {
	for _, skew := range []float64{49.99e-6, -49.99e-6} {
		s := newStage(t, 32, oneSource(4), map[int]*server{1: lan()})
		s.skew = skew
		s.start()
		s.run(600)
		s.expectStatus(virtualclock.Synchronised, reason.OK)
		s.expect()
	}
}

// TestServerThatJumpsAbout: the only server contradicts itself again and again. After the third time it is not believed; when it has
// been quiet for long enough, it is.
func TestServerThatJumpsAbout(t *testing.T) {
	v := lan()
	s := newStage(t, 33, oneSource(1), map[int]*server{1: v})
	s.start()
	s.run(20)
	for range 5 {
		v.offset += 0.1
		s.run(6)
	}
	s.expectStatus(virtualclock.Unsynchronised, reason.Contradiction)
	s.run(60)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	if math.Abs(s.clockError()-v.offset) > 100e-6 {
		t.Errorf("error %g", s.clockError())
	}
}

// TestReasonsOfALoneSource: the clock and the source say what is the matter, not only that something is.
func TestReasonsOfALoneSource(t *testing.T) {
	for name, c := range map[string]struct {
		server server
		want   reason.Code
	}{
		"dead":           {server{dead: true}, reason.SourceUnreachable},
		"unsynchronised": {server{leap: 3}, reason.ServerUnsynchronised},
		"wide":           {server{claims: 5}, reason.ServerRootDistance},
		"forged":         {server{wrongNonce: true}, reason.PacketOrigin},
		"deny":           {server{kiss: "DENY"}, reason.KissDeny},
		"late":           {server{delay: 0.15}, reason.PacketLate},
	} {
		v := c.server
		s := newStage(t, 34, oneSource(1), map[int]*server{1: &v})
		s.start()
		s.run(30)
		s.expectStatus(virtualclock.Unsynchronised, c.want)
		if got := s.node.Snapshot(s.ticks()).Sources[0].Reason; got != c.want {
			t.Errorf("%s: the source's reason is %v, want %v", name, got, c.want)
		}
		s.expect("source 1 " + c.want.String())
	}
}

// TestFalsetickerDoesNotFillTheLog: a source at the edge of the proved interval changes its verdict with every sample; people are not
// told each time.
func TestFalsetickerDoesNotFillTheLog(t *testing.T) {
	servers := map[int]*server{1: lan(), 2: lan(), 3: lan(), 4: {delay: 50e-6, queue: 60e-6, offset: 130e-6}}
	s := newStage(t, 35, Config{Sources: sources(4, 1), MaxFalse: -1}, servers)
	s.start()
	s.run(600)
	lines := 0
	for _, l := range s.story {
		if len(l) > 4 && containsSource(l) {
			lines++
		}
	}
	if lines > 60 {
		t.Errorf("%d lines on one source in ten minutes", lines)
	}
}

func containsSource(line string) bool {
	for i := range len(line) - 8 {
		if line[i:i+8] == "source 4" {
			return true
		}
	}
	return false
}

// TestQuickRetry: half of the requests are lost; the clock does not flap into holdover.
func TestQuickRetry(t *testing.T) {
	v := lan()
	v.loss = 0.5
	s := newStage(t, 36, oneSource(4), map[int]*server{1: v})
	s.start()
	s.run(30)
	holdovers := 0
	for range 600 {
		s.run(1)
		if s.status() != virtualclock.Synchronised {
			holdovers++
		}
	}
	if holdovers > 12 {
		t.Errorf("not synchronised in %d of 600 s with half of the packets lost", holdovers)
	}
	s.expect()
}
