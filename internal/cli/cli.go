// Package cli is what the programs' command lines have in common: errors that carry an exit code, and how a program ends.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// The exit codes of every program. Each program documents those that it adds.
const (
	OK    = 0
	Error = 1
	Usage = 2
)

// CodeError is an error with the exit code that it ends the program with. Quiet: it has been told already.
type CodeError struct {
	Code  int
	Err   error
	Quiet bool
}

// Error returns the error's own text.
func (e *CodeError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *CodeError) Unwrap() error { return e.Err }

// UsageError makes err one of usage; nil stays nil.
func UsageError(err error) error {
	if err == nil {
		return nil
	}
	return &CodeError{Code: Usage, Err: err}
}

// Exit tells the user on w what went wrong in the program of that name, and returns the exit code. nil is OK.
func Exit(err error, program string, w io.Writer) int {
	if err == nil {
		return OK
	}
	var c *CodeError
	if !errors.As(err, &c) {
		c = &CodeError{Code: Error, Err: err}
		// cobra has no type for these.
		if strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag") {
			c.Code = Usage
		}
	}
	if !c.Quiet {
		_, _ = fmt.Fprintf(w, "%s: %v\n", program, c.Err)
		if c.Code == Usage {
			_, _ = fmt.Fprintf(w, "Run \"%s help\" or \"%s COMMAND --help\".\n", program, program)
		}
	}
	return c.Code
}
