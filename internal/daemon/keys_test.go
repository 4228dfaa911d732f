package daemon

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// fixed is a source of "randomness" for identities.
type fixed byte

func (f fixed) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(f)
	}
	return len(p), nil
}

// identityFile makes an identity and returns its file and public line.
func identityFile(t *testing.T, n byte) (path, line string) {
	t.Helper()
	i, err := keys.Generate(fixed(n))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "identity")
	if err := i.Create(path); err != nil {
		t.Fatal(err)
	}
	return path, i.Public().String()
}

func writeKeys(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lockedReference is a reference that answers under keys only.
func lockedReference(t *testing.T, server, rest string) *running {
	t.Helper()
	document := fmt.Sprintf("[local]\nstratum = 3\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 100000\nburst = 100000\nrequire = [\"0.0.0.0/0\"]\n%s\n%s",
		testkit.FreeUDPPort(t), server, rest)
	return launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 0)})
}

// Hosts that know each other by their identities: who has no key, or another, learns nothing; the event log has no secret and
// replays.
func TestFollowerUnderAnIdentity(t *testing.T) {
	testkit.NoLeaks(t)
	serverKey, serverLine := identityFile(t, 1)
	clientKey, clientLine := identityFile(t, 2)
	strangerKey, _ := identityFile(t, 3)
	reference := lockedReference(t, fmt.Sprintf("public_keys = [%q]", clientLine), fmt.Sprintf("[identity]\nkey_file = %q\n", serverKey))
	address := reference.served[0].String()
	dir := t.TempDir()
	events := filepath.Join(dir, "events")
	follow := func(dir, key, rest string) *running {
		document := followerDocument(address, fmt.Sprintf("public_key = %q\n[identity]\nkey_file = %q\n%s", serverLine, key, rest))
		return launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, 21)})
	}
	follower := follow(dir, clientKey, fmt.Sprintf("[log]\nevents = %q\n", events))
	stranger := follow(t.TempDir(), strangerKey, "")
	nobody := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(address, "")), Counter: skewed(t, 21)})
	follower.reach(virtualclock.Synchronised)
	if n := contained(t, reference, follower, 500); n != 0 {
		t.Errorf("%d of 500 intervals do not contain true time", n)
	}
	if x := follower.sources().Sources[0]; x.Key != "identity "+serverLine || !x.Interleaved || x.Rejections[reason.PacketAuthentication.String()] != 0 ||
		x.Rejections[reason.SampleNegativeDelay.String()]+x.Rejections[reason.SampleEmptyInterval.String()] != 0 {
		t.Errorf("source %+v", x)
	}
	testkit.WaitFor(t, patience20, "the others to be refused", func() bool {
		s := reference.status().Server
		return s.Rejected[reason.RequestAuthentication.String()] > 2 && s.Rejected[reason.RequestUnauthenticated.String()] > 2
	})
	if s := reference.status().Server; s.Answers == 0 || s.AuthenticatedAnswers != s.Answers || s.InterleavedAnswers == 0 {
		t.Errorf("the reference's server %+v", s)
	}
	for name, r := range map[string]*running{"stranger": stranger, "nobody": nobody} {
		if s := r.status(); s.Status.Sound() || s.Sources.Answering != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if x := nobody.sources().Sources[0]; x.Key != "" || x.Reason != reason.SourceUnreachable {
		t.Errorf("without a key: %+v", x)
	}
	follower.stop()
	replayed(t, events, 30)
	noSecrets(t, events, clientKey)
	noSecrets(t, events, serverKey)
}

