package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	maxRequest     = 4096
	maxConnections = 32
	patience       = 2 * time.Second
)

// Handler answers one command; the result is written as JSON. It is called from several goroutines.
type Handler func(ctx context.Context, command string) (any, error)

// Listener answers on a Unix socket.
type Listener struct {
	listener *net.UnixListener
	handler  Handler
	slots    chan struct{}
	running  sync.WaitGroup
	stop     context.CancelFunc
	ctx      context.Context
}

// ErrInUse says that a daemon answers on the socket already.
var ErrInUse = errors.New("another clockd answers on this socket")

// Listen makes the socket and answers until Close. The directory is made if need be, with mode 0755; the socket has that mode
// and belongs to that group, if one is named. A socket that nobody answers on is replaced.
func Listen(path, group string, mode os.FileMode, h Handler) (*Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control: the socket's directory cannot be made: %w", err)
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := setAccess(path, group, mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Listener{listener: l, handler: h, slots: make(chan struct{}, maxConnections), stop: stop, ctx: ctx}
	s.running.Add(1)
	go s.accept()
	return s, nil
}

func removeDead(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("control: %s is there already and is not a socket: remove it or configure another control.path", path)
	}
	c, err := net.DialTimeout("unix", path, patience)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("control: %s: %w: stop it first or configure another control.path", path, ErrInUse)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("control: %s is there already and cannot be asked: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("control: the socket of a dead daemon cannot be removed: %w", err)
	}
	return nil
}

func setAccess(path, group string, mode os.FileMode) error {
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("control: control.group: %w", err)
		}
		id, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("control: control.group: %w", err)
		}
		if err := os.Chown(path, -1, id); err != nil {
			return fmt.Errorf("control: the socket cannot be given to group %s: %w", group, err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

func (s *Listener) accept() {
	defer s.running.Done()
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		c, err := s.listener.AcceptUnix()
		if err != nil {
			<-s.slots
			if s.ctx.Err() != nil {
				return
			}
			// Out of descriptors, most likely: wait for some to be given back.
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			defer func() { <-s.slots }()
			s.serve(c)
		}()
	}
}

// serve answers one connection.
func (s *Listener) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(patience))
	b, err := bufio.NewReaderSize(c, maxRequest).ReadSlice('\n')
	answer := response{Version: Version}
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		answer.Error = fmt.Sprintf("the request is longer than %d bytes", maxRequest)
	case err != nil:
		answer.Error = "the request has no end: send one JSON object and a newline"
	default:
		answer.Result, err = s.answer(ctx, c, b)
		if err != nil {
			answer.Error = err.Error()
		}
	}
	out, err := json.Marshal(answer)
	if err != nil {
		return
	}
	_, _ = c.Write(append(out, '\n'))
}

// answer turns one request line into a result.
func (s *Listener) answer(ctx context.Context, c net.Conn, b []byte) (json.RawMessage, error) {
	r, err := parseRequest(b)
	if err != nil {
		return nil, err
	}
	command := r.Command
	if command == CommandResync {
		why, err := ResyncReason(r.Reason)
		if err != nil {
			return nil, err
		}
		if err := mayChange(c); err != nil {
			return nil, err
		}
		command += " " + why.String()
	}
	result, err := s.handler(ctx, command)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// mayChange says whether the process at the other end may change something, whoever may ask: root, and the daemon's own user.
func mayChange(c net.Conn) error {
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("only root may do that")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	var who *syscall.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		who, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return fmt.Errorf("control: the kernel does not say who asks: %w", errors.Join(controlErr, err))
	}
	if int(who.Uid) != os.Geteuid() && who.Uid != 0 {
		return fmt.Errorf("user %d may ask, and change nothing: use sudo", who.Uid)
	}
	return nil
}

// parseRequest reads what a client sent.
func parseRequest(b []byte) (Request, error) {
	var r Request
	if err := json.Unmarshal(b, &r); err != nil {
		return Request{}, fmt.Errorf(`the request is not JSON such as {"version":%d,"command":"status"}: %w`, Version, err)
	}
	if r.Version != Version {
		return Request{}, fmt.Errorf("the request has version %d, this daemon speaks version %d: use the clockd command of the same release", r.Version, Version)
	}
	switch r.Command {
	case CommandStatus, CommandSources, CommandNow, CommandPeers, CommandResync:
		return r, nil
	}
	return Request{}, fmt.Errorf("no command is called %.40q: there are %s, %s, %s, %s and %s", r.Command, CommandStatus, CommandSources, CommandPeers, CommandNow, CommandResync)
}

// Close removes the socket, ends every connection and waits for them.
func (s *Listener) Close() error {
	s.stop()
	err := s.listener.Close()
	s.running.Wait()
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}
