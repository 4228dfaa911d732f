package web

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/testkit/browser"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// What would like to be markup or a script.
var hostile = []string{"<script>window.hacked=1</script>", "\"><img src=x onerror=window.hacked=1>", "</style><svg onload=window.hacked=1>", "`<b>x</b>`", "a\u202eb"}

// group is a host in a group of seven, one of whose members lies, one is away, and all have hostile names.
func group() *control.Snapshot {
	s := synchronised()
	s.Status.Mode, s.Status.BoundS, s.Status.Epoch, s.Status.UptimeS = "hybrid", pointer(80e-6), 3, 90_000
	s.Status.TimeNS = pointer(time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC).UnixNano())
	g := &control.Group{Status: agreement.Sync, Round: 4711, Members: 7, Faults: 2, SpreadS: pointer(90e-6), PrecisionBoundS: pointer(424e-6), EpsilonS: pointer(20e-6), ToUTCS: pointer(1e-3)}
	for i := range 6 {
		g.Peers = append(g.Peers, control.Peer{Name: hostile[i%len(hostile)] + fmt.Sprint(i), Used: i < 4, Status: pointer(agreement.Sync), OffsetS: pointer(float64(i) * 1e-6), ErrorS: pointer(15e-6),
			DelayS: pointer(80e-6), Reach: 0x7f, Received: 9, TransmitStamp: "kernel", ReceiveStamp: "kernel"})
	}
	g.Peers[4].Reason, g.Peers[5].Reason = reason.PeerEquivocates, reason.PeerSilent
	s.Status.Group, s.Status.Trouble = g, hostile
	for i, name := range hostile {
		s.Sources.Sources = append(s.Sources.Sources, control.Source{Name: name, Weight: 0.2, Reach: 0xff, Detail: hostile[0], Reason: reason.Code(i % 2 * int(reason.SourceResolve)), ReferenceID: &hostile[1], Stratum: pointer(uint8(1))})
	}
	s.Status.Sources = control.SourceCount{Configured: 5, Answering: 5, Used: 3, MaxFalse: 2}
	s.LowS, s.HighS, s.EstimateS, s.EstimateStdS = pointer(-80e-6), pointer(60e-6), pointer(2e-6), pointer(5e-6)
	return s
}

// aDay is what a daemon remembers of a day in which its clock was not known for an hour, and of hostile names.
func aDay() Memory {
	m := memory()
	m.Started = time.Now().Add(-25 * time.Hour)
	for i := range 90_000 {
		x := 60e-6 + 30e-6*math.Sin(float64(i)/9000)
		p := point{at: float64(i), bound: x, low: -x, high: x * 0.8, estimate: x / 20, std: x / 30, spread: x * 1.5, epsilon: 20e-6}
		if i > 40_000 && i < 44_000 {
			p.bound, p.low, p.high, p.estimate, p.std = math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()
		}
		m.History.add(p)
	}
	for i, name := range hostile {
		m.Journal.Add(journal.Entry{Topic: journal.TopicSource, Name: name, Reason: reason.Code(i % 2 * int(reason.SourceFalseticker)), Value: 0.05})
	}
	m.Journal.Add(journal.Entry{Topic: journal.TopicClock, Status: virtualclock.Disrupted, Reason: reason.HostSuspended})
	return m
}

// become has the daemon say something else from now on.
func become(s *Server, next *control.Snapshot) {
	s.pages.mu.Lock()
	defer s.pages.mu.Unlock()
	s.pages.ask, s.pages.last = says(next), nil
}

// TestEverythingThatAPageShows: each sort of verdict has its own words, sign and colours that can be read; a group's page has its peers
// and its precision, a day of history; and what would like to be a script is text.
func TestEverythingThatAPageShows(t *testing.T) {
	t.Parallel()
	s := New(loopback(), says(synchronised()), aDay(), "test", quiet())
	t.Cleanup(s.Close)
	s.Listen()
	b := browser.Open(t, "http://"+s.Addresses()[0].String()+"/", "html[data-ready]")
	b.Size(1000, 700, false)
	verdicts(t, s, b)
	become(s, group())
	hostileGroup(t, b)
	for _, text := range b.Trouble() {
		t.Error(text)
	}
}

