//go:build linux

package virtualclock

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// The processes of TestKilledWriter are this test binary, told its part by the environment.
const (
	roleVariable = "CLOCKD_TEST_ROLE"
	pathVariable = "CLOCKD_TEST_PAGE"
	lineVariable = "CLOCKD_TEST_LINE"
	seedVariable = "CLOCKD_TEST_SEED"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "writer":
		os.Exit(roleWriter())
	case "reader":
		os.Exit(roleReader())
	}
	os.Exit(m.Run())
}

// truth is true time as a function of the counter, which all processes of the test know: so every field of a page can be checked.
type truth struct {
	Line     Line
	Counter  string
	Lifetime hw.Ticks
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 2
}

func theTruth() (t truth, err error) {
	err = json.Unmarshal([]byte(os.Getenv(lineVariable)), &t)
	return t, err
}

// roleWriter publishes as fast as it can until it is killed: coefficients that differ in every field from one publication to the
// next, each true, so that any mixture of two of them is false by far more than its bounds.
func roleWriter() int {
	t, err := theTruth()
	if err != nil {
		return fail(err)
	}
	seed, _ := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	r := rand.New(rand.NewPCG(seed, 1))
	counter, err := hw.Open(t.Counter)
	if err != nil {
		return fail(err)
	}
	w, err := CreatePage(os.Getenv(pathVariable), counter, seed)
	if err != nil {
		return fail(err)
	}
	clock := NewClock(t.Line.Period, 500e-6)
	clock.SetEpoch(w.LastEpoch())
	clock.Step(counter.Read(), t.Line.At(counter.Read()), 0)
	second := uint64(1e9 / t.Line.Period.Nanoseconds())
	for i := 0; ; i++ {
		now := counter.Read()
		at := now - hw.Ticks(r.Uint64N(second))
		drift := 1e-7 + 1e-6*r.Float64()
		clock.Steer(now, t.Line.At(now).AddSeconds((r.Float64()-0.5)*1e-6), (r.Float64()-0.5)*1e-6, r.Float64()*0.01)
		clock.SetBounds(at, t.Line.At(at).AddSeconds(-1e-7-1e-6*r.Float64()), t.Line.At(at).AddSeconds(1e-7+1e-6*r.Float64()),
			t.Line.Period.Scale(-drift), t.Line.Period.Scale(drift))
		clock.SetStatus(Synchronised, now+t.Lifetime/2, now+t.Lifetime)
		clock.SetDifference(t.Line.Period)
		if err := w.Publish(clock.Coefficients()); err != nil {
			return fail(err)
		}
		if i == 0 {
			fmt.Println("ready", w.TookOver())
		}
		for range r.IntN(4) * 50 { // give readers a chance
			counter.Read()
		}
	}
}

// tally is what one reader saw.
type tally struct {
	Sound, Void, Torn uint64
	Epochs            map[Epoch]uint64
	Wrong             []string
	LastSound         hw.Ticks
	lastTime          Time
	lastEpoch         Epoch
	lastTicks         hw.Ticks
}

// check judges one reading against the truth.
func (n *tally) check(t *truth, r Reading, why reason.Code) {
	if n.Epochs == nil {
		n.Epochs = map[Epoch]uint64{}
	}
	i := r.Interval
	wrong := ""
	switch real := t.Line.At(r.Ticks); {
	case !i.Sound():
		n.Void++
		if why == reason.PageTorn {
			n.Torn++
		}
		if why == reason.OK || i.Earliest != minTime || i.Latest != maxTime {
			wrong = "a void reading says something"
		}
	case !i.Contains(real):
		wrong = "true time " + real.String() + " is outside"
	case i.Width() > 20e-6:
		wrong = "too wide"
	case i.Status == Synchronised && why != reason.OK, i.Status == Holdover && why != reason.Stale:
		wrong = "reason " + why.String()
	case i.Bound(r.Time) > 30e-6:
		wrong = "the clock is not near true time"
	case i.Epoch == n.lastEpoch && r.Time.Before(n.lastTime):
		wrong = fmt.Sprintf("the clock went back from %v at %d", n.lastTime, n.lastTicks)
	case i.Epoch < n.lastEpoch:
		wrong = fmt.Sprintf("the epoch fell from %d", n.lastEpoch)
	}
	if i.Sound() {
		n.Sound++
		n.Epochs[i.Epoch]++
		n.lastTime, n.lastEpoch, n.lastTicks, n.LastSound = r.Time, i.Epoch, r.Ticks, r.Ticks
	}
	if wrong != "" && len(n.Wrong) < 5 {
		n.Wrong = append(n.Wrong, fmt.Sprintf("%s: %+v (%v)", wrong, r, why))
	}
}

// look takes one reading, now and then by the fast path, whose counter reading is not known but lies between two that are.
func (n *tally) look(t *truth, r *Reader) {
	reading, why := r.ReadReason()
	n.check(t, reading, why)
	before := r.Counter().Read()
	i := r.Now()
	after := r.Counter().Read()
	if i.Sound() && (i.Latest.Before(t.Line.At(before)) || t.Line.At(after).Before(i.Earliest)) && len(n.Wrong) < 5 {
		n.Wrong = append(n.Wrong, fmt.Sprintf("Now: %+v between %d and %d", i, before, after))
	}
	if i.Sound() {
		n.Sound++
		n.LastSound = max(n.LastSound, before)
	}
}

