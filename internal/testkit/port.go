package testkit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The ports that FreeUDPPort gives: below the range from which the kernel takes ports for outgoing sockets (32768 and up), so
// that no client socket takes one between its choice and its use.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreeUDPPort returns a UDP port on which nothing listens and which no other test, in this process or another, is given until
// this test ends: each is reserved by a lock on a file, which the kernel drops with the process.
func FreeUDPPort(t testing.TB) int {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("clockd-testkit-ports-%d", os.Geteuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatalf("port reservations: %v", err)
	}
	// Processes start at different places, so that they seldom meet.
	start := os.Getpid() * 61 % (lastPort - firstPort)
	for i := range lastPort - firstPort {
		port := firstPort + (start+i)%(lastPort-firstPort)
		release, err := reserve(filepath.Join(dir, fmt.Sprint(port)))
		if err != nil {
			continue
		}
		if !bindable(port) {
			release()
			continue
		}
		t.Cleanup(release)
		return port
	}
	t.Fatalf("no free UDP port between %d and %d", firstPort, lastPort)
	return 0
}

// reserve takes an exclusive lock on the file and returns what gives it back. The file stays: removing it would let two
// processes lock two files of one name.
func reserve(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("testkit: reserve a port: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func bindable(port int) bool {
	// A child that is forked while the probe is open would keep the port busy.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero, Port: port})
	if err != nil {
		return false
	}
	return c.Close() == nil
}
