package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// ntsMaster is a clockd that is the reference and speaks NTS.
type ntsMaster struct {
	*running
	dir      string
	ntp, nts int // ports
	document string
}

// launchNTS starts one with that certificate. rest goes to the end of [nts_server].
func launchNTS(t *testing.T, certificate, key, rest string) *ntsMaster {
	t.Helper()
	m := &ntsMaster{dir: t.TempDir(), ntp: testkit.FreeUDPPort(t), nts: testkit.FreeUDPPort(t)}
	m.document = fmt.Sprintf("[local]\nstratum = 3\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 100000\nburst = 100000\n"+
		"[nts_server]\nlisten = [\"127.0.0.1:%d\"]\ncert_file = %q\nkey_file = %q\nrate = 100\n%s\n", m.ntp, m.nts, certificate, key, rest)
	m.start(t)
	return m
}

func (m *ntsMaster) start(t *testing.T) {
	t.Helper()
	m.running = launch(t, Options{Config: parse(t, m.dir, m.document), Counter: skewed(t, 0)})
}

// followNTS is the configuration of a daemon that follows it.
func (m *ntsMaster) followNTS(ca *testkit.CA, rest string) string {
	return followerDocument("127.0.0.1", fmt.Sprintf("nts = true\nnts_port = %d\nnts_ca = %q\n%s", m.nts, ca.File, rest))
}

func (r *running) source() control.Source {
	r.t.Helper()
	return r.sources().Sources[0]
}

func TestNTSBetweenDaemons(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	master := launchNTS(t, certificate, key, "")
	follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 30)})
	follower.reach(virtualclock.Synchronised)
	testkit.WaitFor(t, patience20, "interleaved answers", func() bool { x := follower.source(); return x.Interleaved && x.Received > 10 })
	x := follower.source()
	if x.Authentication != "nts" || x.Key != "NTS (AES-SIV-CMAC-256)" || x.NTS == nil || x.NTS.Cookies < 6 || x.NTS.Exchanges != 1 || !x.NTS.DatesChecked ||
		*x.Address != fmt.Sprintf("127.0.0.1:%d", master.ntp) || len(x.NTS.Failures) != 0 {
		t.Errorf("%+v %+v", x, x.NTS)
	}
	if n := contained(t, master.running, follower, 100); n > 0 {
		t.Errorf("%d of 100 intervals do not contain the reference's time", n)
	}
	s := master.status().Server
	if s.NTSAnswers < 10 || s.NTS == nil || s.NTS.Exchanges != 1 || s.NTS.CookieKeys != 1 || s.AuthenticatedAnswers != 0 {
		t.Errorf("the server: %+v %+v", s, s.NTS)
	}
	info, err := os.Stat(filepath.Join(master.dir, "nts-cookie-keys"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keys of the cookies: %v, %v", info, err)
	}

	// A restart with the file costs nobody his keys.
	master.stop()
	master.start(t)
	before := follower.source().Received
	testkit.WaitFor(t, patience20, "answers after the restart", func() bool { return follower.source().Received > before+5 })
	// (If the restart took long, all cookies were spent on requests that nobody answered, and keys were exchanged for that.)
	if x := follower.source(); x.Rejections[reason.KissNTSN.String()] != 0 {
		t.Errorf("after a restart with the keys: %+v %v", x.NTS, x.Rejections)
	}
	// With others, the server says NTSN, and keys are exchanged anew.
	exchanges := follower.source().NTS.Exchanges
	other := master.document + fmt.Sprintf("cookie_key_file = %q\n", filepath.Join(master.dir, "others"))
	master.reloadWith(func() (*config.Config, error) { return parse(t, master.dir, other), nil })
	testkit.WaitFor(t, patience20, "new keys", func() bool { return follower.source().NTS.Exchanges > exchanges })
	before = follower.source().Received
	testkit.WaitFor(t, patience20, "answers under new keys", func() bool { return follower.source().Received > before+5 })
	if x := follower.source(); x.Rejections[reason.KissNTSN.String()] == 0 {
		t.Errorf("under other cookie keys: %v", x.Rejections)
	}
	if s := master.status().Server; s.Rejected[reason.RequestNTSCookie.String()] == 0 {
		t.Errorf("the server: %+v", s)
	}
}

// Cookie keys go round: a client that goes on asking never notices.
func TestNTSRotation(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	master := launchNTS(t, certificate, key, "rotate = \"1s\"\n")
	follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 0)})
	follower.reach(virtualclock.Synchronised)
	testkit.WaitFor(t, patience20, "four keys", func() bool { return master.status().Server.NTS.CookieKeys == 4 })
	before := follower.source().Received
	testkit.WaitFor(t, patience20, "answers", func() bool { return follower.source().Received > before+5 })
	x := follower.source()
	if x.NTS.Exchanges > 1 && x.Rejections[reason.KissNTSN.String()] == 0 {
		t.Errorf("%+v %v", x.NTS, x.Rejections)
	}
	master.stop()
	text, err := os.ReadFile(filepath.Join(master.dir, "nts-cookie-keys"))
	if err != nil || strings.Count(string(text), "clockd-nts-master-1") != 4 {
		t.Errorf("%v, %d bytes", err, len(text))
	}
}

