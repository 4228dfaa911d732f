package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/testkit"
)

// probe is a socket of one host.
type probe struct {
	fd      int
	address netip.AddrPort
}

func newProbe(address netip.AddrPort) (probe, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return probe{}, err
	}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	return probe{fd, address}, err
}

func realtime() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &t)
	return t.Nano()
}

func (p probe) send(to netip.AddrPort) error {
	var b [48]byte
	binary.LittleEndian.PutUint64(b[:], uint64(realtime()))
	return unix.Sendto(p.fd, b[:], 0, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
}

// receive returns one-way delays, from before the send call to the kernel's arrival stamp, until stop is closed.
func (p probe) receive(stop <-chan struct{}) (delays []int64) {
	buffer, control := make([]byte, 100), make([]byte, 100)
	for {
		select {
		case <-stop:
			return delays
		default:
		}
		n, m, _, _, err := unix.Recvmsg(p.fd, buffer, control, 0)
		if err != nil || n < 8 {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(control[:m])
		if err != nil || len(messages) == 0 {
			continue
		}
		s, ns := binary.NativeEndian.Uint64(messages[0].Data), binary.NativeEndian.Uint64(messages[0].Data[8:])
		delays = append(delays, int64(s)*1e9+int64(ns)-int64(binary.LittleEndian.Uint64(buffer)))
	}
}

func mustParse(t testing.TB, text string) delay.Law {
	t.Helper()
	l, err := delay.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// BenchmarkAccuracy measures the one-way delays between 7 hosts, each of which sends a datagram to another every 3 ms, as
// minimum, median and 99th percentile in microseconds.
func BenchmarkAccuracy(b *testing.B) {
	testkit.RequireTUN(b)
	const n = 7
	for _, text := range []string{"0", "uniform(150us, 250us)", "normal(200us, 50us)", "500us + exp(50us)"} {
		for _, o := range []Options{{Seed: 1}, {Seed: 1, RealTime: true}, {Seed: 1, RealTime: true, Overhead: 15 * time.Microsecond}} {
			b.Run(fmt.Sprintf("%s/realtime=%t/overhead=%v", text, o.RealTime, o.Overhead), func(b *testing.B) {
				s, err := NewNamespaces(n, o)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				if err := s.SetAll(Law{Delay: mustParse(b, text)}); err != nil {
					b.Fatal(err)
				}
				var probes []probe
				for i := range n {
					err := s.Host(i).Do(func() error {
						p, err := newProbe(netip.AddrPortFrom(s.Host(i).Address, 4000))
						probes = append(probes, p)
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				report(b, exchange(b, probes, func(from, to int) netip.AddrPort { return probes[to].address }), s.Total())
			})
		}
	}
}

// BenchmarkLoopbackAccuracy is the same through relays.
func BenchmarkLoopbackAccuracy(b *testing.B) {
	const n = 7
	o := Options{Seed: 1, RealTime: true}
	for _, text := range []string{"0", "uniform(150us, 250us)", "500us + exp(50us)"} {
		b.Run(text, func(b *testing.B) {
			s, err := NewLoopback(n, o)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if err := s.SetAll(Law{Delay: mustParse(b, text)}); err != nil {
				b.Fatal(err)
			}
			var probes []probe
			for range n {
				p, err := newProbe(netip.MustParseAddrPort("127.0.0.1:0"))
				if err != nil {
					b.Fatal(err)
				}
				at, err := unix.Getsockname(p.fd)
				if err != nil {
					b.Fatal(err)
				}
				p.address = netip.AddrPortFrom(p.address.Addr(), uint16(at.(*unix.SockaddrInet4).Port))
				probes = append(probes, p)
			}
			relays := map[[2]int]netip.AddrPort{}
			for from := range n {
				for to := range n {
					if relays[[2]int{from, to}], err = s.Relay(from, to, probes[to].address); err != nil {
						b.Fatal(err)
					}
				}
			}
			report(b, exchange(b, probes, func(from, to int) netip.AddrPort { return relays[[2]int{from, to}] }), s.Total())
		})
	}
}

// preferred calls f on a thread that the kernel prefers to the emulator's, if it may.
func preferred(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(func() {
			_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 20}, 0)
			f()
		})
	}()
	<-done
}

// exchange sends b.N datagrams from each host, every 3 ms one, and returns their delays, sorted.
//
// The emulator's thread is preferred by the kernel, but to come back from a system call it needs one of Go's processors, and its
// testers, which are not preferred, must not keep the last one.
func exchange(b *testing.B, probes []probe, where func(from, to int) netip.AddrPort) []int64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 4))
	stop := make(chan struct{})
	var senders, receivers sync.WaitGroup
	var mu sync.Mutex
	var all []int64
	b.ResetTimer()
	for i, p := range probes {
		receivers.Go(func() {
			delays := p.receive(stop)
			mu.Lock()
			all = append(all, delays...)
			mu.Unlock()
		})
		senders.Go(func() {
			// Preferred to all others, so that nothing comes between reading the clock and sending.
			preferred(func() {
				for k := range b.N {
					to := (i + 1 + k%(len(probes)-1)) % len(probes)
					if err := p.send(where(i, to)); err != nil {
						b.Error(err)
					}
					time.Sleep(3 * time.Millisecond)
				}
			})
		})
	}
	senders.Wait()
	b.StopTimer()
	time.Sleep(50 * time.Millisecond)
	close(stop)
	receivers.Wait()
	for _, p := range probes {
		_ = unix.Close(p.fd)
	}
	slices.Sort(all)
	return all
}

func report(b *testing.B, delays []int64, c Counters) {
	if len(delays) == 0 {
		b.Fatal("nothing arrived")
	}
	at := func(p float64) float64 {
		return float64(delays[int(math.Min(p*float64(len(delays)), float64(len(delays)-1)))]) / 1e3
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0), "min_µs")
	b.ReportMetric(at(0.5), "p50_µs")
	b.ReportMetric(at(0.99), "p99_µs")
	b.ReportMetric(at(0.999), "p99.9_µs")
	b.ReportMetric(float64(c.Late), "late")
}
