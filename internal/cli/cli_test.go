package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestExit(t *testing.T) {
	plain := errors.New("the disk is full")
	hint := `Run "prog help" or "prog COMMAND --help".`
	for name, c := range map[string]struct {
		err  error
		code int
		told string
	}{
		"none":            {nil, OK, ""},
		"plain":           {plain, Error, "prog: the disk is full\n"},
		"usage":           {UsageError(plain), Usage, "prog: the disk is full\n" + hint + "\n"},
		"quiet":           {&CodeError{Code: 7, Err: plain, Quiet: true}, 7, ""},
		"wrapped":         {fmt.Errorf("run: %w", &CodeError{Code: 3, Err: plain}), 3, "prog: the disk is full\n"},
		"unknown command": {errors.New(`unknown command "x" for "prog"`), Usage, `prog: unknown command "x" for "prog"` + "\n" + hint + "\n"},
		"required flag":   {errors.New(`required flag(s) "y" not set`), Usage, `prog: required flag(s) "y" not set` + "\n" + hint + "\n"},
	} {
		var w strings.Builder
		if code := Exit(c.err, "prog", &w); code != c.code || w.String() != c.told {
			t.Errorf("%s: exit code %d, told %q; want %d, %q", name, code, w.String(), c.code, c.told)
		}
	}
	if UsageError(nil) != nil {
		t.Error("no error became one of usage")
	}
	if !errors.Is(UsageError(plain), plain) {
		t.Error("the error is lost")
	}
}
