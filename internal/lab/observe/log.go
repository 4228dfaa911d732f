package observe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LogName is the log's name in its directory.
const LogName = "observation.jsonl"

// maxDamages is how many damaged lines are named; all are counted.
const maxDamages = 20

// Damage is a line of a log that is not used.
type Damage struct {
	Line int64  `json:"line"`
	Why  string `json:"why"`
}

// Contents is what reading a log found beside its records.
type Contents struct {
	Header *Header
	// Records counts those that were used.
	Records int64
	// Damaged counts the lines that were not, Damages names the first ones.
	Damaged int64
	Damages []Damage
	// Length is that of the whole lines, Cut that of an incomplete one at the end: its writer was interrupted.
	Length, Cut int64
}

func (c *Contents) damage(line int64, why error) {
	c.Damaged++
	if len(c.Damages) < maxDamages {
		c.Damages = append(c.Damages, Damage{Line: line, Why: why.Error()})
	}
}

// Read reads a log and gives use every good record after the header, in order. A record that use refuses counts as damaged. It
// fails if the log cannot be read, or does not begin with a header, since without one nothing is known of what follows.
// Memory does not grow with the log.
func Read(r io.Reader, begin func(*Header), use func(*Record) error) (Contents, error) {
	var c Contents
	in := bufio.NewReaderSize(r, 2*maxLine)
	for line := int64(1); ; line++ {
		text, length, err := readLine(in)
		if errors.Is(err, io.EOF) {
			c.Cut = length
			break
		}
		if err != nil {
			return c, fmt.Errorf("the log cannot be read: %w", err)
		}
		c.Length += length
		record, err := decodeLine(text)
		switch {
		case c.Header == nil && (err != nil || record.Header == nil):
			return c, fmt.Errorf("it is no observation of clockbench, or its beginning is damaged: %w", noHeader(err))
		case err == nil && c.Header == nil:
			c.Header = record.Header
			begin(record.Header)
			continue
		case err == nil && record.Header != nil:
			err = errors.New("a second header")
		case err == nil:
			if err = use(record); err == nil {
				c.Records++
			}
		}
		if err != nil {
			c.damage(line, err)
		}
	}
	if c.Header == nil {
		return c, errors.New("it is no observation of clockbench: it is empty, or its only line is incomplete")
	}
	return c, nil
}

func noHeader(err error) error {
	if err != nil {
		return err
	}
	return errors.New("the first line is no header")
}

func decodeLine(text []byte) (*Record, error) {
	if text == nil {
		return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
	}
	return decode(text)
}

// readLine returns a line without its end, nil if it is too long, and its length with the end. At the end of the file the length
// is that of what is left.
func readLine(in *bufio.Reader) (text []byte, length int64, err error) {
	text, err = in.ReadSlice('\n')
	length = int64(len(text))
	tooLong := false
	for errors.Is(err, bufio.ErrBufferFull) {
		tooLong = true
		text, err = in.ReadSlice('\n')
		length += int64(len(text))
	}
	if err != nil {
		return nil, length, err
	}
	if tooLong || len(text) > maxLine {
		return nil, length, nil
	}
	return text[:len(text)-1], length, nil
}

// Log is a log that is being written: one process at a time.
type Log struct {
	file   *os.File
	length int64
}

// CreateLog begins a log in a directory, which is made if it is missing. A log that is there already is not touched.
func CreateLog(dir string, h *Header) (*Log, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the observation cannot be stored: %w", err)
	}
	path := filepath.Join(dir, LogName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s holds an observation already: say --resume to go on with it, or choose another directory with --out", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("the observation cannot be stored: %w", err)
	}
	l := &Log{file: f}
	if err = l.lock(dir); err == nil {
		err = l.Append(&Record{Header: h})
	}
	if err == nil {
		err = l.Sync()
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

// ResumeLog opens the log in a directory, gives its records to begin and use, and cuts an incomplete last line off: what is
// appended comes after whole lines.
func ResumeLog(dir string, begin func(*Header), use func(*Record) error) (*Log, Contents, error) {
	path := filepath.Join(dir, LogName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, Contents{}, noObservation(dir, err)
	}
	l := &Log{file: f}
	c, err := l.resume(dir, begin, use)
	if err != nil {
		_ = f.Close()
		return nil, c, err
	}
	return l, c, nil
}

func noObservation(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no observation: there is no %s in it", dir, LogName)
	}
	return fmt.Errorf("the observation cannot be opened: %w", err)
}

func (l *Log) resume(dir string, begin func(*Header), use func(*Record) error) (Contents, error) {
	if err := l.lock(dir); err != nil {
		return Contents{}, err
	}
	c, err := Read(l.file, begin, use)
	if err != nil {
		return c, fmt.Errorf("%s: %w", l.file.Name(), err)
	}
	if c.Cut > 0 {
		if err := l.file.Truncate(c.Length); err != nil {
			return c, fmt.Errorf("the incomplete end of %s cannot be cut off: %w", l.file.Name(), err)
		}
	}
	l.length = c.Length
	return c, nil
}

// ReadLog reads the log in a directory without writing to it; it may be written meanwhile.
func ReadLog(dir string, begin func(*Header), use func(*Record) error) (Contents, error) {
	f, err := os.Open(filepath.Join(dir, LogName))
	if err != nil {
		return Contents{}, noObservation(dir, err)
	}
	defer func() { _ = f.Close() }()
	c, err := Read(f, begin, use)
	if err != nil {
		return c, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return c, nil
}

func (l *Log) lock(dir string) error {
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("another process is observing into %s", dir)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be locked: %w", l.file.Name(), err)
	}
	return nil
}

// Append writes a record with one system call: a process that is killed leaves it whole or not at all. If the disk is full the
// part that was written is taken back.
func (l *Log) Append(r *Record) error {
	line, err := r.encode()
	if err != nil {
		return err
	}
	if _, err := l.file.Write(line); err != nil {
		return errors.Join(fmt.Errorf("the observation cannot be stored: %w; what came before is kept", err), l.file.Truncate(l.length))
	}
	l.length += int64(len(line))
	return nil
}

// Sync makes what was written survive a loss of power.
func (l *Log) Sync() error {
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("the observation cannot be stored: %w", err)
	}
	return nil
}

// Close ends the writing.
func (l *Log) Close() error { return errors.Join(l.Sync(), l.file.Close()) }