// noSecrets looks for the private key of a file in another.
func noSecrets(t *testing.T, path, keyFile string) {
	t.Helper()
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(strings.TrimSpace(string(key)), "clockd-private-1:")
	secret, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil || len(secret) != 36 {
		t.Fatalf("%q, %v", key, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{text, base64.StdEncoding.EncodeToString(secret[:30]), hex.EncodeToString(secret[:32]), string(secret[:32])} {
		if strings.Contains(string(b), s) {
			t.Errorf("%s holds the private key as %q", path, s)
		}
	}
}

// An attacker on the path changes the answers. Who has no key is led astray; who has one notices, keeps a true interval, and says
// that he has no news.
func TestTamperedAnswers(t *testing.T) {
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, "5 AES128 HEX:000102030405060708090A0B0C0D0E0F\n")
	file := fmt.Sprintf("[keys]\nfile = %q\n", path)
	document := fmt.Sprintf("[local]\nstratum = 3\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 100000\nburst = 100000\nkeys = [5]\n%s", testkit.FreeUDPPort(t), file)
	reference := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 0)})
	attacker := testkit.ShiftProxy(t, reference.served[0].String(), 0)
	short := "[clock]\nholdover_after = \"1s\"\nheartbeat = \"100ms\"\nlifetime = \"4s\"\n"
	locked := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(attacker.Address(), "key = 5\n"+file+short)), Counter: skewed(t, 11)})
	open := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(attacker.Address(), short)), Counter: skewed(t, 11)})
	locked.reach(virtualclock.Synchronised)
	open.reach(virtualclock.Synchronised)
	if n := contained(t, reference, locked, 200) + contained(t, reference, open, 200); n != 0 {
		t.Errorf("%d intervals do not contain true time although the path is honest", n)
	}
	attacker.SetShift(50 * time.Millisecond)
	testkit.WaitFor(t, patience20, "the host without a key to be led astray", func() bool {
		return open.status().Status == virtualclock.Synchronised && contained(t, reference, open, 1) == 1
	})
	if n := contained(t, reference, locked, 500); n != 0 {
		t.Errorf("%d of 500 intervals of the host with a key do not contain true time", n)
	}
	locked.reach(virtualclock.Holdover)
	if n := contained(t, reference, locked, 500); n != 0 {
		t.Errorf("%d of 500 intervals of the host with a key do not contain true time in holdover", n)
	}
	x := locked.sources().Sources[0]
	if x.Rejections[reason.PacketAuthentication.String()] < 5 || x.Reason != reason.PacketAuthentication || x.Key != "key 5 (AES128)" {
		t.Errorf("the source is %+v", x)
	}
	attacker.SetShift(0)
	locked.reach(virtualclock.Synchronised)
	if n := contained(t, reference, locked, 200); n != 0 {
		t.Errorf("%d of 200 intervals do not contain true time after the attack", n)
	}
}

// The keys are changed on both hosts without losing the clock; a file that is not good changes nothing.
func TestKeysAreReloaded(t *testing.T) {
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "keys")
	const first, second = "5 AES128 HEX:000102030405060708090A0B0C0D0E0F\n", "5 AES128 HEX:F00102030405060708090A0B0C0D0E0F\n6 MD5 tulip\n"
	writeKeys(t, path, first)
	file := fmt.Sprintf("[keys]\nfile = %q\n", path)
	reference := lockedReference(t, "keys = [5]", file)
	dir := t.TempDir()
	follower := launch(t, Options{Config: parse(t, dir, followerDocument(reference.served[0].String(), "key = 5\n"+file)), Counter: skewed(t, -13)})
	follower.reach(virtualclock.Synchronised)
	same := func() (*config.Config, error) {
		return parse(t, dir, followerDocument(reference.served[0].String(), "key = 5\n"+file)), nil
	}
	// Nothing has changed: what is known of the source stays.
	before := follower.sources().Sources[0].Samples
	follower.reloadWith(same)
	if after := follower.sources().Sources[0].Samples; after < before {
		t.Errorf("a reload without a change left %d samples of %d", after, before)
	}
	for _, bad := range []string{"5 AES128 HEX:00\n", "6 AES128 HEX:000102030405060708090A0B0C0D0E0F\n", "?"} {
		writeKeys(t, path, bad)
		follower.reloadWith(same)
		if e := follower.status().Config.Error; !strings.Contains(e, path) || !strings.Contains(e, "stays in force") {
			t.Errorf("with keys %q: %q", bad, e)
		}
		// The error goes away with the next good one.
		writeKeys(t, path, first)
		follower.reloadWith(same)
	}
	if follower.status().Status != virtualclock.Synchronised {
		t.Error("the clock was lost")
	}
	// The server first: until the client has the new key, it hears nothing.
	writeKeys(t, path, second)
	reference.reloadWith(func() (*config.Config, error) { return reference.config, nil })
	refused := func() uint64 {
		s := reference.status().Server
		if s == nil {
			return 0
		}
		return s.Rejected[reason.RequestAuthentication.String()]
	}
	testkit.WaitFor(t, patience20, "the old key to be refused", func() bool { return refused() > 2 })
	epoch := follower.status().Epoch
	follower.reloadWith(same)
	testkit.WaitFor(t, patience20, "answers under the new key", func() bool {
		x := follower.sources().Sources[0]
		return x.Samples > 3 && x.Reason == reason.OK
	})
	if s := follower.status(); s.Epoch != epoch || !s.Status.Sound() {
		t.Errorf("epoch %d became %d, %v", epoch, s.Epoch, s.Status)
	}
	if n := contained(t, reference, follower, 200); n != 0 {
		t.Errorf("%d of 200 intervals do not contain true time", n)
	}
}

