package influx

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// transport is a server without a network, for tests in a bubble of time.
type transport func(r *http.Request, body string) (int, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	status, err := f(r, string(b))
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

const nowhere = "http://127.0.0.1:1"

// An outage of a day: the pauses grow to half a minute and no more, differ from host to host, and end with it.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		began := time.Now()
		rng := rand.New(rand.NewPCG(testkit.Seed(t), 1))
		w := New(Options{Target: Target{URL: nowhere, Bucket: "b"}, Jitter: rng.Float64, Transport: transport(func(*http.Request, string) (int, error) {
			tries = append(tries, time.Now())
			if time.Since(began) > 24*time.Hour {
				return http.StatusNoContent, nil
			}
			return 0, errors.New("connection refused")
		})})
		w.Exchange(testExchange(0))
		time.Sleep(24*time.Hour + lastPause + time.Second)
		synctest.Wait()
		if s := w.Status(); s.Written != 1 || s.Trouble != "" || s.Retries != uint64(len(tries)-1) {
			t.Errorf("%+v", s)
		}
		w.Close()
		short := false
		for k := 1; k < len(tries); k++ {
			pause, most := tries[k].Sub(tries[k-1]), min(firstPause<<min(k-1, 10), lastPause)
			if pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, at most %v", k, pause, most)
			}
			short = short || pause < most*6/10
		}
		if n := len(tries); n < 2880 || n > 5800 || !short {
			t.Errorf("%d tries", n)
		}
	})
}