// A real chronyd gives keys and answers.
func TestNTSWithAChronydAsServer(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	port := testkit.FreeUDPPort(t)
	dump := t.TempDir()
	chronyd := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5, Extra: []string{
		fmt.Sprintf("ntsport %d", port), "ntsserverkey " + key, "ntsservercert " + certificate, "ntsdumpdir " + dump,
	}})
	document := followerDocument("127.0.0.1", fmt.Sprintf("nts = true\nnts_port = %d\nnts_ca = %q\n", port, ca.File))
	// Slowly, so that there are cookies left when it is back from its restart.
	document = strings.Replace(document, "poll = \"100ms\"", "poll = \"1s\"", 1)
	follower := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 20)})
	follower.reach(virtualclock.Synchronised)
	testkit.WaitFor(t, patience20, "interleaved answers", func() bool { x := follower.source(); return x.Interleaved && x.Received > 6 })
	x := follower.source()
	if x.Authentication != "nts" || *x.Address != chronyd.Address() || *x.Stratum != 5 || x.NTS.Exchanges != 1 || x.NTS.Cookies < 6 {
		t.Errorf("%+v %+v", x, x.NTS)
	}
	// It restarts and has forgotten its keys.
	chronyd.Kill()
	for _, f := range []string{"ntskeys"} {
		_ = os.Remove(filepath.Join(dump, f))
	}
	chronyd.Start()
	testkit.WaitFor(t, patience20, "new keys", func() bool { return follower.source().NTS.Exchanges >= 2 })
	before := follower.source().Received
	testkit.WaitFor(t, patience20, "answers under new keys", func() bool { return follower.source().Received > before+1 })
	if x := follower.source(); x.Rejections[reason.KissNTSN.String()] == 0 {
		t.Errorf("%v", x.Rejections)
	}
}

// A real chronyd gets keys and asks.
func TestNTSWithAChronydAsClient(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	master := launchNTS(t, certificate, key, "rotate = \"2s\"\n")
	chronyd := testkit.StartChronyd(t, testkit.ChronyOptions{
		ClientOnly: true, Extra: []string{"ntstrustedcerts " + ca.File},
		Servers: []testkit.ChronyServer{{Address: fmt.Sprintf("127.0.0.1:%d", master.ntp), MinPoll: -4, MaxPoll: -4, Interleaved: true,
			Extra: []string{"iburst", "nts", "ntsport", strconv.Itoa(master.nts)}}},
	})
	good := func(more int) func() bool {
		return func() bool { return chronyd.Data("127.0.0.1").Good >= more }
	}
	testkit.WaitFor(t, patience20, "chronyd's samples", good(20))
	if d := chronyd.Data("127.0.0.1"); d.Stratum != 3 || !d.Interleaved {
		t.Errorf("%+v", d)
	}
	// Mode, key id, key type and length, last exchange, attempts, NAK, cookies, length of a cookie.
	row := strings.Split(strings.TrimSpace(chronyd.Chronyc("authdata")), ",")
	if len(row) < 10 || row[1] != "NTS" || row[3] != "15" || row[8] == "0" {
		t.Errorf("chronyc authdata: %q", row)
	}
	// Over a restart of the server, and over rotations, the keys stay good.
	testkit.WaitFor(t, patience20, "rotations", func() bool { return master.status().Server.NTS.CookieKeys >= 2 })
	master.stop()
	master.start(t)
	testkit.WaitFor(t, patience20, "samples after the restart", good(chronyd.Data("127.0.0.1").Good+20))
	if s := master.status().Server; s.Rejected[reason.RequestNTSCookie.String()] != 0 || s.NTSAnswers < 20 {
		t.Errorf("%+v %+v", s, s.NTS)
	}
}

// The clock begins 50 years wrong, both ways, and the certificate's dates are far from it.
func TestNTSAtAColdStartFiftyYearsWrong(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	master := launchNTS(t, certificate, key, "")
	for name, years := range map[string]int{"behind": -50, "ahead": 50} {
		t.Run(name, func(t *testing.T) {
			wrong := func(hw.Ticks) virtualclock.Time {
				return virtualclock.Unix(time.Now().AddDate(years, 0, 0).UnixNano(), 0)
			}
			follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 0), Realtime: wrong})
			follower.reach(virtualclock.Synchronised)
			testkit.WaitFor(t, patience20, "the dates to be checked", func() bool { return follower.source().NTS.DatesChecked })
			if n := contained(t, master.running, follower, 100); n > 0 {
				t.Errorf("%d of 100 intervals do not contain the reference's time", n)
			}
			follower.stop()
			// With the stricter rule there is no time, and the reason is told.
			follower = launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "nts_time_check = \"always\"\n")), Counter: skewed(t, 0), Realtime: wrong})
			testkit.WaitFor(t, patience20, "the reason", func() bool { return follower.source().Reason == reason.KeyExchangeCertificateTime })
			if s := follower.status(); s.Status.Sound() || len(s.Trouble) == 0 || !strings.Contains(s.Trouble[0], "it is valid from") {
				t.Errorf("%v %v", s.Status, s.Trouble)
			}
			follower.stop()
		})
	}
}