// A daemon whose keys are not there does not start, and says what to do.
func TestMissingKeysAreTold(t *testing.T) {
	dir := t.TempDir()
	path, open, key := filepath.Join(dir, "keys"), filepath.Join(dir, "open"), filepath.Join(dir, "identity")
	writeKeys(t, path, "5 AES128 HEX:000102030405060708090A0B0C0D0E0F\n")
	writeKeys(t, open, "5 AES128 HEX:000102030405060708090A0B0C0D0E0F\n")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	own, ownLine := identityFile(t, 1)
	_, other := identityFile(t, 2)
	for document, want := range map[string]string{
		"key = 6\n[keys]\nfile = \"" + path + "\"\n":                                              "source[0]: " + path + " has no key 6; add a line such as: 6 AES128 HEX:",
		"key = 5\n[keys]\nfile = \"" + path + "x\"\n":                                             "no such file",
		"key = 5\n[keys]\nfile = \"" + open + "\"\n":                                              "chmod 600",
		"public_key = \"" + other + "\"\n[identity]\nkey_file = \"" + key + "\"\n":                "clockd keygen --out " + key,
		"public_key = \"" + other + "\"\n[identity]\nkey_file = \"" + path + "\"\n":               "a key of this kind begins with",
		"public_key = \"" + ownLine + "\"\n[identity]\nkey_file = \"" + own + "\"\n":              "source[0]: keys: this is the host's own public key",
		"[server]\npublic_keys = [\"" + ownLine + "\"]\n[identity]\nkey_file = \"" + own + "\"\n": "server.public_keys[0]: keys: this is the host's own public key",
		"[keys]\nfile = \"" + path + "\"\n[server]\nkeys = [5, 7]\n":                              "server.keys[1]: " + path + " has no key 7",
	} {
		c := parse(t, dir, followerDocument("192.0.2.1", document))
		if err := CheckKeys(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", document, err, want)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience20)
		if err := Run(ctx, Options{Config: c, Counter: skewed(t, 0)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nRun: %v, want %q", document, err, want)
		}
		cancel()
		if _, err := os.Stat(c.Page.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a daemon that cannot start made a page: %v", err)
		}
	}
	if err := CheckKeys(parse(t, dir, followerDocument("192.0.2.1", ""))); err != nil {
		t.Errorf("no keys at all: %v", err)
	}
}

// Keys that can be guessed are used, since others prescribe them, and named.
func TestWeakKeysAreNamed(t *testing.T) {
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, "5 tulip\n6 AES128 HEX:000102030405060708090A0B0C0D0E0F\n")
	reference := lockedReference(t, "keys = [5, 6]", fmt.Sprintf("[keys]\nfile = %q\n", path))
	if l := reference.log.String(); !strings.Contains(l, "fewer than 80 bits") || !strings.Contains(l, "key 5 (MD5)") || strings.Contains(l, "key 6") || strings.Contains(l, "tulip") {
		t.Errorf("log:\n%s", l)
	}
}

// A real chronyd and a daemon read the same keys file: the one is the other's master.
func TestChronydIsTheMasterUnderAKey(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.RequireTool(t, "chronyd")
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, "# both read this\n30 AES128 HEX:7EA62AE64D190114D46D5A082F948EC1\n25 SHA1 HEX:933F62BE1D604E68A81B557F18CFA200483F5B70\n")
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5, Extra: []string{"keyfile " + path}})
	for _, key := range []int{30, 25} {
		document := followerDocument(server.Address(), fmt.Sprintf("key = %d\n[keys]\nfile = %q\n", key, path))
		follower := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 9)})
		follower.reach(virtualclock.Synchronised)
		testkit.WaitFor(t, patience20, "samples under the key", func() bool { return follower.sources().Sources[0].Samples > 10 })
		x := follower.sources().Sources[0]
		if !strings.HasPrefix(x.Key, fmt.Sprintf("key %d (", key)) || x.Stratum == nil || *x.Stratum != 5 || x.Rejections[reason.PacketAuthentication.String()] != 0 {
			t.Errorf("%+v", x)
		}
		follower.stop()
	}
}