func verdicts(t *testing.T, s *Server, b *browser.Browser) {
	t.Helper()
	for _, c := range []struct {
		level  string
		status virtualclock.Status
		why    reason.Code
		uptime float64
		dark   bool
	}{{"caution", virtualclock.Holdover, reason.Stale, 900, false}, {"bad", virtualclock.Unsynchronised, reason.NoMajority, 900, true},
		{"waiting", virtualclock.Unsynchronised, reason.NeverSynchronised, 2, true}, {"good", virtualclock.Synchronised, reason.OK, 900, false}} {
		next := synchronised()
		next.Status.Status, next.Status.Reason, next.Status.UptimeS = c.status, c.why, c.uptime
		become(s, next)
		b.Dark(c.dark)
		b.WaitFor("the verdict "+c.level, fmt.Sprintf("document.querySelector('#verdict').dataset.level === %q", c.level))
		b.Accessible(c.level, "#verdict")
		if said := browser.Eval[string](b, "document.querySelector('#announce').textContent"); !strings.HasPrefix(said, browser.Eval[string](b, "document.querySelector('#title').textContent")) {
			t.Errorf("%s: a screen reader hears %q", c.level, said)
		}
	}
}

func hostileGroup(t *testing.T, b *browser.Browser) {
	t.Helper()
	b.Size(1280, 900, false)
	b.WaitFor("the group", "!document.querySelector('#peers').hidden && !document.querySelector('#precision').hidden")
	b.Run(chromedp.Click("[data-range='86400']", chromedp.ByQuery), chromedp.Sleep(300*time.Millisecond))
	if browser.Eval[bool](b, "'hacked' in window || document.scripts.length !== 1 || document.querySelector('img') !== null") {
		t.Error("a name was run as a script, or became markup")
	}
	if browser.Eval[bool](b, "document.body.textContent.includes('\u202e')") {
		t.Error("a name turns the writing's direction")
	}
	for selector, want := range map[string]string{"#peer-rows": hostile[0] + "0", "#source-rows": hostile[1], "#trouble": hostile[2], "#event-rows": hostile[0]} {
		if text := browser.Eval[string](b, fmt.Sprintf("document.querySelector(%q).textContent", selector)); !strings.Contains(text, want) {
			t.Errorf("%s does not show %q: %s", selector, want, text)
		}
	}
	b.WaitFor("three pictures", "[...document.querySelectorAll('figure')].filter(f => !f.hidden && f.querySelector('canvas').width > 200 && /µs/.test(f.querySelector('.plot').getAttribute('aria-label'))).length === 3")
	if wide := browser.Eval[int](b, "document.documentElement.scrollWidth"); wide > 1280 {
		t.Errorf("hostile names make the page %d wide", wide)
	}
	b.Picture("page-group-day.png")
	b.Size(320, 700, true)
	b.Run(chromedp.Sleep(300 * time.Millisecond))
	if wide := browser.Eval[int](b, "document.documentElement.scrollWidth"); wide > 320 {
		t.Errorf("on a small phone the page is %d wide", wide)
	}
	b.Accessible("group", "")
}

// TestTheBrowserShowsTheToken: a browser that was given the token as a password gets the page, and its stream, over TLS.
func TestTheBrowserShowsTheToken(t *testing.T) {
	t.Parallel()
	_, at := open(t, certificate(t), says(synchronised()))
	b := browser.Open(t, "https://wall:0123456789abcdef@"+at+"/", "html[data-ready]", "ignore-certificate-errors")
	b.WaitFor("a verdict", "document.querySelector('#verdict').dataset.level === 'good'")
	for _, text := range b.Trouble() {
		t.Error(text)
	}
	for _, asked := range b.Requests() {
		if strings.Contains(asked, "/stream") && strings.Contains(asked, "0123456789abcdef") {
			t.Error("the token is in an address that the page asks for")
		}
	}
}
