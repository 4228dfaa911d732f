package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/clockd/clockd/reason"
)

func sampleReport() Report {
	return Report{Format: reportFormat, Results: []Result{
		{
			Host: "ntp.test", Address: pointer("192.0.2.1:123"), Stratum: pointer(2), ReferenceID: pointer("192.0.2.7"), Leap: pointer(1),
			Version: pointer(4), Offset: pointer(-0.001234), Error: pointer(0.0156), DelayMin: pointer(0.0099999), DelayMedian: pointer(0.02),
			RootDelay: pointer(0.01), RootDispersion: pointer(0.0), RootDistance: pointer(0.005), Precision: pointer(1e-7),
			SamplesSent: 4, SamplesOK: 3, SamplesLost: 1, ReceiveStamp: pointer("kernel"), Rejections: map[string]uint64{"packet_origin": 2},
		},
		{Host: "evil\x1b[2J.test", Reason: pointer(reason.SourceResolve), Message: pointer("no\tsuch\nhost")},
	}}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport().Table(&b); err != nil {
		t.Fatal(err)
	}
	want := `HOST           ADDRESS        STRATUM  REFERENCE  LEAP    OFFSET     ERROR      DELAY     ROOT DISTANCE  SAMPLES
ntp.test       192.0.2.1:123  2        192.0.2.7  insert  -1.234 ms  ±15.60 ms  10.00 ms  5.000 ms       3/4
evil?[2J.test  -              -        -          -       -          -          -         -              0/0
evil?[2J.test: no?such?host
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// The keys are promised to programs: this list may grow, and only a new format may take one away.
func TestJSONKeysAreStable(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport().JSON(&b); err != nil {
		t.Fatal(err)
	}
	if bytes.Count(b.Bytes(), []byte("\n")) != 1 {
		t.Errorf("the report is not one line: %q", b.String())
	}
	var got struct {
		Format  int
		Results []map[string]any
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"address", "delay_median_s", "delay_min_s", "error_s", "host", "leap", "message", "offset_s", "precision_s", "reason", "receive_stamp",
		"reference_id", "rejections", "root_delay_s", "root_dispersion_s", "root_distance_s", "samples_lost", "samples_ok", "samples_sent", "stratum", "version"}
	for _, r := range got.Results {
		var keys []string
		for k := range r {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if !slices.Equal(keys, want) {
			t.Errorf("keys %q, want %q", keys, want)
		}
	}
	if r := got.Results[0]; r["offset_s"] != -0.001234 || r["root_dispersion_s"] != 0.0 || r["reason"] != nil {
		t.Errorf("values %v", r)
	}
	// Missing is null, never 0.
	if r := got.Results[1]; r["offset_s"] != nil || r["error_s"] != nil || r["stratum"] != nil || r["reason"] != "source_resolve" {
		t.Errorf("missing values %v", r)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.Results[1].Offset != nil || *back.Results[1].Reason != reason.SourceResolve {
		t.Errorf("read back: %v, %+v", err, back.Results)
	}
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		value float64
		sign  string
		want  string
	}{
		{0, "", "0.000 s"},
		{0, "+", "+0.000 s"},
		{1.5, "+", "+1.500 s"},
		{-1.5, "+", "-1.500 s"},
		{12345.6, "", "12346 s"},
		{0.25, "±", "±250.0 ms"},
		{0.9999, "", "999.9 ms"},
		{0.99999, "", "1.000 s"},
		{9.9996e-3, "", "10.00 ms"},
		{2.5e-5, "", "25.00 µs"},
		{-3e-9, "+", "-3.000 ns"},
		{4e-12, "", "0.004 ns"},
	} {
		if got := seconds(&c.value, c.sign); got != c.want {
			t.Errorf("seconds(%v, %q) = %q, want %q", c.value, c.sign, got, c.want)
		}
	}
	if got := seconds(nil, "+"); got != missing {
		t.Errorf("a missing value: %q", got)
	}
}

func TestLeapText(t *testing.T) {
	for leap, want := range []string{"none", "insert", "delete", "unsynchronised"} {
		if got := leapText(&leap); got != want {
			t.Errorf("leap %d: %q, want %q", leap, got, want)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrorsAreReported(t *testing.T) {
	if err := sampleReport().Table(fullDisk{}); err == nil {
		t.Error("Table hides a write error")
	}
	if err := sampleReport().JSON(fullDisk{}); err == nil {
		t.Error("JSON hides a write error")
	}
}
