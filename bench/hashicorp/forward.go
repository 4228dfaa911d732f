package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// forwarder hands on what a follower is given: frames of a number, a length and the payload there, of a number and a verdict back.
type forwarder struct {
	listener net.Listener
	apply    func([]byte) error

	mu      sync.Mutex
	conn    net.Conn
	waiting map[uint64]chan error
	number  uint64
	queue   chan request
}

type request struct {
	number  uint64
	payload []byte
}

const (
	maxPayload = 1 << 20
	queued     = 1 << 16
)

var errRefused = errors.New("the leader did not take it")

func newForwarder(address string, apply func([]byte) error) (*forwarder, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	f := &forwarder{listener: l, apply: apply, waiting: map[uint64]chan error{}, queue: make(chan request, queued)}
	go f.serve()
	return f, nil
}

func (f *forwarder) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.listener.Close()
	if f.conn != nil {
		err = errors.Join(err, f.conn.Close())
	}
	return err
}

func (f *forwarder) serve() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		go f.take(c)
	}
}

// take takes a follower's requests; each has a goroutine, as in the RPC servers of this world.
func (f *forwarder) take(c net.Conn) {
	defer func() { _ = c.Close() }()
	answers := make(chan [9]byte, queued)
	go answer(c, answers)
	r := bufio.NewReaderSize(c, 64<<10)
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		close(answers)
	}()
	for {
		var head [12]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := binary.LittleEndian.Uint32(head[8:])
		if n > maxPayload {
			return
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		all.Go(func() {
			var a [9]byte
			copy(a[:8], head[:8])
			if f.apply(payload) != nil {
				a[8] = 1
			}
			answers <- a
		})
	}
}

func answer(c net.Conn, answers <-chan [9]byte) {
	w := bufio.NewWriterSize(c, 64<<10)
	failed := false
	for a := range answers {
		if _, err := w.Write(a[:]); err != nil {
			failed = true
		}
		if len(answers) == 0 && !failed {
			failed = w.Flush() != nil
		}
	}
}

// connect connects to the leader.
func (f *forwarder) connect(ctx context.Context, address string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil || address == f.listener.Addr().String() {
		return nil
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	f.conn = c
	go f.write(c)
	go f.read(c)
	return nil
}

func (f *forwarder) write(c net.Conn) {
	w := bufio.NewWriterSize(c, 64<<10)
	for r := range f.queue {
		var head [12]byte
		binary.LittleEndian.PutUint64(head[:], r.number)
		binary.LittleEndian.PutUint32(head[8:], uint32(len(r.payload)))
		_, err := w.Write(head[:])
		if err == nil {
			_, err = w.Write(r.payload)
		}
		if err == nil && len(f.queue) == 0 {
			err = w.Flush()
		}
		if err != nil {
			return
		}
	}
}

func (f *forwarder) read(c net.Conn) {
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		var a [9]byte
		if _, err := io.ReadFull(r, a[:]); err != nil {
			return
		}
		number := binary.LittleEndian.Uint64(a[:])
		f.mu.Lock()
		done := f.waiting[number]
		delete(f.waiting, number)
		f.mu.Unlock()
		if done == nil {
			continue
		}
		var err error
		if a[8] != 0 {
			err = errRefused
		}
		done <- err
	}
}

// send hands a payload to the leader and waits until it is committed there.
func (f *forwarder) send(ctx context.Context, payload []byte) error {
	done := make(chan error, 1)
	f.mu.Lock()
	f.number++
	number := f.number
	f.waiting[number] = done
	f.mu.Unlock()
	select {
	case f.queue <- request{number, payload}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
