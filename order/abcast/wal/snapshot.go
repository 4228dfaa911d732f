package wal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Snapshots are the snapshot files of a directory, each with a sequence number, some bytes of the caller's that describe it (meta), and
// its content. A file is:
//
//	0  magic    8   "clockSNP"
//	8  version  4
//	12 meta     4   length
//	16 sequence 8
//	24 zeros    8
//	32 meta, content, the length of all before (8), CRC-32C of all before (4)
type Snapshots struct {
	dir  string
	fs   FS
	keep int
}

const (
	snapshotMagic   = "clockSNP"
	snapshotVersion = 1
	snapshotHeader  = 32
	// MaxMeta is the most bytes that may describe a snapshot.
	MaxMeta = 4 << 20
)

// OpenSnapshots opens the snapshots of a directory, of which the newest keep are kept (2 if that is less than 1), and removes what a
// crash left of one that was being written.
func OpenSnapshots(fs FS, dir string, keep int) (*Snapshots, error) {
	if fs == nil {
		fs = Disk{}
	}
	if keep < 1 {
		keep = 2
	}
	if err := fs.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	s := &Snapshots{dir: dir, fs: fs, keep: keep}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	for _, name := range names {
		if n, ok := strings.CutSuffix(name, ".new"); ok {
			if _, ok := parseSnapshotName(n); ok {
				err = errors.Join(err, fs.Remove(filepath.Join(dir, name)))
			}
		}
	}
	return s, err
}

func snapshotName(sequence uint64) string { return fmt.Sprintf("%016x.snapshot", sequence) }

func parseSnapshotName(name string) (n uint64, ok bool) {
	if _, err := fmt.Sscanf(name, "%016x.snapshot", &n); err != nil || name != snapshotName(n) {
		return 0, false
	}
	return n, true
}

