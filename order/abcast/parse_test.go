package abcast

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/order/abcast/core"
)

// FuzzDescription reads what a peer says of its snapshot, and the book of addresses in it.
func FuzzDescription(f *testing.F) {
	book := encodeBook(nil, map[core.ID]string{1: "127.0.0.1:1", 2: "", 77: "host:2"})
	head := binary.AppendUvarint(nil, 12)
	head = binary.AppendUvarint(head, uint64(len(book)))
	f.Add(append(head, book...))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, description, err := readSnapshotHead(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		book, rest, ok := decodeBook(description)
		if !ok {
			return
		}
		again, empty, ok := decodeBook(encodeBook(nil, book))
		if !ok || len(empty) != 0 || !maps.Equal(book, again) || len(rest) > len(description) {
			t.Fatalf("%v became %v", book, again)
		}
	})
}

// FuzzAddress reads the runtime's own messages.
func FuzzAddress(f *testing.F) {
	f.Add(encodeAddress(3, "localhost:80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, address, ok := decodeAddress(b)
		if !ok {
			return
		}
		if got, again, ok := decodeAddress(encodeAddress(id, address)); !ok || got != id || again != address || len(address) > maxAddress {
			t.Fatalf("%d at %q became %d at %q", id, address, got, again)
		}
	})
}

// TestQuantiles: the histogram's quantiles are never too small, and an eighth too large at the most.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	for range 200 {
		var h histogram
		var all []time.Duration
		for range 1 + r.IntN(1000) {
			d := time.Duration(r.Int64N(1 << (1 + r.IntN(40))))
			h.add(d)
			all = append(all, d)
		}
		slices.Sort(all)
		l := h.read()
		if l.Count != uint64(len(all)) || l.Max != all[len(all)-1] {
			t.Fatalf("%+v of %d", l, len(all))
		}
		for q, got := range map[float64]time.Duration{0.5: l.P50, 0.9: l.P90, 0.99: l.P99} {
			want := all[int(q*float64(len(all)))]
			if got < want || float64(got) > 1.125*float64(want)+1 {
				t.Fatalf("quantile %v is %v, and not %v", q, got, want)
			}
		}
	}
	if l := new(histogram).read(); l != (Latency{}) {
		t.Errorf("of nothing: %+v", l)
	}
}

func TestQueue(t *testing.T) {
	q := newQueue()
	q.push(item{bytes: 1}, item{bytes: 2})
	for want := 1; want <= 2; want++ {
		if x, ok := q.next(t.Context()); !ok || x.bytes != want {
			t.Errorf("%d, %v", x.bytes, ok)
		}
	}
	waited := make(chan error)
	go func() { waited <- q.wait(t.Context(), 2) }()
	q.finish()
	select {
	case err := <-waited:
		t.Errorf("one of two is enough: %v", err)
	case <-time.After(5 * time.Millisecond):
	}
	q.finish()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan bool)
	go func() { _, ok := q.next(ctx); got <- ok }()
	cancel()
	if <-got {
		t.Error("an item out of an empty queue")
	}
	q.push(item{bytes: 3})
	q.end(false)
	if x, ok := q.next(t.Context()); !ok || x.bytes != 3 {
		t.Error("what was in the queue at its end is lost")
	}
	if _, ok := q.next(t.Context()); ok {
		t.Error("an item after the end")
	}
	q.end(true)
	if err := q.wait(t.Context(), 100); err != ErrClosed {
		t.Errorf("waiting at a closed queue: %v", err)
	}
}

// TestMailboxHoldsBack: one peer's frames wait when there are too many, others' do not, and nobody waits for ever.
func TestMailboxHoldsBack(t *testing.T) {
	testkit.NoLeaks(t)
	b := newMailbox(100)
	b.frame(1, make([]byte, 101))
	in := make(chan struct{})
	go func() { b.frame(1, make([]byte, 7)); close(in) }()
	b.frame(2, make([]byte, 5))
	var m mail
	b.take(&m)
	<-in
	if len(m.frames) < 2 || len(m.frames) > 3 {
		t.Errorf("%d frames", len(m.frames))
	}
	b.frame(1, make([]byte, 101))
	go b.frame(1, make([]byte, 101))
	b.close()
	if b.call(func(core.Now) {}) || b.broadcast(&broadcast{}) {
		t.Error("a closed mailbox takes something")
	}
}
