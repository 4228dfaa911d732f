package wal

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// memFS is a file system in memory that forgets what was not made durable when the power fails, and whose calls fail when told to.
type memFS struct {
	mu      sync.Mutex
	now     map[string]*node // what processes see
	durable map[string]*node // the directory as it is on disk
	locked  map[string]bool
	room    int // bytes until the disk is full; negative means endless
	calls   int // until a call fails; negative means never
	failure error
}

type node struct {
	data   []byte
	synced int // how much of the data is on disk for sure
}

func newMemFS() *memFS {
	return &memFS{now: map[string]*node{}, durable: map[string]*node{}, locked: map[string]bool{}, room: -1, calls: -1, failure: syscall.EIO}
}

// powerOff forgets what was not durable; of what was written without a sync a random part stays, in blocks of 512 bytes, and
// missing blocks before it read as zeros.
func (fs *memFS) powerOff(r *rand.Rand) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for name, n := range fs.now {
		if fs.durable[name] == nil && r.IntN(2) == 0 {
			fs.durable[name] = n // the entry got there by itself
		}
	}
	fs.now = map[string]*node{}
	for name, n := range fs.durable {
		kept := slices.Clone(n.data)
		length := n.synced
		if extra := len(n.data) - n.synced; extra > 0 {
			length += r.IntN(extra + 1)
		}
		kept = kept[:length]
		for at := n.synced; at < length; {
			end := min(length, (at/512+1)*512)
			if r.IntN(4) == 0 {
				clear(kept[at:end])
			}
			at = end
		}
		fs.now[name] = &node{data: kept, synced: length}
		fs.durable[name] = fs.now[name]
	}
	fs.locked = map[string]bool{}
	fs.room, fs.calls = -1, -1
}

// processDies gives the files' locks back and nothing else.
func (fs *memFS) processDies() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.locked = map[string]bool{}
	fs.room, fs.calls = -1, -1
}

// fails counts a call that may fail. The lock is held.
func (fs *memFS) fails() error {
	if fs.calls == 0 {
		return fs.failure
	}
	if fs.calls > 0 {
		fs.calls--
	}
	return nil
}

func (fs *memFS) Open(name string, flag int) (File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.now[name]
	if n == nil {
		if flag&os.O_CREATE == 0 {
			return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
		}
		if err := fs.fails(); err != nil {
			return nil, err
		}
		n = &node{}
		fs.now[name] = n
	}
	if flag&os.O_TRUNC != 0 {
		n.data, n.synced = nil, 0
	}
	return &memFile{fs: fs, node: n, name: name}, nil
}

func (fs *memFS) List(dir string) ([]string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var names []string
	for name := range fs.now {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (fs *memFS) MakeDir(string) error { return nil }

func (fs *memFS) Rename(from, to string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.fails(); err != nil {
		return err
	}
	fs.now[to] = fs.now[from]
	delete(fs.now, from)
	return nil
}

func (fs *memFS) Remove(name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.now[name] == nil {
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	delete(fs.now, name)
	return nil
}

func (fs *memFS) SyncDir(dir string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.fails(); err != nil {
		return err
	}
	for name, n := range fs.now {
		if filepath.Dir(name) == dir {
			fs.durable[name] = n
		}
	}
	for name := range fs.durable {
		if filepath.Dir(name) == dir && fs.now[name] == nil {
			delete(fs.durable, name)
		}
	}
	return nil
}

// read returns a file's bytes, which the test may change.
func (fs *memFS) read(name string) []byte { return fs.now[name].data }

// segments returns the paths of the segments.
func (fs *memFS) segments() []string {
	var names []string
	for name := range fs.now {
		if strings.HasSuffix(name, ".wal") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

type memFile struct {
	fs   *memFS
	node *node
	name string
	at   int
	lock bool
}

func (f *memFile) Read(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.at >= len(f.node.data) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[f.at:])
	f.at += n
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.fails(); err != nil {
		f.node.data = append(f.node.data, p[:len(p)/2]...)
		return len(p) / 2, err
	}
	if f.fs.room >= 0 && len(p) > f.fs.room {
		p = p[:f.fs.room]
		f.fs.room = 0
		f.node.data = append(f.node.data, p...)
		return len(p), syscall.ENOSPC
	}
	if f.fs.room >= 0 {
		f.fs.room -= len(p)
	}
	f.node.data = append(f.node.data, p...)
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.fails(); err != nil {
		return err
	}
	f.node.synced = len(f.node.data)
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.data = f.node.data[:size]
	f.node.synced = min(f.node.synced, int(size))
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *memFile) Lock() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.locked[f.name] {
		return errors.New("it is locked")
	}
	f.fs.locked[f.name], f.lock = true, true
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.lock {
		delete(f.fs.locked, f.name)
	}
	return nil
}
