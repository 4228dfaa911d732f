package packaged

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// The script for fleets on two booted systems: the client believes its master because of its key, and only because of it. A second run
// changes nothing.
func TestFleetIsInstalledWithKeys(t *testing.T) {
	tools(t)
	net := testkit.NamespaceNet(t, 3)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 1, Address: net.Hosts[0].Address, Port: 123, Host: net.Hosts[0]})
	master, client := bootAt(t, net.Hosts[1], server), bootAt(t, net.Hosts[2], server)
	build(t, oldVersion, master.dist, "FORMATS=deb")
	// In the place of ssh: a program that is called with a host and one command.
	ssh := filepath.Join(t.TempDir(), "ssh")
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in master) pid=%d ;; client) pid=%d ;; *) exit 9 ;; esac\nexec nsenter --target $pid --all -- sh -c \"$2\"\n",
		master.Leader(), client.Leader())
	if err := os.WriteFile(ssh, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	fleet := func() string {
		t.Helper()
		c := exec.Command(filepath.Join(root, "deploy/fleet/clockd-fleet"), "--package", glob(t, master.dist+"/*.deb"), "--source", net.Hosts[0].Address.String(),
			"--master", "master="+net.Hosts[1].Address.String(), "client="+net.Hosts[2].Address.String())
		c.Env = append(os.Environ(), "SSH="+ssh)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("clockd-fleet: %v\n%s", err, out)
		}
		return string(out)
	}
	fleet()
	if out := client.Run("clockd", "sources", "--json"); !strings.Contains(out, "clockd-public-1:") || !strings.Contains(out, net.Hosts[1].Address.String()) {
		t.Errorf("the client's sources:\n%s", out)
	}
	if out := master.Run("clockd", "status", "--json"); !strings.Contains(out, `"authenticated_answers": `) || strings.Contains(out, `"authenticated_answers": 0`) {
		t.Errorf("the master's status:\n%s", out)
	}
	before := client.Run("clockd", "keygen", "--show", "/etc/clockd/identity") + client.Run("sha256sum", "/etc/clockd/clockd.toml")
	fleet()
	if after := client.Run("clockd", "keygen", "--show", "/etc/clockd/identity") + client.Run("sha256sum", "/etc/clockd/clockd.toml"); after != before {
		t.Errorf("a second run changes %s to %s", before, after)
	}
	if out := client.Run("stat", "--format=%U:%G %a", "/etc/clockd/identity"); out != "root:clockd 640" {
		t.Errorf("the private key is %s", out)
	}
}
