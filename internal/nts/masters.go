package nts

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	masterKeyLength = 32
	// keptMasters is how many master keys there are at most: the present one and the three before it. So a client that asks
	// once in two rotations never loses its keys.
	keptMasters = 4
	// maxMasters is the longest file of master keys.
	maxMasters = 4096
)

// Masters are the keys in which a server wraps its clients' keys: what it wraps and hands out as a cookie it need not keep. The newest
// makes cookies, older ones only open them. It is immutable: Rotate returns another one.
type Masters struct {
	keys []master // newest first
}

type master struct {
	id      uint32
	created time.Time
	secret  [masterKeyLength]byte
}

// NewMasters makes the first master key from random, which must be secret and unpredictable.
func NewMasters(random io.Reader, now time.Time) (*Masters, error) {
	return (&Masters{}).Rotate(random, now)
}

// Rotate returns the masters with a new key first, and without those that are too old.
func (m *Masters) Rotate(random io.Reader, now time.Time) (*Masters, error) {
	next := &Masters{}
	k := master{created: now.UTC().Truncate(time.Second)}
	var id [4]byte
	for taken := true; taken; {
		if _, err := io.ReadFull(random, id[:]); err != nil {
			return nil, fmt.Errorf("nts: no randomness for a new master key: %w", err)
		}
		k.id, taken = binary.BigEndian.Uint32(id[:]), false
		for i := range m.keys {
			taken = taken || m.keys[i].id == k.id
		}
	}
	if _, err := io.ReadFull(random, k.secret[:]); err != nil {
		return nil, fmt.Errorf("nts: no randomness for a new master key: %w", err)
	}
	next.keys = append(next.keys, k)
	next.keys = append(next.keys, m.keys[:min(len(m.keys), keptMasters-1)]...)
	return next, nil
}

// Created is when the newest was made, by the clock that was handed to Rotate.
func (m *Masters) Created() time.Time { return m.keys[0].created }

// Count returns how many there are.
func (m *Masters) Count() int { return len(m.keys) }

// String tells no secret.
func (m *Masters) String() string { return fmt.Sprintf("%d NTS master keys", len(m.keys)) }

// GoString is String.
func (m *Masters) GoString() string { return m.String() }

const mastersHeader = `# The keys in which this host's clockd wraps the NTS keys of its clients, newest first. Whoever has this file can read all
# cookies that were made with them, and with a recording forge answers to those clients. It never leaves the host. If it is
# lost, clients exchange their keys anew, by themselves.
`

const masterPrefix = "clockd-nts-master-1"

// Text returns the file of the masters: a line for each, with its number, when it was made, and the key.
func (m *Masters) Text() []byte {
	b := []byte(mastersHeader)
	for i := range m.keys {
		k := &m.keys[i]
		b = fmt.Appendf(b, "%s %08x %s %s\n", masterPrefix, k.id, k.created.Format(time.RFC3339), base64.RawURLEncoding.EncodeToString(k.secret[:]))
	}
	return b
}

// ParseMasters reads what Text writes. The error does not repeat the text, which is secret.
func ParseMasters(text []byte) (*Masters, error) {
	if len(text) > maxMasters {
		return nil, errors.New("nts: this is too long for a file of master keys")
	}
	m, seen := &Masters{}, map[uint32]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseMaster(line)
		if err == nil && seen[k.id] {
			err = errors.New("this key's number is there already")
		}
		if err == nil && len(m.keys) == keptMasters {
			err = fmt.Errorf("there are more than %d keys", keptMasters)
		}
		if err != nil {
			return nil, fmt.Errorf("nts: line %d of the master keys: %w; remove the file to make new ones, and clients will exchange keys anew", i+1, err)
		}
		seen[k.id] = true
		m.keys = append(m.keys, k)
	}
	if len(m.keys) == 0 {
		return nil, errors.New("nts: there is no master key in the file; remove it to make new ones")
	}
	return m, nil
}

func parseMaster(line string) (k master, err error) {
	words := strings.Split(line, " ")
	if len(words) != 4 || words[0] != masterPrefix || len(words[1]) != 8 {
		return k, fmt.Errorf("it does not begin with %s, or has not four words", masterPrefix)
	}
	id, err := strconv.ParseUint(words[1], 16, 32)
	if err != nil {
		return k, errors.New("the second word is not the number of a key")
	}
	k.id = uint32(id)
	if k.created, err = time.Parse(time.RFC3339, words[2]); err != nil {
		return k, errors.New("the third word is not a time")
	}
	k.created = k.created.UTC()
	secret, err := base64.RawURLEncoding.Strict().DecodeString(words[3])
	if err != nil || len(secret) != masterKeyLength {
		return k, errors.New("the last word is not a key")
	}
	copy(k.secret[:], secret)
	return k, nil
}
