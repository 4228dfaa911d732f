//go:build linux

package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// errEnded is told to who comes too late.
var errEnded = errors.New("network: the host has ended")

// thread is an operating system thread in a network namespace of its own, which calls functions one at a time. The namespace
// lives as long as the thread, the sockets that were opened in it and the programs that were started in it.
type thread struct {
	calls chan func()
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
}

// startThread starts a thread and calls enter on it, which brings it into its namespace.
func startThread(enter func() error) (*thread, error) {
	t := &thread{calls: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	entered := make(chan error, 1)
	go onOwnThread(func() {
		defer close(t.done)
		err := enter()
		entered <- err
		for err == nil {
			select {
			case f := <-t.calls:
				f()
			case <-t.quit:
				return
			}
		}
	})
	if err := <-entered; err != nil {
		<-t.done
		return nil, err
	}
	return t, nil
}

// onOwnThread calls f on a thread that ends with it, so that nobody else gets into its namespace. The process' first thread
// never ends: a goroutine that finds itself on it leaves it to wait.
func onOwnThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		f()
		return // without unlocking: the thread ends
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// Do calls f on the thread, and returns its error. Sockets that f opens, and programs that it starts, are in the host's
// namespace; sockets may be used from anywhere.
func (t *thread) Do(f func() error) error {
	result := make(chan error, 1)
	select {
	case <-t.done:
		return errEnded
	case t.calls <- func() { result <- f() }:
		return <-result
	}
}

// Start starts a program in the host's namespace. It is killed when the host is closed, or this process dies.
func (t *thread) Start(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The signal of the parent's death is that of the thread that started the program: this one.
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := t.Do(c.Start); err != nil {
		return fmt.Errorf("network: start %s: %w", c.Path, err)
	}
	return nil
}

// Starter starts programs in the network of this process. They are killed when the Starter is closed, or this process dies in
// whatever way.
type Starter struct{ *thread }

// NewStarter makes a Starter. Close it in the end.
func NewStarter() (*Starter, error) {
	t, err := startThread(func() error { return nil })
	return &Starter{t}, err
}

// Close ends the programs.
func (s *Starter) Close() { s.end() }

// end ends the thread and waits for it.
func (t *thread) end() {
	t.once.Do(func() { close(t.quit) })
	<-t.done
}

// InNamespace calls f on a thread in the network namespace of that file, such as /run/netns/NAME or /proc/PID/ns/net.
func InNamespace(path string, f func() error) error {
	result := make(chan error, 1)
	go onOwnThread(func() {
		err := enter(path)
		if err == nil {
			err = f()
		}
		result <- err
	})
	return <-result
}

func enter(path string) error {
	file, err := os.Open(path)
	if err == nil {
		err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("network: enter %s: %w", path, err)
	}
	return nil
}
