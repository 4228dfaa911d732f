package query

import (
	"net"
	"time"
)

// unstamped reads datagrams without kernel stamps.
func unstamped(c *net.UDPConn) func(b []byte) (int, time.Time, error) {
	return func(b []byte) (int, time.Time, error) {
		n, err := c.Read(b)
		return n, time.Time{}, err
	}
}
