package query

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"os"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
)

// canned is a connection whose answers are given beforehand; each gets the nonce of the request if it says so.
type canned struct {
	net.Conn
	datagrams [][]byte
	stamps    []time.Time
	nonce     []byte
	next      int
}

func (c *canned) Write(b []byte) (int, error)     { c.nonce = bytes.Clone(b[40:48]); return len(b), nil }
func (c *canned) SetDeadline(time.Time) error     { return nil }
func (c *canned) Close() error                    { return nil }
func (c *canned) LocalAddr() net.Addr             { return &net.UDPAddr{} }
func (c *canned) RemoteAddr() net.Addr            { return &net.UDPAddr{} }
func (c *canned) SetReadDeadline(time.Time) error { return nil }

// receive gives the next datagram, and the end of time after the last.
func (c *canned) receive(b []byte) (int, time.Time, error) {
	if c.next == len(c.datagrams) {
		return 0, time.Time{}, os.ErrDeadlineExceeded
	}
	d := c.datagrams[c.next]
	var stamp time.Time
	if c.next < len(c.stamps) {
		stamp = c.stamps[c.next]
	}
	c.next++
	n := copy(b, d)
	// The byte 0xa5 at the first place of the origin timestamp asks for the right one.
	if n >= 32 && b[24] == 0xa5 {
		copy(b[24:32], c.nonce)
	}
	return n, stamp, nil
}

// askCanned makes one exchange with these datagrams as answers, on a clock that advances 1 ms with each reading.
func askCanned(t testing.TB, c *canned) (*measurement, reason.Code, error) {
	t.Helper()
	q, err := newQuery(Options{})
	if err != nil {
		t.Fatal(err)
	}
	start, readings := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Duration(0)
	clock := func() instant {
		readings += time.Millisecond
		return instant{wall: start.Add(readings), monotonic: readings}
	}
	h := &measurement{}
	g := &guard{Conn: c, receive: c.receive, clock: clock, ended: func() bool { return false }, stray: &h.rejections}
	code, why := q.ask(g, h)
	return h, code, why
}

// rightAnswer is a good answer to whatever is asked.
func rightAnswer() []byte {
	request := make([]byte, 48)
	request[40] = 0xa5
	return goodAnswer(request, time.Date(2026, 1, 2, 3, 4, 5, 1_500_000, time.UTC))
}

func TestKernelStampInsideTheExchangeIsUsed(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name  string
		stamp time.Time
		delay float64
		used  bool
	}{
		// The request leaves at 1 ms; the answer is read at 2 ms.
		{"good", start.Add(1700 * time.Microsecond), 0.0007, true},
		{"none", time.Time{}, 0.001, false},
		{"too early", start.Add(900 * time.Microsecond), 0.001, false},
		{"too late", start.Add(2100 * time.Microsecond), 0.001, false},
	} {
		h, code, err := askCanned(t, &canned{datagrams: [][]byte{rightAnswer()}, stamps: []time.Time{c.stamp}})
		if code != reason.OK || err != nil || len(h.samples) != 1 {
			t.Fatalf("%s: %v, %v", c.name, code, err)
		}
		if s := h.samples[0]; math.Abs(s.delay-c.delay) > 1e-9 || (h.kernel == 1) != c.used {
			t.Errorf("%s: delay %v, kernel stamps %d; want %v, %v", c.name, s.delay, h.kernel, c.delay, c.used)
		}
	}
}

func TestStrayDatagramsAreCounted(t *testing.T) {
	wrong := rightAnswer()
	wrong[24] = 0
	h, code, err := askCanned(t, &canned{datagrams: [][]byte{{1}, wrong, wrong, rightAnswer()}})
	if code != reason.OK || err != nil {
		t.Fatal(code, err)
	}
	if h.rejections[reason.PacketTooShort] != 1 || h.rejections[reason.PacketOrigin] != 2 {
		t.Errorf("rejections %v", h.rejections.Map())
	}
	_, code, err = askCanned(t, &canned{datagrams: [][]byte{wrong}})
	if code != reason.PacketOrigin || err == nil {
		t.Errorf("a time-out after a stray datagram: %v, %v", code, err)
	}
	_, code, err = askCanned(t, &canned{})
	if code != reason.SourceUnreachable || err == nil {
		t.Errorf("a time-out: %v, %v", code, err)
	}
}

func TestGivingUpIsNotUndone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g := &guard{Conn: c, ended: func() bool { return ctx.Err() != nil }}
	if err := g.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read after giving up: %v", err)
	}
}

// FuzzAnswer feeds what may come from the network to guard and beevik/ntp: it never panics, an accepted sample has a half-width
// that covers its own round trip and the server's promise, and a rejection has a reason.
func FuzzAnswer(f *testing.F) {
	good := rightAnswer()
	f.Add(good, good)
	f.Add(with(good, 2, 0x80, 0x80), good)
	f.Add(good[:47], good)
	f.Add(append(good, 0, 0, 0, 0), []byte{})
	f.Add(append(good, bytes.Repeat([]byte{0, 4, 0, 28, 1}, 12)...), good)
	f.Add(with(with(good, 1, 0), 12, 'R', 'A', 'T', 'E'), good)
	f.Add(with(good, 32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), good)
	f.Add(with(good, 32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1), good) // after the rollover of 2036
	f.Fuzz(func(t *testing.T, first, second []byte) {
		h, code, err := askCanned(t, &canned{datagrams: [][]byte{first, second}})
		if code != reason.OK {
			if len(h.samples) != 0 {
				t.Fatalf("a rejected answer (%v) gave a sample", code)
			}
			return
		}
		if err != nil || len(h.samples) != 1 {
			t.Fatalf("%d samples, %v", len(h.samples), err)
		}
		s := h.samples[0]
		root := *h.result.RootDistance
		if s.delay < 0 || s.halfWidth < s.delay/2+root || s.halfWidth > 20 || math.IsNaN(s.offset) || math.IsInf(s.offset, 0) {
			t.Fatalf("sample %+v of a server with root distance %v", s, root)
		}
	})
}
