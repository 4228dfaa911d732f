//go:build !linux

package transport

import (
	"net"
	"time"
)

func tune(net.Conn, time.Duration) {}