// A program that ends does not wait long for a server that is away, and says what is lost.
func TestCloseDoesNotHang(t *testing.T) {
	for _, hang := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := New(Options{Target: Target{URL: nowhere, Bucket: "b"}, Transport: transport(func(r *http.Request, _ string) (int, error) {
				if hang {
					<-r.Context().Done()
					return 0, r.Context().Err()
				}
				return http.StatusServiceUnavailable, nil
			})})
			for k := range 10 {
				w.Exchange(testExchange(k))
			}
			began := time.Now()
			w.Close()
			if took := time.Since(began); took > farewell+time.Second {
				t.Errorf("it took %v", took)
			}
			if s := w.Status(); s.Dropped[reason.ExportEnded.String()] != 10 || s.BufferedPoints != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What was offered just before the end is sent, as long as there is somebody to take it.
func TestCloseSendsWhatIsThere(t *testing.T) {
	testkit.NoLeaks(t)
	s := newServer(t, false)
	w := New(Options{Target: Target{URL: s.URL, Bucket: "b"}, Flush: time.Hour})
	for k := range 500 {
		w.Exchange(testExchange(k))
	}
	w.Close()
	w.Close()
	if x := w.Status(); x.Written != 500 || s.taken() != 500 || len(x.Dropped) != 0 {
		t.Errorf("%+v, %d taken", x, s.taken())
	}
}

// A flood, while the encoder has no time at all: nobody waits, what does not fit is counted, and memory stays where it is.
func TestFloodIsCounted(t *testing.T) {
	w := &Writer{options: Options{}.withDefaults(), queue: make(chan record, queueLength), ending: make(chan struct{})}
	x := testExchange(0)
	if n := testing.AllocsPerRun(10_000, func() { w.Exchange(x) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	if s := w.Status(); s.Dropped[reason.ExportBehind.String()] != 10_001-queueLength {
		t.Errorf("%+v", s)
	}
}

// An outage with points all the time: memory stays bounded, what was dropped and what is written later add up to what was offered.
func TestMemoryOverAnOutage(t *testing.T) {
	testkit.NoLeaks(t)
	var away atomic.Bool
	away.Store(true)
	s := newServer(t, false)
	s.answers(func(*http.Request, []byte) (int, map[string]string, string) {
		if away.Load() {
			return http.StatusServiceUnavailable, nil, ""
		}
		return http.StatusNoContent, nil, ""
	})
	const buffer = 1 << 20
	w := New(Options{Target: Target{URL: s.URL, Bucket: "b"}, Flush: time.Millisecond, Buffer: buffer, pauses: quick})
	defer w.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const points = 20_000
	for k := range points {
		for len(w.queue) == cap(w.queue) {
			time.Sleep(time.Millisecond)
		}
		w.Exchange(testExchange(k))
	}
	testkit.WaitFor(t, time.Minute, "all to be encoded", func() bool {
		x := w.Status()
		return x.BufferedPoints+total(x.Dropped) == points
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes of heap for a buffer of %d", grown, buffer)
	if x := w.Status(); x.BufferedBytes > buffer || total(x.Dropped) == 0 || grown > 4*buffer {
		t.Errorf("%d bytes more, %+v", grown, x)
	}
	away.Store(false)
	testkit.WaitFor(t, time.Minute, "the rest", func() bool { return w.Status().BufferedPoints == 0 })
	if x := w.Status(); x.Written+x.Dropped[reason.ExportBuffer.String()] != points || s.taken() != int(x.Written) || x.LastWriteAgeS == nil || x.LastErrorAgeS == nil {
		t.Errorf("%+v, %d taken", x, s.taken())
	}
}

// A snapshot and an event become points, and two points of one series never one.
func TestStateAndEvents(t *testing.T) {
	e := encoder{host: "h", last: map[series]newest{}}
	bound, stratum := 1e-3, uint8(2)
	snapshot := &control.Snapshot{
		Status: &control.Status{Status: virtualclock.Holdover, Reason: reason.Stale, Kind: control.KindExternal, Mode: "external", BoundS: &bound, Stratum: &stratum,
			Server: &control.Server{Requests: 5, Answers: 3, Rejected: map[string]uint64{"request_rate": 2}}, Counter: control.Counter{Hertz: 1e9},
			Group: &control.Group{Peers: []control.Peer{{Name: "p", Rejections: map[string]uint64{"peer_silent": 4}}}}},
		Sources: &control.Sources{Sources: []control.Source{{Name: "s", Reason: reason.SourceWaiting}}},
	}
	at := Instant{UnixNano: 1000, ClockSet: true, Status: virtualclock.Holdover, Bound: 1e-3}
	e.snapshot(snapshot, at)
	e.snapshot(snapshot, at)
	at.Internal = true
	e.event(&Event{At: at, Topic: "peer", Party: "p", Reason: reason.PeerSilent})
	at.Status = virtualclock.Unsynchronised
	e.event(&Event{At: at, Topic: "clock", Reason: reason.BoundTooWide, Value: 0.25})
	e.exchange(&Exchange{At: Instant{UnixNano: 7}, Party: "s", Kind: "nothing", Reason: reason.SourceUnreachable})
	text := string(e.lines.Bytes())
	for _, want := range []string{
		`clockd_clock,host=h bound_s=0.001,time_from="virtual_clock",status="holdover",sound=true,reason="stale",kind="EXTERNAL",mode="external",max_bound_s=0,slewing=false,epoch=0i`,
		"clockd_properties,host=h bound_s=0.001,time_from=\"virtual_clock\",granularity_s=1e-09,accuracy_s=0.001 1000\n",
		`clockd_source,host=h,source=s bound_s=0.001,time_from="virtual_clock",reason="source_waiting",used=false,selected=false,weight=0,`,
		"clockd_server,host=h bound_s=0.001,time_from=\"virtual_clock\",requests=5i,answers=3i,interleaved_answers=0i,authenticated_answers=0i,rejected=2i 1000\n",
		`clockd_peer,host=h,peer=p `, `clockd_group,host=h `, ",troubles=0i 1001\n",
		"clockd_event,host=h,peer=p,reason=peer_silent,topic=peer group_bound_s=0.001,time_from=\"virtual_clock\",status=\"unsynchronised\",text=\"p: " + reason.PeerSilent.Explain() + "\" 1000\n",
		"clockd_event,host=h,reason=bound_too_wide,topic=clock time_from=\"virtual_clock_unsound\",status=\"unsynchronised\",text=\"unsynchronised: " + reason.BoundTooWide.Explain() + "\",value_s=0.25 1000\n",
		"clockd_exchange,host=h,kind=nothing,reason=source_unreachable,source=s time_from=\"host_clock\",status=\"unsynchronised\",offset_s=0,",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no\n%s in\n%s", want, text)
		}
	}
	if e.lines.Malformed != 0 || e.lines.Count != strings.Count(text, "\n") {
		t.Errorf("%d points, %d malformed", e.lines.Count, e.lines.Malformed)
	}
}

// Two points of one series never have one time, and a clock that is stepped back has its own again.
func TestTimesAreUnique(t *testing.T) {
	e := encoder{last: map[series]newest{}}
	var given []int64
	for _, at := range []int64{10, 10, 10, 11, 12, 13, 14, 5, 5, 13} {
		given = append(given, e.unique(series{party: "a"}, at))
	}
	if want := []int64{10, 11, 12, 13, 14, 15, 16, 5, 6, 13}; !slices.Equal(given, want) {
		t.Errorf("%v, want %v", given, want)
	}
	if at := e.unique(series{party: "b"}, 13); at != 13 {
		t.Errorf("another series is put at %d", at)
	}
	for n := range int64(3 * maxSeries) {
		if e.unique(series{party: strconv.FormatInt(n, 10)}, 1); len(e.last) > maxSeries {
			t.Fatal("they are all remembered")
		}
	}
}
