package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const maxAnswer = 4 << 20

// ErrNoDaemon says that no daemon answers at the socket.
var ErrNoDaemon = errors.New("no daemon answers")

// Call asks the daemon at the socket and reads the answer's result into result. The error says what to do.
func Call(ctx context.Context, path, command string, result any) error {
	return Ask(ctx, path, Request{Version: Version, Command: command}, result)
}

// Ask is Call with a whole request.
func Ask(ctx context.Context, path string, request Request, result any) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return explainDial(path, err)
	}
	defer func() { _ = c.Close() }()
	deadline := time.Now().Add(2 * patience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = c.SetDeadline(deadline)
	b, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if _, err := c.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("control: %s: the daemon closed the connection: %w", path, err)
	}
	answer, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	if err != nil {
		return fmt.Errorf("control: %s: the daemon did not answer in time: %w", path, err)
	}
	return parseAnswer(answer, result)
}

// parseAnswer reads what a daemon sent.
func parseAnswer(b []byte, result any) error {
	var r response
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("control: the answer is not that of a clockd: %w", err)
	}
	if r.Error != "" {
		return fmt.Errorf("control: the daemon says: %.1000s", r.Error)
	}
	if r.Version != Version {
		return fmt.Errorf("control: the daemon speaks version %d, this command version %d: use the clockd command of the same release", r.Version, Version)
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		return fmt.Errorf("control: the answer is not that of a clockd: %w", err)
	}
	return nil
}

func explainDial(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("control: %w at %s: start it with \"clockd run\", or name its socket with --control", ErrNoDaemon, path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("control: %s: this user may not talk to the daemon: join its group (control.group) or use sudo: %w", path, err)
	}
	return fmt.Errorf("control: %w", err)
}
