package main

import (
	"crypto/sha256"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/clockd/clockd/order/abcast"
)

// command is what is broadcast.
type command struct {
	Op    string `json:"op"` // put, cas, delete
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
	Old   string `json:"old,omitempty"` // for cas
	// Number is the member's own, by which it finds who waits for the outcome.
	Number uint64 `json:"number"`
}

// outcome is what became of a command.
type outcome struct {
	done bool // false: a cas that found another value, or a delete that found none
}

// store is the replicated state: it changes by delivered commands only, so it is the same everywhere.
type store struct {
	mu     sync.Mutex
	state  state
	number uint64
	wait   map[uint64]chan outcome
}

// state is what a snapshot holds.
type state struct {
	Values map[string]string
	Index  uint64
	// Chain is a hash of all commands up to Index, in order: equal chains, equal histories.
	Chain [sha256.Size]byte
}

func newStore() *store {
	return &store{state: state{Values: map[string]string{}}, wait: map[uint64]chan outcome{}}
}

// apply applies a delivered command. own: it is of this life of this member, so somebody here may wait for its outcome.
func (s *store) apply(d abcast.Delivery, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.New()
	h.Write(s.state.Chain[:])
	fmt.Fprintf(h, "%d %v %d ", d.Index, d.Position, d.CommitTS)
	h.Write(d.Payload)
	s.state.Chain, s.state.Index = [sha256.Size]byte(h.Sum(nil)), d.Index
	var c command
	if json.Unmarshal(d.Payload, &c) != nil {
		return // a command that cannot be read changes nothing, everywhere
	}
	o := s.do(c)
	if w := s.wait[c.Number]; own && w != nil {
		w <- o
		delete(s.wait, c.Number)
	}
}

// do changes the state.
func (s *store) do(c command) outcome {
	value, there := s.state.Values[c.Key]
	switch c.Op {
	case "put":
		s.state.Values[c.Key] = c.Value
		return outcome{done: true}
	case "cas":
		if !there || value != c.Old {
			return outcome{}
		}
		s.state.Values[c.Key] = c.Value
		return outcome{done: true}
	case "delete":
		delete(s.state.Values, c.Key)
		return outcome{done: there}
	}
	return outcome{}
}

// expect numbers a command of this member, and returns where its outcome will come.
func (s *store) expect() (uint64, <-chan outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	c := make(chan outcome, 1)
	s.wait[s.number] = c
	return s.number, c
}

// forget says that nobody waits any more.
func (s *store) forget(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wait, number)
}

func (s *store) get(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.state.Values[key]
	return v, ok
}

func (s *store) chain() (uint64, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Index, fmt.Sprintf("%x", s.state.Chain)
}

// snapshot implements abcast.Config.Snapshot. The state is copied first, so that reads need not wait for the disk.
func (s *store) snapshot(w io.Writer) error {
	s.mu.Lock()
	copied := s.state
	copied.Values = make(map[string]string, len(s.state.Values))
	for k, v := range s.state.Values {
		copied.Values[k] = v
	}
	s.mu.Unlock()
	return gob.NewEncoder(w).Encode(copied)
}

// restore implements abcast.Config.Restore.
func (s *store) restore(r io.Reader) error {
	fresh := state{Values: map[string]string{}}
	if err := gob.NewDecoder(r).Decode(&fresh); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = fresh
	return nil
}
