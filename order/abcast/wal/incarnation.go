package wal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Identity is what a directory is: a random number that tells one disk from another, and how often a process has begun to use it.
type Identity struct {
	Disk        uint64
	Incarnation uint64 // 1 in the first process
}

// NextIncarnation begins a new incarnation of a directory: it counts durably, in every mode, before it returns. A directory without a
// counter begins at 1 with a new disk number; whether the member may do that is for its group to say.
func NextIncarnation(fs FS, dir string) (Identity, error) {
	if fs == nil {
		fs = Disk{}
	}
	if err := fs.MakeDir(dir); err != nil {
		return Identity{}, fmt.Errorf("wal: %w", err)
	}
	id, err := readIdentity(fs, dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return Identity{}, err
		}
		id.Disk = binary.LittleEndian.Uint64(b[:])
	case err != nil:
		return Identity{}, err
	}
	if id.Incarnation++; id.Incarnation == 0 {
		return Identity{}, errors.New("wal: the counter of incarnations is exhausted")
	}
	text := fmt.Sprintf("%016x %d", id.Disk, id.Incarnation)
	text = fmt.Sprintf("%s %08x\n", text, checksum(0, []byte(text)))
	if err := writeFile(fs, dir, incarnationFile, func(f File) error {
		_, err := f.Write([]byte(text))
		return err
	}); err != nil {
		return Identity{}, fmt.Errorf("wal: the incarnation cannot be counted: %w", err)
	}
	return id, nil
}

const incarnationFile = "incarnation"

func readIdentity(fs FS, dir string) (Identity, error) {
	path := filepath.Join(dir, incarnationFile)
	b, err := readFile(fs, path, 256)
	if err != nil {
		return Identity{}, err
	}
	id, err := parseIdentity(string(b))
	if err != nil {
		return Identity{}, &CorruptError{File: incarnationFile, Reason: err.Error()}
	}
	return id, nil
}

// parseIdentity reads "disk incarnation checksum\n": 16 hexadecimal digits, a decimal number, 8 hexadecimal digits.
func parseIdentity(text string) (id Identity, err error) {
	text, whole := strings.CutSuffix(text, "\n")
	i := strings.LastIndexByte(text, ' ')
	if !whole || i < 0 {
		return id, errors.New("it is not written whole")
	}
	sum, err := hex.DecodeString(text[i+1:])
	if err != nil || len(sum) != 4 || binary.BigEndian.Uint32(sum) != checksum(0, []byte(text[:i])) {
		return id, errors.New("its checksum is wrong")
	}
	disk, count, ok := strings.Cut(text[:i], " ")
	if !ok {
		return id, errors.New("it has too few words")
	}
	if id.Disk, err = strconv.ParseUint(disk, 16, 64); err == nil {
		id.Incarnation, err = strconv.ParseUint(count, 10, 64)
	}
	return id, err
}

// writeFile makes a file with some content, durably and all or nothing: by another name first.
func writeFile(fs FS, dir, name string, content func(File) error) error {
	temporary := filepath.Join(dir, name+".new")
	f, err := fs.Open(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if err = content(f); err == nil {
		err = f.Sync()
	}
	if err = closing(f, err); err == nil {
		err = fs.Rename(temporary, filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(fs.Remove(temporary)))
	}
	return fs.SyncDir(dir)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
