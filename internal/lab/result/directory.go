package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FileName is the result's name in its directory.
const FileName = "result.json"

// Directory is where one run writes.
type Directory struct {
	path   string
	lock   *os.File
	tracks []*Track
	names  map[string]bool
	// replace: what a run before left is taken away when this one is written.
	replace bool
}

// PrepareOptions say how a directory is to be prepared.
type PrepareOptions struct {
	// Replace a result that is there already.
	Replace bool
}

// Prepare makes the directory if it is missing and makes sure, before any work is done, that results can be written there: it is
// reserved for this process until Close. A directory that holds a result is refused unless it may be replaced.
func Prepare(dir string, o PrepareOptions) (*Directory, error) {
	if err := os.MkdirAll(filepath.Join(dir, "series"), 0o755); err != nil {
		return nil, fmt.Errorf("the results cannot be stored: %w", err)
	}
	if err := writable(dir); err != nil {
		return nil, fmt.Errorf("the results cannot be stored in %s: %w; choose another directory with --out", dir, err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("the results cannot be stored: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another run writes its results into %s: choose another directory with --out", dir)
		}
		return nil, fmt.Errorf("%s cannot be reserved: %w", dir, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, FileName)); !o.Replace && !errors.Is(err, fs.ErrNotExist) {
		_ = lock.Close()
		return nil, fmt.Errorf("%s holds a result already: choose another directory with --out, or say --force to replace it", dir)
	}
	d := &Directory{path: dir, lock: lock, names: map[string]bool{}, replace: o.Replace}
	// Halves of files that a run left which was killed: nobody else writes here now.
	for _, pattern := range []string{".clockbench-*", "series/.clockbench-*"} {
		d.remove(pattern, func(string) bool { return true })
	}
	return d, nil
}

// remove takes files away. What cannot be removed stays, and harms nobody.
func (d *Directory) remove(pattern string, which func(name string) bool) {
	files, err := filepath.Glob(filepath.Join(escape(d.path), pattern))
	if err != nil {
		return
	}
	for _, f := range files {
		if which(filepath.Base(f)) {
			_ = os.Remove(f)
		}
	}
}

