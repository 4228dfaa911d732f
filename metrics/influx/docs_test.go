package influx

import (
	"os"
	"strings"
	"testing"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

func of[T any](x T) *T { return &x }

// everything is a daemon of which all is known.
func everything() *control.Snapshot {
	x := of(0.5)
	return &control.Snapshot{
		CorrectionS: x, Promised: &agreement.Guarantee{Contraction: 0.5},
		Status: &control.Status{Kind: control.KindExternal, Mode: "hybrid", BoundS: x, RatePPM: x, RateStdPPM: x, LastSampleAgeS: x, Stratum: of(uint8(1)), Counter: control.Counter{Hertz: 1e9},
			Server: &control.Server{}, Group: &control.Group{Rounds: 1, SpreadS: x, PrecisionBoundS: x, ToUTCS: x, EpsilonS: x, Peers: []control.Peer{{Name: "p", Received: 1,
				Status: of(agreement.Sync), OffsetS: x, ErrorS: x, DelayS: x, JitterS: x, TransmitStamp: "user", ReceiveStamp: "user"}}}},
		Sources: &control.Sources{Sources: []control.Source{{Name: "s", Received: 1, OffsetS: x, OffsetStdS: x, LowS: x, HighS: x, DistanceS: x, RatePPM: x, DelayS: x, MinDelayS: x, JitterS: x,
			ServerErrorS: x, LastSampleAgeS: x, Stratum: of(uint8(1)), TransmitStamp: "user", ReceiveStamp: "user"}}},
	}
}

// The documentation names every measurement, tag and field.
func TestSchemaIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/influxdb.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := func(what string) {
		if !strings.Contains(string(b), "`"+what+"`") {
			t.Errorf("%s is not in docs/influxdb.md", what)
		}
	}
	e := encoder{host: "h", last: map[series]newest{}}
	at := Instant{UnixNano: 1, ClockSet: true, Status: virtualclock.Synchronised}
	e.snapshot(everything(), at)
	e.exchange(testExchange(1))
	x := testExchange(2)
	x.Peer = true
	e.exchange(x)
	at.Internal = true
	e.event(&Event{At: at, Topic: "peer", Party: "p", Reason: reason.PeerSilent, Value: 1})
	d := lineprotocol.NewDecoderWithBytes(e.lines.Bytes())
	measurements := map[string]bool{}
	for d.Next() {
		m, err := d.Measurement()
		if err != nil {
			t.Fatal(err)
		}
		measurements[string(m)] = true
		documented(string(m))
		for {
			k, _, err := d.NextTag()
			if err != nil {
				t.Fatal(err)
			}
			if k == nil {
				break
			}
			documented(string(k))
		}
		for {
			k, _, err := d.NextField()
			if err != nil {
				t.Fatal(err)
			}
			if k == nil {
				break
			}
			documented(string(k))
		}
	}
	if len(measurements) != 8 {
		t.Errorf("%v", measurements)
	}
	for _, from := range []string{FromClock, FromUnsound, FromHost} {
		documented(from)
	}
	for c := reason.ExportBehind; c <= reason.ExportEnded; c++ {
		documented(c.String())
	}
}
