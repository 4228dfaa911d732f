package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/testkit"
)

func TestKeygen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	code, out, err := runLine(t, dir, "keygen", "--out", path)
	line := strings.TrimSuffix(out, "\n")
	if code != cli.OK || err != "" {
		t.Fatalf("exit %d, %q, %q", code, out, err)
	}
	if _, e := keys.ParsePublicKey(line); e != nil || strings.ContainsAny(line, " \n") {
		t.Errorf("printed %q: %v", out, e)
	}
	if info, e := os.Stat(path); e != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, e)
	}
	before, e := os.ReadFile(path)
	if e != nil || strings.Contains(string(before), line) {
		t.Errorf("the file %s, %v", before, e)
	}
	if code, _, err := runLine(t, dir, "keygen", "--out", path); code != cli.Error || !strings.Contains(err, "not overwritten") || !strings.Contains(err, "--show") {
		t.Errorf("again: exit %d, %s", code, err)
	}
	if after, e := os.ReadFile(path); e != nil || string(after) != string(before) {
		t.Errorf("the file was changed: %v", e)
	}
	if code, shown, err := runLine(t, dir, "keygen", "--show", path); code != cli.OK || shown != out {
		t.Errorf("--show: exit %d, %q, %s", code, shown, err)
	}
	code, shown, _ := runLine(t, dir, "keygen", "--show", path, "--json")
	if m := decode(t, shown); code != cli.OK || m["public_key"] != line || m["file"] != path {
		t.Errorf("--json: exit %d, %s", code, shown)
	}
	if other := filepath.Join(dir, "other"); true {
		if _, out, _ := runLine(t, dir, "keygen", "--out", other); out == line+"\n" {
			t.Error("two keys are the same")
		}
	}
}

func TestKeygenRefuses(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.WriteFile(open, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"keygen", "--out", filepath.Join(dir, "none", "x")}, cli.Error, "no such file"},
		{[]string{"keygen", "--show", filepath.Join(dir, "none")}, cli.Error, "clockd keygen --out"},
		{[]string{"keygen", "--show", open}, cli.Error, "chmod 600"},
		{[]string{"keygen", "--show", open, "--out", open}, cli.Usage, "one of the two"},
		{[]string{"keygen", "more"}, cli.Usage, ""},
	} {
		if code, out, err := runLine(t, dir, c.args...); code != c.code || out != "" || !strings.Contains(err, c.says) {
			t.Errorf("%v: exit %d, %q, %s", c.args, code, out, err)
		}
	}
}

// check looks into the key files that a configuration names.
func TestCheckLooksForTheKeys(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "clockd.toml"), filepath.Join(dir, "keys")
	document := fmt.Sprintf("[[source]]\naddress = \"192.0.2.1\"\nkey = 7\n[keys]\nfile = %q\n", file)
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, err := runLine(t, dir, "check", path); code != cli.Error || !strings.Contains(err, "no such file") {
		t.Errorf("no file: exit %d, %s", code, err)
	}
	if err := os.WriteFile(file, []byte("8 AES128 HEX:000102030405060708090A0B0C0D0E0F\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := runLine(t, dir, "check", path, "--json")
	m := decode(t, out)
	if problems, _ := m["problems"].([]any); code != cli.Error || m["ok"] != false || len(problems) != 1 || !strings.Contains(out, "has no key 7") {
		t.Errorf("no key: exit %d, %s", code, out)
	}
	if err := os.WriteFile(file, []byte("7 AES128 HEX:000102030405060708090A0B0C0D0E0F\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, err := runLine(t, dir, "check", path); code != cli.OK || !strings.Contains(out, "good") {
		t.Errorf("good: exit %d, %s%s", code, out, err)
	}
}

// As a user does it: two hosts make keys, exchange lines, and one follows the other under them.
func TestHostsExchangeTheirLines(t *testing.T) {
	testkit.NoLeaks(t)
	port := testkit.FreeUDPPort(t)
	master, host := t.TempDir(), t.TempDir()
	line := func(dir string) string {
		code, out, err := runLine(t, dir, "keygen", "--out", filepath.Join(dir, "identity"))
		if code != cli.OK {
			t.Fatalf("exit %d, %s", code, err)
		}
		return strings.TrimSpace(out)
	}
	masterLine, hostLine := line(master), line(host)
	identity := func(dir string) string {
		return fmt.Sprintf("[identity]\nkey_file = %q\n", filepath.Join(dir, "identity"))
	}
	start(t, master, fmt.Sprintf("[local]\nstratum = 2\n[server]\nlisten = [\"127.0.0.1:%d\"]\npublic_keys = [%q]\nrequire = [\"0.0.0.0/0\"]\n%s", port, hostLine, identity(master)))
	start(t, host, fmt.Sprintf("[[source]]\naddress = \"127.0.0.1:%d\"\npoll = \"250ms\"\npublic_key = %q\n%s", port, masterLine, identity(host)))
	if code, out, err := runLine(t, host, "wait", "--bound", "20ms", "--timeout", "20s"); code != cli.OK {
		t.Fatalf("wait: exit %d, %s, %s", code, out, err)
	}
	if _, out, _ := runLine(t, host, "sources", "--json"); !strings.Contains(out, `"key": "identity `+masterLine+`"`) {
		t.Errorf("sources: %s", out)
	}
	if code, out, _ := runLine(t, master, "status", "--json"); code != cli.OK || strings.Contains(out, `"authenticated_answers": 0`) || !strings.Contains(out, "authenticated_answers") {
		t.Errorf("status: %s", out)
	}
}