// escape keeps a directory's name from being a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// writable makes a file and takes it away again, in the directory and in that of the series.
func writable(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, "series")} {
		f, err := os.CreateTemp(d, ".clockbench-*")
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the directory's path.
func (d *Directory) Path() string { return d.path }

// WriteFile puts a file, its name relative to the directory, there all at once: never half of it.
func (d *Directory) WriteFile(name string, data []byte) error {
	return WriteFile(filepath.Join(d.path, name), data)
}

// WriteFile writes a file all at once: at no time there is half of it under that name. Its directory is made if it is missing.
func WriteFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("the results cannot be stored: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".clockbench-*")
	if err != nil {
		return fmt.Errorf("the results cannot be stored: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("the results cannot be stored: %w", err)
	}
	return nil
}

// Write closes all tracks, puts their series into r in the order in which the tracks were opened, checks r and writes result.json.
// What was measured is kept even where a track could not be written to its end; the error tells.
func (d *Directory) Write(r *Result) error {
	var errs []error
	for _, t := range d.tracks {
		series, err := t.finish()
		r.Series = append(r.Series, series...)
		errs = append(errs, err)
	}
	d.tracks = nil
	b, err := Encode(r)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if err := errors.Join(append(errs, d.WriteFile(FileName, b))...); err != nil {
		return err
	}
	if d.replace {
		d.remove("series/*.csv", func(name string) bool { return !d.names[strings.ToLower(strings.TrimSuffix(name, ".csv"))] })
	}
	return nil
}

// Close gives the directory free again, and takes away what was never written.
func (d *Directory) Close() error {
	for _, t := range d.tracks {
		t.abandon()
	}
	d.tracks = nil
	// Only if it is empty: a run without series needs none.
	_ = os.Remove(filepath.Join(d.path, "series"))
	return d.lock.Close()
}

// Encode returns the bytes of result.json. It fails where Decode would refuse them.
func Encode(r *Result) ([]byte, error) {
	r.complete()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("result: what was measured does not fit its own format: %w", err)
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return append(b, '\n'), nil
}

// Field is one series of a track.
type Field struct {
	Quantity Quantity
	// Name is for people: "time error".
	Name string
	Unit string
	Peer string
}

// Track is several series of one clock with common times: one CSV file. It is used by one goroutine.
type Track struct {
	clock    string
	fields   []Field
	columns  []string
	file     string
	path     string
	temp     *os.File
	out      *bufio.Writer
	line     []byte
	decimate []Decimator
	err      error
}

// Track begins the series of a clock ("" for the whole run). name is the file's, made safe and unique.
func (d *Directory) Track(name, clock string, fields ...Field) (*Track, error) {
	file := d.fileName(name)
	t := &Track{clock: clock, fields: fields, file: "series/" + file, path: filepath.Join(d.path, "series", file), decimate: make([]Decimator, len(fields))}
	var err error
	if t.temp, err = os.CreateTemp(filepath.Join(d.path, "series"), ".clockbench-*"); err != nil {
		return nil, fmt.Errorf("the series cannot be stored: %w", err)
	}
	t.out = bufio.NewWriterSize(t.temp, 1<<16)
	t.columns = columnNames(fields)
	_, t.err = t.out.WriteString("t_s," + strings.Join(t.columns, ",") + "\n")
	d.tracks = append(d.tracks, t)
	return t, nil
}

// fileName makes a name that is safe on every file system, and in a CSV reader's shell.
func (d *Directory) fileName(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, clip(name, 80))
	if strings.HasSuffix(safe, "___") { // the sign of clip, of three bytes
		safe = strings.TrimRight(safe, "_")
	}
	if safe == "" {
		safe = "series"
	}
	unique := safe
	for i := 2; d.names[strings.ToLower(unique)]; i++ {
		unique = safe + "-" + strconv.Itoa(i)
	}
	d.names[strings.ToLower(unique)] = true
	return unique + ".csv"
}

// columnNames are quantities with peers and units: time_error_s.
func columnNames(fields []Field) []string {
	var names []string
	seen := map[string]bool{}
	for _, f := range fields {
		unit := f.Unit
		if unit == "1" || unit == "" {
			unit = "ratio"
		}
		name := string(f.Quantity) + "_" + unit
		if f.Peer != "" {
			name = f.Peer + "_" + name
		}
		name = strings.Map(func(r rune) rune {
			if strings.ContainsRune(",\"\r\n=+@\t ", r) || r < ' ' {
				return '_'
			}
			return r
		}, name)
		unique := name
		for i := 2; seen[unique]; i++ {
			unique = name + "_" + strconv.Itoa(i)
		}
		seen[unique] = true
		names = append(names, unique)
	}
	return names
}

// Add takes the values at time t, in the order of the fields; not a number, or infinite: there is none. It never fails: what goes
// wrong is told by Directory.Write, and the series in result.json is whole all the same.
func (t *Track) Add(at float64, values ...float64) {
	if len(values) != len(t.fields) {
		t.fail(fmt.Errorf("result: %d values for the %d columns of %s", len(values), len(t.fields), t.file))
		return
	}
	t.line = appendNumber(t.line[:0], at)
	for i, v := range values {
		if !t.decimate[i].Add(at, v) {
			t.fail(fmt.Errorf("result: time %g in %s comes after a later one", at, t.file))
			return
		}
		t.line = append(t.line, ',')
		if finite(v) {
			t.line = appendNumber(t.line, v)
		}
	}
	t.line = append(t.line, '\n')
	if t.err == nil {
		_, t.err = t.out.Write(t.line)
	}
}

func (t *Track) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// finish puts the file in its place and returns the series.
func (t *Track) finish() ([]Series, error) {
	err := errors.Join(t.err, t.out.Flush(), t.temp.Chmod(0o644), t.temp.Close())
	if err == nil {
		err = os.Rename(t.temp.Name(), t.path)
	}
	file := t.file
	if err != nil {
		_ = os.Remove(t.temp.Name())
		err = fmt.Errorf("the series %s cannot be stored: %w", t.file, err)
		file = ""
	}
	var all []Series
	for i, f := range t.fields {
		times, values := t.decimate[i].Columns()
		s := Series{
			Quantity: f.Quantity, Name: f.Name, Clock: t.clock, Peer: f.Peer, Unit: f.Unit, File: file, Column: t.columns[i],
			Count: t.decimate[i].Count(), Times: times, Values: values,
		}
		if file == "" {
			s.Column = ""
		}
		all = append(all, s)
	}
	return all, err
}

func (t *Track) abandon() {
	_ = t.temp.Close()
	_ = os.Remove(t.temp.Name())
}
