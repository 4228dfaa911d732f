package peerwire

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

func randomTime(r *rand.Rand) virtualclock.Time {
	return virtualclock.Unix(int64(r.Uint64()), r.Uint32())
}

func randomAnswer(r *rand.Rand) Answer {
	m := func() agreement.Map {
		return agreement.Map{Ref: randomTime(r), Base: randomTime(r), Rate: r.NormFloat64() * 1e-4}
	}
	e := func() agreement.External {
		if r.IntN(2) == 0 {
			return agreement.External{}
		}
		return agreement.External{Known: true, At: randomTime(r), Base: randomTime(r), Low: -r.Float64(), High: r.Float64(), Rate: r.NormFloat64() * 1e-5}
	}
	return Answer{
		State: agreement.State{
			Era: r.Uint64() | 1, Version: r.Uint64() | 1, Epoch: r.Uint32(), Status: agreement.Status(r.IntN(4)), Round: int64(r.Uint64()),
			Current: m(), Previous: m(), External: e(), ExternalPrevious: e(),
		},
		Receive: randomTime(r), Transmit: randomTime(r),
	}
}

func TestAnswersAreReadAsTheyWereWritten(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 2000 {
		want := randomAnswer(r)
		b := want.Append(nil)
		if len(b) != FieldLength {
			t.Fatalf("seed %d, answer %d: %d bytes, want %d", seed, i, len(b), FieldLength)
		}
		var got Answer
		if code := got.Decode(b); code != reason.OK || got != want {
			t.Fatalf("seed %d, answer %d: %v\ngot  %+v\nwant %+v", seed, i, code, got, want)
		}
	}
}

func TestRequestIsAsLongAsTheAnswerAndFitsIntoAPacket(t *testing.T) {
	b := AppendRequest(nil)
	if len(b) != FieldLength || !IsRequest(b) || !ntp.WholeExtensions(b) {
		t.Errorf("the request's field has %d bytes, want %d; IsRequest %v, whole %v", len(b), FieldLength, IsRequest(b), ntp.WholeExtensions(b))
	}
	if ntp.HeaderLength+FieldLength+ntp.MACLong > ntp.MaxLength {
		t.Errorf("a field of %d bytes does not fit", FieldLength)
	}
	a := randomAnswer(rand.New(rand.NewPCG(1, 1)))
	if IsRequest(a.Append(nil)) {
		t.Error("an answer is taken for a request")
	}
	var got Answer
	if got.Decode(b) != reason.PeerMalformed {
		t.Error("a request is taken for an answer")
	}
	for i := 6; i < len(b); i++ {
		b[i] = 1
		if IsRequest(b) {
			t.Errorf("byte %d of a request may be anything", i)
		}
		b[i] = 0
	}
}

func TestMalformedAnswersAreRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	plain := Answer{State: agreement.State{Era: 5, Version: 1}}
	bits := func(b []byte, at int, x float64) { binary.BigEndian.PutUint64(b[at:], math.Float64bits(x)) }
	const currentRate = 4 + 4 + 4 + 24 + 24
	for name, spoil := range map[string]func(b []byte) []byte{
		"nothing":                func([]byte) []byte { return nil },
		"cut":                    func(b []byte) []byte { return b[:len(b)-4] },
		"longer":                 func(b []byte) []byte { return append(b, 0, 0, 0, 0) },
		"two fields":             func(b []byte) []byte { return append(b, b...) },
		"type":                   func(b []byte) []byte { b[1]++; return b },
		"format version":         func(b []byte) []byte { b[4]++; return b },
		"kind":                   func(b []byte) []byte { b[5] = 3; return b },
		"status":                 func(b []byte) []byte { b[6] = 4; return b },
		"flags":                  func(b []byte) []byte { b[7] |= 4; return b },
		"no era":                 func(b []byte) []byte { clear(b[12:20]); return b },
		"no version":             func(b []byte) []byte { clear(b[20:28]); return b },
		"rate not a number":      func(b []byte) []byte { bits(b, currentRate, math.NaN()); return b },
		"rate infinite":          func(b []byte) []byte { bits(b, currentRate, math.Inf(1)); return b },
		"unknown external given": func(b []byte) []byte { b[4+4+4+24+2*mapLength] = 1; return b },
	} {
		var got Answer
		if code := got.Decode(spoil(plain.Append(nil))); code != reason.PeerMalformed || got != (Answer{}) {
			t.Errorf("%s: %v, %+v", name, code, got)
		}
	}
	a := randomAnswer(r)
	if code := new(Answer).Decode(a.Append(nil)); code != reason.OK {
		t.Errorf("a good one: %v", code)
	}
}

func TestStampsBoundTheInstants(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range 5000 {
		hertz := math.Pow(10, 5+r.Float64()*5)
		s := Stamper{Granularity: 1 + r.Uint64N(50), Raw: virtualclock.Line{C0: hw.Ticks(r.Uint64()), T0: virtualclock.Unix(1e18, 0), Period: virtualclock.PeriodOf(hertz)}}
		arrived := s.Raw.C0.Add(int64(r.Uint64N(1 << 40)))
		stamp := hw.Stamp{At: arrived.Add(r.Int64N(20)), Error: 20, Kind: hw.StampKernel}
		now := stamp.At.Add(r.Int64N(100))
		a := s.Answer(stamp, now)
		// The request came within its stamp's error, at most a granule after that reading and never after now.
		latest := stamp.NotAfter()
		if !latest.Before(now) {
			latest = now
		}
		if end := s.Raw.At(latest.Add(int64(s.Granularity))); a.Receive.Before(end) {
			t.Fatalf("seed %d, %d: Receive %v is before %v", seed, i, a.Receive, end)
		}
		if a.Transmit.After(s.Raw.At(now)) {
			t.Fatalf("seed %d, %d: Transmit %v is after the departure", seed, i, a.Transmit)
		}
		if none := s.Answer(hw.Stamp{}, now); none.Receive.Before(a.Transmit) {
			t.Fatalf("seed %d, %d: without a stamp Receive %v is before now", seed, i, none.Receive)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 4 {
		a := randomAnswer(r)
		f.Add(a.Append(nil))
	}
	f.Add(AppendRequest(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		IsRequest(b)
		var a Answer
		if a.Decode(b) != reason.OK {
			return
		}
		if again := a.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("what was accepted is written otherwise:\n%x\n%x", b, again)
		}
	})
}
