package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// header is what a private key's file says to those who open it.
const header = `# The private key of this host's clockd. It never leaves the host: others need only the public line,
# which clockd keygen --show FILE prints.
`

// Private says whether a file can hold secrets: one that others may read, or that more than its owner may write, cannot.
func Private(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	_ = f.Close()
	return nil
}

// Read returns a file that holds secrets, see Private.
func Read(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return b, nil
}

// open opens a file that holds secrets.
func open(path string) (*os.File, error) {
	// Without O_NONBLOCK a pipe that nobody writes to would be waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if err := private(f, path); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func private(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("keys: %s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("keys: %s holds secrets, and with mode %04o others may read or change it: chmod 600 %s (640 if a group must read it)", path, mode, path)
	}
	return nil
}

// LoadSymmetrics reads a keys file in chrony's format.
func LoadSymmetrics(path string) (Symmetrics, error) {
	b, err := Read(path)
	if err != nil {
		return nil, err
	}
	return ParseSymmetrics(path, b)
}

// LoadIdentity reads a private key's file.
func LoadIdentity(path string) (*Identity, error) {
	b, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; clockd keygen --out %s makes one", err, path)
	}
	if err != nil {
		return nil, err
	}
	i, err := ParseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

// ParseIdentity reads the text of a private key's file: comment lines that begin with #, empty lines, and one key.
func ParseIdentity(text []byte) (*Identity, error) {
	if len(text) > maxFile {
		return nil, errors.New("keys: this is too long for the file of a private key")
	}
	found := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if found != "" {
			return nil, errors.New("keys: there is more than one key in the file: a host has one")
		}
		found = line
	}
	if found == "" {
		return nil, errors.New("keys: there is no key in the file; clockd keygen --out FILE makes one")
	}
	secret, err := disarm(privatePrefix, found)
	if err != nil {
		return nil, err
	}
	return newIdentity(secret)
}

// Create writes the private key to a new file that only its owner may read. It refuses to overwrite anything.
func (i *Identity) Create(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keys: %s is there already and is not overwritten: others may trust its key; clockd keygen --show %s prints its public line", path, path)
	}
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	secret := i.private.Bytes()
	text := bytes.NewBufferString(header + armour(privatePrefix, secret) + "\n")
	clear(secret)
	_, err = text.WriteTo(f)
	// The mode of a file that umask has made narrower is left so.
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("keys: the key could not be written: %w", err)
	}
	return nil
}