// List returns the sequence numbers of the snapshots, the newest last.
func (s *Snapshots) List() ([]uint64, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	var list []uint64
	for _, name := range names {
		if n, ok := parseSnapshotName(name); ok {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// Save writes a snapshot durably: when it returns nil the snapshot is there whole, otherwise it is not there at all. The oldest ones
// beyond those to keep are removed afterwards.
func (s *Snapshots) Save(sequence uint64, meta []byte, content func(io.Writer) error) error {
	if len(meta) > MaxMeta {
		return fmt.Errorf("wal: a snapshot's description has %d bytes, and %d is the most", len(meta), MaxMeta)
	}
	err := writeFile(s.fs, s.dir, snapshotName(sequence), func(f File) error {
		b := bufio.NewWriterSize(f, 64<<10)
		sum := crc32.New(castagnoli())
		count := &counter{w: io.MultiWriter(b, sum)}
		h := make([]byte, snapshotHeader)
		copy(h, snapshotMagic)
		le := binary.LittleEndian
		le.PutUint32(h[8:], snapshotVersion)
		le.PutUint32(h[12:], uint32(len(meta)))
		le.PutUint64(h[16:], sequence)
		if _, err := count.Write(slices.Concat(h, meta)); err != nil {
			return err
		}
		if err := content(count); err != nil {
			return err
		}
		if _, err := count.Write(le.AppendUint64(nil, uint64(count.n))); err != nil {
			return err
		}
		if _, err := b.Write(le.AppendUint32(nil, sum.Sum32())); err != nil {
			return err
		}
		return b.Flush()
	})
	if err != nil {
		return fmt.Errorf("wal: snapshot %d: %w", sequence, err)
	}
	return s.prune()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (s *Snapshots) prune() error {
	list, err := s.List()
	if err != nil {
		return err
	}
	for len(list) > s.keep {
		if err := s.fs.Remove(filepath.Join(s.dir, snapshotName(list[0]))); err != nil {
			return fmt.Errorf("wal: an old snapshot cannot be removed: %w", err)
		}
		list = list[1:]
	}
	return nil
}

// Snapshot is an open snapshot: its content is read from it. All of it was held against its checksum.
type Snapshot struct {
	Sequence uint64
	Meta     []byte
	Length   int64 // of the content, in bytes
	content  io.Reader
	file     File
}

// Read implements io.Reader.
func (s *Snapshot) Read(p []byte) (int, error) { return s.content.Read(p) }

// Close ends the reading.
func (s *Snapshot) Close() error { return s.file.Close() }

// Open opens a snapshot after reading it once to see whether it is whole; if it is not, that is a *CorruptError.
func (s *Snapshots) Open(sequence uint64) (*Snapshot, error) {
	path := filepath.Join(s.dir, snapshotName(sequence))
	length, err := s.check(path, sequence)
	if err != nil {
		return nil, err
	}
	f, err := s.fs.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	snapshot, err := readSnapshot(f, sequence, length)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return snapshot, nil
}

// Newest opens the newest snapshot; without any it is nil.
func (s *Snapshots) Newest() (*Snapshot, error) {
	list, err := s.List()
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return s.Open(list[len(list)-1])
}

func readSnapshot(f File, sequence uint64, size int64) (*Snapshot, error) {
	h := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(f, h); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	meta := make([]byte, binary.LittleEndian.Uint32(h[12:]))
	if _, err := io.ReadFull(f, meta); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	length := size - snapshotHeader - int64(len(meta)) - snapshotTrailer
	return &Snapshot{Sequence: sequence, Meta: meta, Length: length, content: io.LimitReader(bufio.NewReaderSize(f, 64<<10), length), file: f}, nil
}

// snapshotTrailer is the length of all before (8) and the checksum (4).
const snapshotTrailer = 12

// check reads a snapshot through and returns its size.
func (s *Snapshots) check(path string, sequence uint64) (size int64, err error) {
	f, err := s.fs.Open(path, os.O_RDONLY)
	if err != nil {
		return 0, fmt.Errorf("wal: %w", err)
	}
	defer func() { err = closing(f, err) }()
	if size, err = f.Size(); err != nil {
		return 0, fmt.Errorf("wal: %w", err)
	}
	if why := checkSnapshot(bufio.NewReaderSize(f, 64<<10), size, sequence); why != nil {
		return 0, &CorruptError{File: snapshotName(sequence), Reason: why.Error()}
	}
	return size, nil
}

// checkSnapshot says what is wrong with a snapshot of that size.
func checkSnapshot(r io.Reader, size int64, sequence uint64) error {
	if size < snapshotHeader+snapshotTrailer {
		return errors.New("it is shorter than a header")
	}
	sum := crc32.New(castagnoli())
	r = io.TeeReader(r, sum)
	h := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		return err
	}
	le := binary.LittleEndian
	meta := int64(le.Uint32(h[12:]))
	switch {
	case string(h[:8]) != snapshotMagic:
		return errors.New("this is no snapshot")
	case le.Uint32(h[8:]) != snapshotVersion:
		return fmt.Errorf("it has version %d, and this program reads %d only", le.Uint32(h[8:]), snapshotVersion)
	case le.Uint64(h[16:]) != sequence:
		return fmt.Errorf("it is snapshot %d by its header", le.Uint64(h[16:]))
	case meta > MaxMeta || meta > size-snapshotHeader-snapshotTrailer:
		return errors.New("its description cannot be as long as it says")
	}
	if _, err := io.CopyN(io.Discard, r, size-snapshotHeader-snapshotTrailer); err != nil {
		return err
	}
	trailer := make([]byte, 8)
	if _, err := io.ReadFull(r, trailer); err != nil {
		return err
	}
	want := sum.Sum32()
	last := make([]byte, 4)
	if _, err := io.ReadFull(r, last); err != nil {
		return err
	}
	if le.Uint64(trailer) != uint64(size-snapshotTrailer) {
		return errors.New("it is not as long as it was written")
	}
	if le.Uint32(last) != want {
		return errors.New("its checksum is wrong")
	}
	return nil
}

// Remove removes a snapshot, durably.
func (s *Snapshots) Remove(sequence uint64) error {
	err := ignoreMissing(s.fs.Remove(filepath.Join(s.dir, snapshotName(sequence))))
	if err = errors.Join(err, s.fs.SyncDir(s.dir)); err != nil {
		return fmt.Errorf("wal: snapshot %d cannot be removed: %w", sequence, err)
	}
	return nil
}
