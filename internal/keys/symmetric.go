package keys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxFile is the longest file that is read, maxLine the longest line (chrony's limit too).
	maxFile = 1 << 20
	maxLine = 2047
	// weakBelow is the length in bytes below which a secret can be found by trying.
	weakBelow = 10
	// maxErrors is how many mistakes of one file are told.
	maxErrors = 20
)

// Symmetric is one line of a keys file: a secret that both sides know.
type Symmetric struct {
	ID uint32
	// Type is chrony's name of the algorithm: AES128, AES256, MD5, SHA1 and so on.
	Type   string
	secret []byte
}

// String names the key without its secret.
func (s Symmetric) String() string { return fmt.Sprintf("key %d (%s)", s.ID, s.Type) }

// GoString is String, so that no format prints the secret.
func (s Symmetric) GoString() string { return s.String() }

// Equal reports whether the two are the same key.
func (s Symmetric) Equal(o Symmetric) bool {
	return s.ID == o.ID && s.Type == o.Type && bytes.Equal(s.secret, o.secret)
}

// Key returns the key as something to seal and verify with.
func (s Symmetric) Key() (*Key, error) {
	a, err := findAlgorithm(s.Type)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", s, err)
	}
	c, err := a.code(s.secret)
	if err != nil {
		return nil, err
	}
	k := newKey(s.ID, s.String(), c, c)
	k.weak = len(s.secret) < weakBelow
	return k, nil
}

// Symmetrics is a keys file's keys, in its order.
type Symmetrics []Symmetric

// Find returns the key with that identifier.
func (l Symmetrics) Find(id uint32) (Symmetric, bool) {
	i := slices.IndexFunc(l, func(s Symmetric) bool { return s.ID == id })
	if i < 0 {
		return Symmetric{}, false
	}
	return l[i], true
}

// ParseSymmetrics reads a file in the format of chrony's keyfile: on each line an identifier from 1 to 2³²−1, a type (MD5 if left
// out) and the key as HEX:… or ASCII:… (or as it is, which is ASCII); lines that begin with one of !;#% are comments. name is for
// the errors, which tell all that is wrong with its line, and never what stands there.
func ParseSymmetrics(name string, text []byte) (Symmetrics, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("keys: %s has %d bytes, a keys file at most %d", name, len(text), maxFile)
	}
	var list Symmetrics
	var errs []error
	lines := map[uint32]int{}
	for i, line := range strings.Split(string(text), "\n") {
		s, ok, err := parseSymmetric(line)
		if err == nil && ok && lines[s.ID] != 0 {
			err = fmt.Errorf("key %d is on line %d already", s.ID, lines[s.ID])
		}
		if err != nil {
			if errs = append(errs, fmt.Errorf("keys: %s:%d: %w", name, i+1, err)); len(errs) == maxErrors {
				break
			}
			continue
		}
		if ok {
			lines[s.ID] = i + 1
			list = append(list, s)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

// parseSymmetric reads one line; ok is false for an empty one.
func parseSymmetric(line string) (s Symmetric, ok bool, err error) {
	if len(line) > maxLine {
		return s, false, fmt.Errorf("the line has %d bytes, at most %d are allowed", len(line), maxLine)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r > '~' || r < ' ' && !strings.ContainsRune("\t\v\f\r", r) }) &&
		!isComment(line) {
		return s, false, errors.New("there is a character that is not printable ASCII; write the key as HEX:…")
	}
	words := strings.Fields(line)
	if len(words) == 0 || isComment(words[0]) {
		return s, false, nil
	}
	if len(words) < 2 || len(words) > 3 {
		return s, false, fmt.Errorf("the line has %d words; write: 10 AES128 HEX:…", len(words))
	}
	id, err := strconv.ParseUint(words[0], 10, 32)
	if err != nil || id == 0 {
		return s, false, errors.New("the first word must be the identifier, a number from 1 to 4294967295")
	}
	s = Symmetric{ID: uint32(id), Type: "MD5"}
	if len(words) == 3 {
		s.Type = words[1]
	}
	a, err := findAlgorithm(s.Type)
	if err != nil {
		return s, false, err
	}
	if s.secret, err = parseSecret(words[len(words)-1]); err != nil {
		return s, false, err
	}
	if a.keyLength != 0 && len(s.secret) != a.keyLength {
		return s, false, fmt.Errorf("the key has %d bits, %s needs %d", 8*len(s.secret), s.Type, 8*a.keyLength)
	}
	return s, true, nil
}

func isComment(line string) bool {
	line = strings.TrimLeft(line, " \t\v\f\r")
	return line != "" && strings.IndexByte("!;#%", line[0]) >= 0
}

// parseSecret reads the word of the key.
func parseSecret(word string) ([]byte, error) {
	prefix, rest, found := strings.Cut(word, ":")
	switch {
	case found && strings.EqualFold(prefix, "HEX"):
		b, err := hex.DecodeString(rest)
		if err != nil {
			return nil, errors.New("after HEX: there must be an even number of the digits 0 to 9 and A to F")
		}
		word = string(b)
	case found && strings.EqualFold(prefix, "ASCII"):
		word = rest
	}
	if word == "" {
		return nil, errors.New("the key is empty")
	}
	return []byte(word), nil
}
