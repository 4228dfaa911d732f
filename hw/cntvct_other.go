//go:build !arm64

package hw

import (
	"fmt"
	"runtime"
)

// ReadCNTVCT returns 0: this architecture has no generic timer, and Open refuses "cntvct".
func ReadCNTVCT() Ticks { return 0 }

func readCNTFRQ() uint64 { return 0 }

func cntvctHardware() error { return fmt.Errorf("%s has no generic timer", runtime.GOARCH) }
