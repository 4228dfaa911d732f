package once

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/clockd/clockd/order/abcast/core"
)

func TestOrderOfAnOrigin(t *testing.T) {
	f := New()
	a, again := core.Member{ID: 1, Incarnation: 1}, core.Member{ID: 1, Incarnation: 2}
	for _, x := range []struct {
		m      core.Member
		number uint64
		pass   bool
	}{{a, 2, false}, {a, 1, true}, {a, 1, false}, {a, 3, false}, {a, 2, true}, {again, 2, false}, {again, 1, true}, {a, 3, false}, {again, 2, true}} {
		if got := f.Pass(x.m, x.number); got != x.pass {
			t.Errorf("message %d of %v passes: %v", x.number, x.m, got)
		}
	}
	if n, over := f.Delivered(a); n != 0 || !over {
		t.Errorf("the first life is at %d, over %v", n, over)
	}
}

func TestKeysAreRememberedInAWindow(t *testing.T) {
	f := New()
	key := func(n uint64) (k core.Key) {
		binary.LittleEndian.PutUint64(k[:], n)
		return k
	}
	for n := range uint64(core.DedupeWindow + 2) {
		if !f.Fresh(key(n + 1)) {
			t.Fatalf("key %d is not fresh", n+1)
		}
	}
	g, ok := Decode(f.Append(nil))
	if !ok || !bytes.Equal(g.Append(nil), f.Append(nil)) {
		t.Fatal("the encoding changes the filter")
	}
	for _, x := range []*Filter{f, g} {
		if x.Fresh(key(3)) || x.Fresh(key(core.DedupeWindow+2)) || !x.Fresh(key(1)) || x.Fresh(key(4)) || !x.Fresh(key(3)) || !x.Fresh(core.Key{}) || !x.Fresh(core.Key{}) {
			t.Error("the window of keys is another one")
		}
	}
}

func FuzzDecode(f *testing.F) {
	x := New()
	x.Pass(core.Member{ID: 7, Incarnation: 3}, 1)
	x.Fresh(core.Key{1})
	f.Add(x.Append(nil))
	f.Add([]byte{0, 0})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, ok := Decode(b)
		if !ok {
			return
		}
		if y, ok := Decode(x.Append(nil)); !ok || !bytes.Equal(x.Append(nil), y.Append(nil)) {
			t.Error("it does not survive its encoding")
		}
	})
}
