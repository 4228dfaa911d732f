package observe

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func config(hosts ...string) Config {
	c := DefaultConfig()
	c.Hosts = hosts
	return c
}

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 123)
}

// exampleRecords has one record of each kind.
func exampleRecords() []*Record {
	c := config("a.test", "b.test")
	f, length := 0, 60.0
	c.MaxFalse, c.Length = &f, &length
	at := Instant{Ticks: 5e9, Realtime: 1.7e18, Error: 100, Raw: 5e9, Suspended: 3}
	later := at
	later.Ticks, later.Realtime, later.Raw = at.Ticks+16e9, at.Realtime+16e9, at.Raw+16e9
	return []*Record{
		{Header: &Header{Program: "clockbench observe", Version: "1", Format: LogFormat, Config: c, Began: "2026-01-02T03:04:05Z"}},
		{Segment: &Segment{Number: 0, BootID: "boot", Counter: "tsc(hz=1e9)", Hertz: 1e9, ErrorPPB: 5, Anchor: at}},
		{Address: &Address{Server: 0, Address: address(1), Every: 1}},
		{Sample: &Sample{
			Server: 0, Address: address(1), Departed: hw.Stamp{At: 6e9, Kind: hw.StampUser}, Arrived: hw.Stamp{At: 6e9 + 200_000, Error: 7, Kind: hw.StampKernel},
			Receive: virtualclock.Unix(1.7e18+1e9+100_000, 1<<31), Transmit: virtualclock.Unix(1.7e18+1e9+120_000, 77), RootDelay: 0.001, RootDispersion: 0.002,
			Precision: -23, Stratum: 2, Version: 4, ReferenceID: 0x7f7f0101, Cross: hw.CrossReading{At: 6e9 + 210_000, Realtime: 1.7e18 + 1e9 + 210_000, Error: 50},
			Stray: map[string]uint64{"packet_origin": 2}, Offset: 1e-6, Error: 0.0031, Delay: 180e-6, SystemOffset: 2e-6,
		}},
		{Failure: &Failure{Server: 1, Reason: reason.KissRate, Message: "asked too often", Sent: true, Every: 2}},
		{Round: &Round{Number: 0, At: later}},
		{Start: &Start{At: later}},
		{End: &End{At: later, Why: EndLength}},
	}
}

func logOf(t testing.TB, records ...*Record) []byte {
	t.Helper()
	var b []byte
	for _, r := range records {
		line, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, line...)
	}
	return b
}