// A certificate has ended, and its key fell into other hands. To a host whose clock is wrong it is shown again: it is
// believed until there is a time, and then no longer.
func TestNTSExpiredCertificate(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.Issue(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour), "127.0.0.1")
	master := launchNTS(t, certificate, key, "")
	wrong := func(hw.Ticks) virtualclock.Time {
		return virtualclock.Unix(time.Now().AddDate(-50, 0, 0).UnixNano(), 0)
	}
	follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 0), Realtime: wrong})
	testkit.WaitFor(t, patience20, "the source to be dropped", func() bool {
		x := follower.source()
		return x.Reason == reason.KeyExchangeCertificateTime && x.NTS.AEAD == ""
	})
	// The only source: what the clock rested on is gone, and it comes to nothing again.
	for range 30 {
		if s := follower.status(); s.Status.Sound() {
			t.Fatalf("the clock is %v on the word of an ended certificate", s.Status)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if follower.heard("STATUS=synchronised") {
		t.Error("the clock was called synchronised for a while")
	}
	// A host whose clock is right does not begin to believe it.
	right := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 0)})
	testkit.WaitFor(t, patience20, "the reason", func() bool {
		return right.source().Reason == reason.KeyExchangeCertificateTime || right.source().NTS.Exchanges > 0
	})
}

// One of three is shown an ended certificate: it is dropped, the others outvote it, and the clock goes on.
func TestNTSExpiredCertificateAmongOthers(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	good, goodKey := ca.IssueNow("127.0.0.1")
	ended, endedKey := ca.Issue(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour), "127.0.0.1")
	masters := []*ntsMaster{launchNTS(t, good, goodKey, ""), launchNTS(t, ended, endedKey, ""), launchNTS(t, good, goodKey, "")}
	document := ""
	for _, m := range masters {
		document += followerDocument(fmt.Sprintf("127.0.0.1:%d", m.ntp), fmt.Sprintf("nts = true\nnts_port = %d\nnts_ca = %q\n", m.nts, ca.File))
	}
	wrong := func(hw.Ticks) virtualclock.Time { return virtualclock.Unix(time.Now().AddDate(50, 0, 0).UnixNano(), 0) }
	follower := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 0), Realtime: wrong})
	testkit.WaitFor(t, patience20, "the clock to be set, and the one to be dropped", func() bool {
		return follower.status().Status == virtualclock.Synchronised && follower.sources().Sources[1].Reason == reason.KeyExchangeCertificateTime
	})
	if n := contained(t, masters[0].running, follower, 100); n > 0 {
		t.Errorf("%d of 100 intervals do not contain the reference's time", n)
	}
	if s := follower.status(); s.Epoch > 1 || s.Reports[reason.KeyExchangeCertificateTime.String()] != 0 && s.Status != virtualclock.Synchronised {
		t.Errorf("epoch %d, %v", s.Epoch, s.Reports)
	}
	if follower.heard("STATUS=disrupted") {
		t.Error("the clock was disrupted")
	}
}

// Names, chains and protocols that are wrong give no keys, whatever the time is.
func TestNTSWrongCertificates(t *testing.T) {
	testkit.NoLeaks(t)
	ca, other := testkit.NewCA(t), testkit.NewCA(t)
	for name, c := range map[string]struct {
		by   *testkit.CA
		name string
	}{"another name": {ca, "ntp.example.org"}, "another authority": {other, "127.0.0.1"}} {
		t.Run(name, func(t *testing.T) {
			certificate, key := c.by.IssueNow(c.name)
			master := launchNTS(t, certificate, key, "")
			follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 0)})
			testkit.WaitFor(t, patience20, "the reason", func() bool { return follower.source().Reason == reason.KeyExchangeCertificate })
			if x := follower.source(); x.Rejections[reason.KeyExchangeCertificate.String()] == 0 || x.Sent != 0 && x.Received != 0 {
				t.Errorf("%v", x.Rejections)
			}
			testkit.WaitFor(t, patience20, "the server to count it", func() bool {
				return master.status().Server.NTS.Rejected[reason.KeyExchangeConnect.String()] > 0
			})
			follower.stop()
			master.stop()
		})
	}
}

func TestNTSThroughAReload(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	master := launchNTS(t, certificate, key, "")
	dir := t.TempDir()
	plain := followerDocument(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(master.ntp)).String(), "")
	follower := launch(t, Options{Config: parse(t, dir, plain), Counter: skewed(t, 0)})
	follower.reach(virtualclock.Synchronised)
	follower.reloadWith(func() (*config.Config, error) { return parse(t, dir, master.followNTS(ca, "")), nil })
	testkit.WaitFor(t, patience20, "answers under NTS", func() bool { x := follower.source(); return x.NTS != nil && x.Received > 3 })
	follower.reloadWith(func() (*config.Config, error) { return parse(t, dir, plain), nil })
	testkit.WaitFor(t, patience20, "answers without", func() bool { x := follower.source(); return x.NTS == nil && x.Received > 3 })
}
