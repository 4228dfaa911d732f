//go:build linux

package network

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Cable is an emulated Ethernet cable between two network namespaces: an interface in each, and every frame that leaves one comes
// out of the other. Its Links have two hosts: 0 is the first end, 1 the second. Addresses are resolved through it too, so a cable
// that is cut is one that was pulled out.
type Cable struct {
	*Links
	*engine
}

// End is one end of a cable: an interface that is made in the network namespace of that file, such as /run/netns/NAME.
type End struct{ Namespace, Interface string }

// NewCable makes the two interfaces; they are down and have no address. It needs root. They are gone after Close, or when the
// process dies.
func NewCable(first, second End, o Options) (*Cable, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	c := &Cable{newLinks(2, o.Seed), e}
	devices := [2]int{-1, -1}
	for i, end := range []End{first, second} {
		err = errors.Join(err, InNamespace(end.Namespace, func() (err error) {
			devices[i], err = openDevice(end.Interface, unix.IFF_TAP)
			return err
		}))
	}
	if err != nil {
		for _, fd := range devices {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
		return nil, errors.Join(err, e.Close())
	}
	for i, fd := range devices {
		o := &outlet{c.link(i, 1-i), fileSender(devices[1-i])}
		err = errors.Join(err, e.add(&wire{fd, fileReceiver(fd), func([]byte) *outlet { return o }}))
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return c, nil
}