// read returns the records of a log after the header.
func read(t testing.TB, b []byte) (Contents, []*Record) {
	t.Helper()
	var list []*Record
	c, err := Read(bytes.NewReader(b), func(*Header) {}, func(r *Record) error { list = append(list, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return c, list
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	records := exampleRecords()
	c, list := read(t, logOf(t, records...))
	if !reflect.DeepEqual(c.Header, records[0].Header) || !reflect.DeepEqual(list, records[1:]) || c.Damaged != 0 || c.Cut != 0 {
		t.Errorf("%+v\n%+v", c, list)
	}
}

// A log without its last byte, or without any more of them, gives all whole records and says how much is cut off.
func TestIncompleteEnd(t *testing.T) {
	whole := logOf(t, exampleRecords()...)
	ends := []int{}
	for i, b := range whole {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	for length := ends[0]; length <= len(whole); length++ {
		c, list := read(t, whole[:length])
		lines := 0
		for _, e := range ends {
			if e <= length {
				lines++
			}
		}
		if len(list) != lines-1 || c.Damaged != 0 || c.Length != int64(ends[lines-1]) || c.Cut != int64(length-ends[lines-1]) {
			t.Fatalf("%d bytes: %d records, %+v; want %d, cut at %d", length, len(list), c, lines-1, ends[lines-1])
		}
	}
	for length := range ends[0] {
		if _, err := Read(bytes.NewReader(whole[:length]), func(*Header) {}, func(*Record) error { return nil }); err == nil {
			t.Fatalf("%d bytes of a header were taken for one", length)
		}
	}
}

// A flipped bit in any byte is noticed: the line is named and not used, and the others are.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	records := exampleRecords()
	whole := logOf(t, records...)
	line := int64(1)
	for i, b := range whole {
		broken := slices.Clone(whole)
		broken[i] ^= 1 << (i % 8)
		// Without the header nothing can be read; a line's end makes two lines one, and the reverse: TestDamagedLines.
		if line > 1 && b != '\n' && broken[i] != '\n' {
			if c, list := read(t, broken); c.Damaged != 1 || len(list) != len(records)-2 || c.Damages[0].Line != line {
				t.Fatalf("byte %d: %+v, %d records; want line %d to be damaged", i, c, len(list), line)
			}
		}
		if b == '\n' {
			line++
		}
	}
}

func TestDamagedLines(t *testing.T) {
	records := exampleRecords()
	sealed := func(text string) string {
		return strings.TrimSuffix(text, "}") + mark + checksum([]byte(strings.TrimSuffix(text, "}"))) + "\"}\n"
	}
	header := string(logOf(t, records[0]))
	for _, c := range []struct{ line, want string }{
		{"\n", "checksum"},
		{"hello\n", "checksum"},
		{strings.Repeat("x", 3*maxLine) + "\n", "longer than"},
		{strings.Repeat("\x00", 600) + "\n", "checksum"},
		{sealed(`{"nothing":1}`), "unknown field"},
		{sealed(`{"end":null}`), "0 records in one"},
		{sealed(`{"end":{"why":"x"},"start":{}}`), "2 records in one"},
		{sealed(`{"end":`), "no record"},
		{sealed(`{"segment":{"number":0,"hertz":0}}`), "0 Hz"},
		{sealed(`{"segment":{"number":0,"hertz":1e300}}`), "Hz"},
		{sealed(`{"round":{"number":-1}}`), "round is -1"},
		{sealed(`{"round":{"at":{"raw_ns":9223372036854775807}}}`), "a clock reads"},
		{sealed(`{"failure":{"reason":"ok","every":1}}`), "has a reason"},
		{sealed(`{"failure":{"reason":"no_such_thing","every":1}}`), "no code"},
		{sealed(`{"failure":{"reason":"kiss_rate"}}`), "every is"},
		{sealed(`{"address":{"server":0,"address":"","every":1}}`), "no address"},
		{sealed(`{"sample":{"address":"192.0.2.1:123"}}`), "stamps are missing"},
		{header, "second header"},
	} {
		b := []byte(header + c.line + string(logOf(t, records[1])))
		got, list := read(t, b)
		if got.Damaged != 1 || len(got.Damages) != 1 || got.Damages[0].Line != 2 || !strings.Contains(got.Damages[0].Why, c.want) || len(list) != 1 || got.Length != int64(len(b)) {
			t.Errorf("%.60q: %+v, %d records; want %q", c.line, got, len(list), c.want)
		}
	}
	for _, text := range []string{"", "\n", "hello\n", string(logOf(t, records[1])), sealed(`{"header":{"format":99,"began":"2026-01-02T03:04:05Z"}}`)} {
		if c, err := Read(strings.NewReader(text), func(*Header) {}, func(*Record) error { return nil }); err == nil {
			t.Errorf("%.60q was taken for an observation: %+v", text, c)
		}
	}
}

func TestManyDamagesAreCounted(t *testing.T) {
	b := append(logOf(t, exampleRecords()[0]), strings.Repeat("x\n", 3*maxDamages)...)
	if c, _ := read(t, b); c.Damaged != 3*maxDamages || len(c.Damages) != maxDamages {
		t.Errorf("%d damaged, %d named", c.Damaged, len(c.Damages))
	}
}

func TestRecordsThatDoNotFitAreRefused(t *testing.T) {
	h := exampleRecords()[0].Header
	h.Version = strings.Repeat("x", maxLine)
	if _, err := (&Record{Header: h}).encode(); err == nil {
		t.Error("a line that no reader takes was written")
	}
	s := exampleRecords()[3].Sample
	s.Offset = math.NaN()
	if _, err := (&Record{Sample: s}).encode(); err == nil {
		t.Error("not a number was written")
	}
}

func TestLogOnDisk(t *testing.T) {
	records := exampleRecords()
	dir := filepath.Join(t.TempDir(), "deep", "er")
	l, err := CreateLog(dir, records[0].Header)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records[1:5] {
		if err := l.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := ResumeLog(dir, func(*Header) {}, func(*Record) error { return nil }); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a log was opened twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateLog(dir, records[0].Header); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("a log was overwritten: %v", err)
	}
	// A writer that died in the middle of a line.
	path := filepath.Join(dir, LogName)
	half := logOf(t, records[5])
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(half[:len(half)/2]); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	n := 0
	l, c, err := ResumeLog(dir, func(*Header) {}, func(*Record) error { n++; return nil })
	if err != nil || n != 4 || c.Cut != int64(len(half)/2) {
		t.Fatalf("%v, %d records, %+v", err, n, c)
	}
	if err := l.Append(records[5]); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(b, logOf(t, records[:6]...)) {
		t.Errorf("%v\n%s", err, b)
	}
	if _, _, err := ResumeLog(t.TempDir(), nil, nil); err == nil || !strings.Contains(err.Error(), "holds no observation") {
		t.Errorf("an empty directory was resumed: %v", err)
	}
	if _, err := CreateLog(path, records[0].Header); err == nil {
		t.Error("a file was taken for a directory")
	}
}

// What was written before the disk was full is kept, and nothing half after it.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no /dev/full")
	}
	defer func() { _ = full.Close() }()
	l := &Log{file: full}
	if err := l.Append(exampleRecords()[0]); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	two, length := 2, -1.0
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Hosts = nil }, "no host"},
		{func(c *Config) { c.Hosts = make([]string, MaxHosts+1) }, "at most"},
		{func(c *Config) { c.Hosts = []string{"a", "b", "a"} }, "given twice"},
		{func(c *Config) { c.Hosts = []string{"a:0"} }, "not a port"},
		{func(c *Config) { c.Hosts = []string{strings.Repeat("a", 400)} }, "400 bytes"},
		{func(c *Config) { c.Poll = 3.9 }, "--fast"},
		{func(c *Config) { c.Poll, c.Fast = 0.01, true }, "50ms"},
		{func(c *Config) { c.Poll = math.NaN() }, "a poll of"},
		{func(c *Config) { c.Poll = math.Inf(1) }, "a poll of"},
		{func(c *Config) { c.DriftBound = 0 }, "drift bound"},
		{func(c *Config) { c.MaxError = 17 }, "largest error"},
		{func(c *Config) { c.MaxFalse = &two }, "fewer than half"},
		{func(c *Config) { c.Length = &length }, "a length"},
	} {
		x := config("a", "b", "c")
		c.change(&x)
		if err := x.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", x, err, c.want)
		}
	}
	good := config("a", "b", "c")
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Hosts = []string{"a", "c", "b"} }, func(c *Config) { c.Poll = 32 }, func(c *Config) { c.Fast = true },
		func(c *Config) { c.DriftBound = 1e-6 }, func(c *Config) { c.MaxFalse = new(int) }, func(c *Config) { c.MaxError = 2 },
	} {
		other := config("a", "b", "c")
		change(&other)
		if good.Same(&other) == nil {
			t.Errorf("%+v was taken for the same as %+v", other, good)
		}
	}
}

