package live

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/keys"
)

// programs are the executables of an experiment.
type programs struct {
	clockd string
	// self is this program, which plays the liars.
	self    string
	version string
}

// FindClockd returns the path of the program that the honest hosts run: the one that was named, or the one beside this program, or
// that of the PATH.
func FindClockd(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("there is no program %s to run on the hosts: %w", named, err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "clockd")
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	path, err := exec.LookPath("clockd")
	if err != nil {
		return "", errors.New("there is no clockd beside this program or in the PATH: build it with \"make build\", or name it with --clockd")
	}
	return filepath.Abs(path)
}

// versionOf asks a program for its version.
func versionOf(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s cannot be run: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if !strings.Contains(line, "clockd") {
		return "", fmt.Errorf("%s is no clockd: it says %.60q", path, line)
	}
	return strings.TrimSpace(line), nil
}

// starter starts programs that die with this process.
type starter interface{ Start(c *exec.Cmd) error }

// process is a program that was started.
type process struct {
	command *exec.Cmd
	done    chan struct{}
	err     error // valid after done is closed
}

// start starts a program, whose output goes to the end of the log file.
func start(s starter, logFile string, stdin *os.File, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the log of a host cannot be written: %w", err)
	}
	defer func() { _ = log.Close() }()
	c := exec.Command(path, args...)
	c.Stdout, c.Stderr = log, log
	if stdin != nil {
		c.Stdin = stdin
	}
	// A Ctrl-C on the terminal is for this program, which ends the others itself, in order.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.Start(c); err != nil {
		return nil, err
	}
	p := &process{command: c, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = c.Wait()
	}()
	return p, nil
}

// signal sends a signal. A process that has ended needs none.
func (p *process) signal(s syscall.Signal) error {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("process %d cannot be told: %w", p.command.Process.Pid, err)
	}
	return nil
}

// ended reports whether it has.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends it at once, and waits for its end.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.done
	return err
}

// stop asks it to end, and kills it after a while.
func (p *process) stop(limit time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return p.kill()
	}
}

// The directories of experiments are called so, and one that lives holds a lock on this file in it.
const (
	workPattern = "clockbench-live-"
	lockName    = "lock"
)

// work is the directory of an experiment under way.
type work struct {
	path string
	lock *os.File
}

// newWork makes the directory, and removes those that killed experiments have left.
func newWork() (*work, error) {
	sweep(os.TempDir())
	dir, err := os.MkdirTemp("", workPattern)
	if err != nil {
		return nil, fmt.Errorf("no directory for the hosts' files; set TMPDIR to one that can be written: %w", err)
	}
	// It is locked before it has its name: who sweeps finds no lock that nobody holds.
	unnamed := filepath.Join(dir, lockName+".new")
	lock, err := os.OpenFile(unnamed, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = os.Rename(unnamed, filepath.Join(dir, lockName))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the directory %s cannot be locked: %w", dir, err), os.RemoveAll(dir))
	}
	return &work{dir, lock}, nil
}

// sweep removes the directories of experiments that live no more: whose lock nobody holds.
func sweep(temporary string) {
	all, err := filepath.Glob(filepath.Join(temporary, workPattern+"*"))
	if err != nil {
		return
	}
	for _, dir := range all {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_WRONLY, 0)
		if err != nil {
			continue // it is being made, or is somebody else's
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

// close removes the directory, unless it is to be kept.
func (w *work) close(keep bool) error {
	var err error
	if !keep {
		err = os.RemoveAll(w.path)
	}
	return errors.Join(err, w.lock.Close())
}

// The signals of a script.
const (
	signalStop      = syscall.SIGSTOP
	signalContinue  = syscall.SIGCONT
	signalTerminate = syscall.SIGTERM
)

// newIdentity makes an identity.
func newIdentity() (*keys.Identity, error) { return keys.Generate(rand.Reader) }
