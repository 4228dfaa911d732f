//go:build !amd64

package hw

import (
	"fmt"
	"runtime"
)

// ReadTSC returns 0: this architecture has no time-stamp counter, and Open refuses "tsc".
func ReadTSC() Ticks { return 0 }

func tscHardware() error { return fmt.Errorf("%s has no time-stamp counter", runtime.GOARCH) }
