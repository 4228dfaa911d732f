//go:build linux

package privileges

import (
	"fmt"
	"slices"
	"strings"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Capability is one of the kernel's capabilities that a clock may need.
type Capability = cap.Value

// The capabilities that a clock may need.
const (
	// BindPort: serve on a port below 1024.
	BindPort Capability = cap.NET_BIND_SERVICE
	// NetworkCard: switch a network card's packet stamps on.
	NetworkCard Capability = cap.NET_ADMIN
	// GiveGroup: give the control socket to a group.
	GiveGroup Capability = cap.CHOWN
	// SetClock: steer the system's clock.
	SetClock Capability = cap.SYS_TIME
)

// Limit keeps of the process' capabilities those among need that it has, and gives up all others, for itself and for every program that
// it might start, and never to be regained: no_new_privs is set. It returns what is left, by name. Without privileges to begin with it
// does nothing but the latter.
func Limit(need ...Capability) (left []string, err error) {
	have := cap.GetProc()
	next := cap.NewSet()
	for _, c := range need {
		has, err := have.GetFlag(cap.Permitted, c)
		if err != nil {
			return nil, fmt.Errorf("privileges: %w", err)
		}
		if !has {
			continue
		}
		if err := next.SetFlag(cap.Permitted, true, c); err != nil {
			return nil, fmt.Errorf("privileges: %w", err)
		}
		if err := next.SetFlag(cap.Effective, true, c); err != nil {
			return nil, fmt.Errorf("privileges: %w", err)
		}
		left = append(left, c.String())
	}
	if err := dropBound(have, need); err != nil {
		return nil, err
	}
	if err := cap.ResetAmbient(); err != nil {
		return nil, fmt.Errorf("privileges: the ambient capabilities cannot be given up: %w", err)
	}
	if err := become(next); err != nil {
		return nil, err
	}
	if _, err := cap.Prctlw(prSetNoNewPrivs, 1); err != nil {
		return nil, fmt.Errorf("privileges: no_new_privs cannot be set: %w", err)
	}
	return left, nil
}

// become gives up what is not in next. A service manager may have left just that already, and forbidden the call.
func become(next *cap.Set) error {
	difference, err := cap.GetProc().Cf(next)
	if err != nil {
		return fmt.Errorf("privileges: %w", err)
	}
	if !difference.Has(cap.Permitted) && !difference.Has(cap.Effective) {
		return nil
	}
	if err := next.SetProc(); err != nil {
		return fmt.Errorf("privileges: capabilities cannot be given up: %w", err)
	}
	return nil
}

const prSetNoNewPrivs = 38

// dropBound takes from the bounding set what is not needed. Only who has CAP_SETPCAP may do that; others gain nothing by exec either.
func dropBound(have *cap.Set, need []Capability) error {
	if may, err := have.GetFlag(cap.Effective, cap.SETPCAP); err != nil || !may {
		return err
	}
	for c := cap.Value(0); c < cap.MaxBits(); c++ {
		if slices.Contains(need, c) {
			continue
		}
		if err := cap.DropBound(c); err != nil {
			return fmt.Errorf("privileges: %s cannot be taken from the bounding set: %w", c, err)
		}
	}
	return nil
}

// Effective returns the names of the capabilities that the process with this id can use; 0 is this process.
func Effective(pid int) ([]string, error) {
	s, err := cap.GetPID(pid)
	if err != nil {
		return nil, fmt.Errorf("privileges: the capabilities of process %d: %w", pid, err)
	}
	var names []string
	for c := cap.Value(0); c < cap.MaxBits(); c++ {
		if on, err := s.GetFlag(cap.Effective, c); err == nil && on {
			names = append(names, strings.ToLower(c.String()))
		}
	}
	return names, nil
}
