package wal

import (
	"errors"
	"io"
	"os"
)

// FS is the file system below a log. Disk is the real one; tests put others in its place that fail and forget.
type FS interface {
	Open(name string, flag int) (File, error)
	List(dir string) ([]string, error)
	MakeDir(dir string) error
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes what was created, renamed and removed in the directory durable.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.Reader
	io.Writer
	io.Closer
	// Sync makes what was written durable.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	// Lock takes the file for this process until it is closed, or fails at once if another has it.
	Lock() error
}

// Disk is the machine's file system.
type Disk struct{}

// Open implements FS.
func (Disk) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// List implements FS; the names are sorted.
func (Disk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// MakeDir implements FS.
func (Disk) MakeDir(dir string) error { return os.MkdirAll(dir, 0o700) }

// Rename implements FS.
func (Disk) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (Disk) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (Disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type diskFile struct{ *os.File }

func (f diskFile) Sync() error { return datasync(f.File) }
func (f diskFile) Lock() error { return lock(f.File) }
func (f diskFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}
