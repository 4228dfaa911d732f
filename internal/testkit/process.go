package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that ends with its test.
type Process struct {
	command *exec.Cmd
	output  *lockedBuffer
	started chan error
	done    chan struct{}
	err     error // valid after done is closed
}

// StartProcess starts a program with both its outputs captured. It is killed, by its own process id, when the test ends, and by
// the kernel when the test's process dies without cleaning up.
func StartProcess(t testing.TB, command *exec.Cmd) *Process {
	t.Helper()
	p := &Process{command: command, output: &lockedBuffer{}, started: make(chan error, 1), done: make(chan struct{})}
	command.Stdout, command.Stderr = p.output, p.output
	command.WaitDelay = 5 * time.Second
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	go p.run()
	if err := <-p.started; err != nil {
		<-p.done
		t.Fatalf("start %s: %v", command.Path, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", command.Path, p.Output())
		}
	})
	return p
}

// run keeps the operating system thread that started the child, because the parent-death signal is bound to that thread.
func (p *Process) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.command.Start()
	p.started <- err
	if err == nil {
		p.err = p.command.Wait()
	}
}

// PID returns the process id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Output returns what the program has written so far.
func (p *Process) Output() string { return p.output.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal; an error means that the program has ended.
func (p *Process) Signal(s os.Signal) error {
	if err := p.command.Process.Signal(s); err != nil {
		return fmt.Errorf("testkit: signal %v to process %d: %w", s, p.PID(), err)
	}
	return nil
}

// Kill ends the program at once, as kill -9, and waits for its end. It may be called again.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

// Stop asks the program to end (SIGTERM), waits at most limit, then kills it. It returns the program's exit error, if any.
func (p *Process) Stop(limit time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("testkit: process %d did not end within %v of SIGTERM", p.PID(), limit)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
