package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxFile is more than any result has.
const maxFile = 256 << 20

// Read reads a result: the file, or result.json in a directory. An error names the file and the place in it.
func Read(path string) (*Result, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("there is no result to read: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("the result cannot be read: %w", err)
	}
	r, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Decode reads the bytes of a result.json, strictly.
func Decode(b []byte) (*Result, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("result: more than the %d MiB that a result may have", maxFile>>20)
	}
	if err := version(b); err != nil {
		return nil, err
	}
	r := &Result{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("result: %w", place(b, d.InputOffset(), err))
	}
	if rest := bytes.TrimSpace(b[d.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("result: line %d: something follows the end of the result", line(b, int64(len(b)-len(rest))))
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return r, nil
}

// version looks at the first keys only: what another version has is not to be judged by this one's rules.
func version(b []byte) error {
	var head struct {
		Format  *string `json:"format"`
		Version *int    `json:"format_version"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&head); err != nil {
		return fmt.Errorf("result: %w", place(b, d.InputOffset(), err))
	}
	switch {
	case head.Format == nil || *head.Format != Format:
		return fmt.Errorf("result: format: this is no result of clockbench: it does not begin with \"format\": %q", Format)
	case head.Version == nil || *head.Version < 1:
		return errors.New("result: format_version: is missing, or no version")
	case *head.Version > FormatVersion:
		return fmt.Errorf("result: format_version: %d is newer than the %d that this clockbench knows: use a newer one", *head.Version, FormatVersion)
	}
	return nil
}

// place adds the line to an error of the JSON decoder.
func place(b []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", line(b, syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: %s: %s cannot be a %v", line(b, max(kind.Offset, 0)), kind.Field, kind.Value, kind.Type)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("line %d: the file ends in the middle", line(b, int64(len(b))))
	}
	return fmt.Errorf("line %d or before: %s", line(b, offset), strings.TrimPrefix(err.Error(), "json: "))
}

// line is the number of the line that a place is in.
func line(b []byte, offset int64) int {
	return 1 + bytes.Count(b[:min(offset, int64(len(b)))], []byte("\n"))
}
