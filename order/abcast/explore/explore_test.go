package explore

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/order/abcast/core"
)

// replay says how to see a schedule again.
func replay(seed uint64) string {
	return fmt.Sprintf("see it again with ABCAST_SCHEDULE=%d go test ./order/abcast/explore -run TestReplay -v", seed)
}

// schedules runs that many schedules and reports what was broken.
func schedules(t *testing.T, first uint64, count int, o Options) {
	t.Helper()
	var sum Result
	for k := range uint64(count) {
		r := Run(first+k, o)
		if r.Violation != nil {
			t.Errorf("%v\n%s", r.Violation, replay(r.Seed))
			return
		}
		sum.Deliveries += r.Deliveries
		sum.Messages += r.Messages
		sum.Reads += r.Reads
		sum.Views += r.Views
		sum.Lives += r.Lives
		sum.Steps += r.Steps
	}
	t.Logf("%d schedules from seed %d: %d messages delivered %d times, %d reads, %d views, %d lives, %d events", count, first, sum.Messages, sum.Deliveries, sum.Reads,
		sum.Views, sum.Lives, sum.Steps)
}

func TestSchedulesKeepAllProperties(t *testing.T) {
	t.Parallel()
	count := 500
	if raceEnabled {
		count = 40
	}
	schedules(t, testkit.Seed(t)%(1<<40), count, Options{Faulty: 500 * time.Millisecond})
}

// TestReplay shows one schedule again, with what happened.
func TestReplay(t *testing.T) {
	text := os.Getenv("ABCAST_SCHEDULE")
	if text == "" {
		t.Skip("no schedule in ABCAST_SCHEDULE")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Trace: true}
	if faulty := os.Getenv("ABCAST_FAULTY"); faulty != "" {
		if o.Faulty, err = time.ParseDuration(faulty); err != nil {
			t.Fatal(err)
		}
	}
	r := Run(seed, o)
	t.Logf("%+v", r)
	if r.Violation != nil {
		t.Error("a property is broken")
	}
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	t.Parallel()
	seed := testkit.Seed(t) % (1 << 40)
	a, b := Run(seed, Options{Faulty: 400 * time.Millisecond}), Run(seed, Options{Faulty: 400 * time.Millisecond})
	if a != b {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// TestMutationsAreFound: the checker sees each fault of theory 7.1, and that the frames that were acknowledged must be durable. A checker that does not is broken.
func TestMutationsAreFound(t *testing.T) {
	for m, c := range map[core.Mutation]struct {
		name string
		o    Options
		want []string
	}{
		core.SmallAckQuorum:      {"a - 1", Options{}, nil},
		core.SmallFlushQuorum:    {"phi - 1", Options{}, nil},
		core.AckFrozen:           {"no freeze", Options{}, nil},
		core.IgnoreStability:     {"no stability", Options{}, nil},
		core.IgnoreOwnPromise:    {"no own promise", Options{}, nil},
		core.ReadWithoutProbe:    {"no probe", Options{}, []string{"linearizability"}},
		core.AckBeforeDurable:    {"acknowledged before durable", Options{Blackouts: true, Durability: only(core.Fsync)}, nil},
		core.AnswerWithoutMemory: {"answers without memory", Options{Durability: only(core.Memory)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if raceEnabled {
				t.Skip("without the race detector only: it takes many schedules")
			}
			c.o.Mutation = m
			for seed := uint64(1); seed < 3000; seed++ {
				r := Run(seed, c.o)
				if r.Violation == nil || strings.Contains(r.Violation.Error(), "liveness") {
					continue
				}
				found := len(c.want) == 0
				for _, w := range c.want {
					found = found || strings.Contains(r.Violation.Error(), w)
				}
				if found {
					t.Logf("schedule %d: %s", seed, brief(r.Violation))
					return
				}
			}
			t.Error("not found")
		})
	}
}

func only(d core.Durability) *core.Durability { return &d }

// brief leaves the configuration out.
func brief(err error) string {
	_, text, _ := strings.Cut(err.Error(), "}: ")
	return text
}
