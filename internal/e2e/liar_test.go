package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// question is a request as a fakeServer sees it.
type question struct {
	// number counts the requests from 1.
	number  int
	request ntp.Packet
	// good is an honest answer, last the one to the request before.
	good, last []byte
}

// fakeServer is an NTP server whose answers a test makes up. Its clock is the truth, moved by shift.
type fakeServer struct {
	conn     *net.UDPConn
	truth    truth
	requests atomic.Int64
	done     chan struct{}

	mu sync.Mutex
	// answer returns the datagrams that a question gets.
	answer func(*question) [][]byte
}

// startFake starts a server on loopback that ends with the test. A nil answer is an honest one.
func startFake(t *testing.T, w truth, answer func(*question) [][]byte) *fakeServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(mustParse(t, freeAddress(t, 1))))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{conn: conn, truth: w, done: make(chan struct{})}
	f.behave(answer)
	go f.serve()
	t.Cleanup(func() {
		_ = conn.Close()
		<-f.done
	})
	return f
}

// address returns where it serves.
func (f *fakeServer) address() string { return f.conn.LocalAddr().String() }

// behave changes how it answers.
func (f *fakeServer) behave(answer func(*question) [][]byte) {
	if answer == nil {
		answer = func(q *question) [][]byte { return [][]byte{q.good} }
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeServer) serve() {
	defer close(f.done)
	buf := make([]byte, 2048)
	var last []byte
	for {
		n, from, err := f.conn.ReadFromUDPAddrPort(buf)
		arrived := f.truth.now() + 1 // rounded up: a receive timestamp may be late, never early
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		q := question{last: last}
		if q.request.Decode(buf[:n]) != reason.OK {
			continue
		}
		q.number = int(f.requests.Add(1))
		q.good = f.honest(&q.request, arrived)
		last = q.good
		f.mu.Lock()
		answers := f.answer(&q)
		f.mu.Unlock()
		for _, a := range answers {
			_, _ = f.conn.WriteToUDPAddrPort(a, from)
		}
	}
}

// honest makes an answer that tells the truth.
func (f *fakeServer) honest(request *ntp.Packet, arrived int64) []byte {
	p := ntp.Packet{
		Version: request.Version, Mode: ntp.ModeServer, Stratum: 1, Poll: request.Poll, Precision: -24,
		ReferenceID: binary.BigEndian.Uint32([]byte("FAKE")), Origin: request.Transmit,
		Reference: ntp.TimestampFloor(arrived-int64(time.Second), 0), Receive: ntp.TimestampCeil(arrived, 0),
	}
	p.Transmit = ntp.TimestampFloor(f.truth.now(), 0)
	return p.Append(nil)
}

// changed returns the packet with something else in it.
func changed(packet []byte, change func(p *ntp.Packet)) []byte {
	var p ntp.Packet
	if p.Decode(packet) != reason.OK {
		return packet
	}
	change(&p)
	return p.Append(nil)
}