// roleReader reads until its input ends, then prints its tally.
func roleReader() int {
	t, err := theTruth()
	if err != nil {
		return fail(err)
	}
	r, err := OpenPage(os.Getenv(pathVariable))
	if err != nil {
		return fail(err)
	}
	var stop atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	fmt.Println("ready")
	var n tally
	for !stop.Load() {
		n.look(&t, r)
	}
	b, err := json.Marshal(&n)
	if err != nil {
		return fail(err)
	}
	fmt.Println(string(b))
	return 0
}

// process is one of the other processes.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Scanner
}

func startRole(t *testing.T, role, path string, line []byte, seed uint64) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path, lineVariable+"="+string(line),
		seedVariable+"="+strconv.FormatUint(seed, 10))
	p.cmd.Stderr = os.Stderr
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.output = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

// line waits for the next line of output.
func (p *process) line() string {
	p.t.Helper()
	if !p.output.Scan() {
		p.t.Fatalf("the other process ended: %v", p.cmd.Wait())
	}
	return p.output.Text()
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

// TestKilledWriter: the daemon is killed with -9, again and again, under 4 reading goroutines and a reading process. None ever reads
// a wrong, torn or inverted interval, or sees the clock go back; all see it void in time; all go on with its successor, which
// takes the page over in place. Deadlines are counted on the counter, so a slow machine is no failure.
func TestKilledWriter(t *testing.T) {
	counter, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "page")
	hertz := counter.Frequency().Hertz
	world := truth{Line{counter.Read(), Unix(1.8e18, 7), PeriodOf(hertz)}, counter.Spec(), hw.Ticks(hertz * 0.1)}
	line, err := json.Marshal(world)
	if err != nil {
		t.Fatal(err)
	}
	writer := startRole(t, "writer", path, line, 1)
	if got := writer.line(); got != "ready false" {
		t.Fatal(got)
	}
	reader := startRole(t, "reader", path, line, 0)
	reader.line()
	shared := mustOpen(t, path, hw.Open)
	before := inode(t, path)

	const readers, deaths = 4, 12
	var tallies [readers]tally
	var goroutines sync.WaitGroup
	// round is what the readers are told: the reading after which the writer was dead, and they answer when they saw void.
	var deadSince, voidSeen [readers]atomic.Uint64
	var stop, late atomic.Bool
	for i := range readers {
		goroutines.Go(func() {
			for !stop.Load() {
				tallies[i].look(&world, shared)
				if d := deadSince[i].Load(); d != 0 && tallies[i].LastSound.Sub(hw.Ticks(d)) > int64(world.Lifetime) {
					late.Store(true)
					return
				} else if d != 0 && shared.Counter().Read().Sub(hw.Ticks(d)) > int64(world.Lifetime) && !shared.Now().Sound() {
					voidSeen[i].Store(d)
				}
			}
		})
	}
	r := newRand(t, 99)
	for death := range deaths {
		for target := counter.Read() + hw.Ticks(r.Float64()*0.03*hertz); counter.Read().Before(target); {
		}
		writer.kill()
		dead := uint64(counter.Read())
		for i := range readers {
			deadSince[i].Store(dead)
		}
		for i := range readers {
			for voidSeen[i].Load() != dead && !late.Load() && !stop.Load() {
				for target := counter.Read() + hw.Ticks(hertz*0.002); counter.Read().Before(target); {
				}
				if counter.Read().Sub(hw.Ticks(dead)) > int64(hertz*60) {
					stop.Store(true)
					t.Errorf("reader %d has not seen the clock void a minute after its writer's death", i)
				}
			}
			deadSince[i].Store(0)
		}
		writer = startRole(t, "writer", path, line, uint64(death+2))
		if got := writer.line(); got != "ready true" {
			t.Fatalf("the next writer says %q", got)
		}
	}
	stop.Store(true)
	goroutines.Wait()
	if late.Load() {
		t.Error("a reading was sound after the lifetime that the dead writer's last publication had")
	}
	if inode(t, path) != before {
		t.Error("the page was replaced, not taken over")
	}
	var other tally
	_ = reader.input.Close()
	if err := json.Unmarshal([]byte(reader.line()), &other); err != nil {
		t.Fatal(err)
	}
	writer.kill()
	for i, n := range append(tallies[:], other) {
		if len(n.Wrong) > 0 {
			t.Errorf("reader %d: %s", i, strings.Join(n.Wrong, "\n"))
		}
		if n.Sound == 0 || n.Void == 0 || len(n.Epochs) < deaths/2 {
			t.Errorf("reader %d saw too little to judge: %d sound, %d void, %d epochs", i, n.Sound, n.Void, len(n.Epochs))
		}
		t.Logf("reader %d: %d sound readings in %d epochs, %d void, of which %d torn; none wrong", i, n.Sound, len(n.Epochs), n.Void, n.Torn)
	}
}