// Public servers are never asked more often than every 4 s, however fast those at home are.
func TestPoliteness(t *testing.T) {
	c := config("a")
	c.Fast, c.Poll = true, 0.05
	for a, want := range map[string]int64{
		"127.0.0.1": 1, "10.1.2.3": 1, "192.168.0.1": 1, "169.254.1.1": 1, "::1": 1, "fe80::1": 1, "fd00::1": 1, "::ffff:10.0.0.1": 1,
		"192.0.2.1": 80, "8.8.8.8": 80, "100.64.0.1": 80, "2001:db8::1": 80, "172.32.0.1": 80,
	} {
		if got := c.everyFor(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is asked every %d polls, want %d", a, got, want)
		}
	}
	c.Poll = 3
	if got := c.everyFor(netip.MustParseAddr("192.0.2.1")); got != 2 {
		t.Errorf("every %d polls of 3 s", got)
	}
	c.Poll = 16
	if got := c.everyFor(netip.MustParseAddr("192.0.2.1")); got != 1 {
		t.Errorf("every %d polls of 16 s", got)
	}
}

// Foreign bytes never panic, and what is read of them can be analysed and reported.
func FuzzRead(f *testing.F) {
	records := exampleRecords()
	f.Add(logOf(f, records...))
	f.Add(logOf(f, records[:4]...))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		analyse(t, bytes.NewReader(b))
	})
}

// FuzzRecords fuzzes behind the checksum: a log whose lines are sealed rightly, whatever they say.
func FuzzRecords(f *testing.F) {
	var bodies []string
	for _, r := range exampleRecords()[1:] {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		bodies = append(bodies, string(b))
	}
	f.Add(strings.Join(bodies, "\n"))
	f.Add(strings.Join(append(bodies, bodies...), "\n"))
	f.Fuzz(func(t *testing.T, text string) {
		b := logOf(t, exampleRecords()[0])
		for line := range strings.SplitSeq(text, "\n") {
			body := []byte(strings.TrimSuffix(line, "}"))
			b = append(b, body...)
			b = append(b, mark+checksum(body)+"\"}\n"...)
		}
		analyse(t, bytes.NewReader(b))
	})
}

func analyse(t *testing.T, r *bytes.Reader) {
	var a *Analysis
	if _, err := Read(r, func(h *Header) { a = NewAnalysis(h) }, func(r *Record) error { return a.Step(r) }); err != nil {
		return
	}
	report := a.Report(true)
	if _, err := json.Marshal(report); err != nil {
		t.Fatalf("the report cannot be written: %v", err)
	}
	var out bytes.Buffer
	if err := report.Summary(&out); err != nil {
		t.Fatal(err)
	}
	if report.Line() == "" {
		t.Fatal("no line")
	}
}

// BenchmarkRead is how long it takes to read and analyse a record, and that its memory does not grow with it.
func BenchmarkRead(b *testing.B) {
	w := newWorld(b, 1, config(number(4)...), honest(4)...)
	for range 500 {
		w.play()
	}
	samples := 0
	b.ReportAllocs()
	for b.Loop() {
		var a *Analysis
		if _, err := Read(bytes.NewReader(w.log), func(h *Header) { a = NewAnalysis(h) }, func(r *Record) error { return a.Step(r) }); err != nil {
			b.Fatal(err)
		}
		samples += int(a.servers[0].answered) * 4
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(samples), "ns/sample")
	b.SetBytes(int64(len(w.log)))
}
