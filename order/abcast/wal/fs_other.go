//go:build !linux

package wal

import "os"

func datasync(f *os.File) error { return f.Sync() }

// lock does nothing where the system has no flock.
func lock(*os.File) error { return nil }
