package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Mate is what a member that this program plays knows of each member of the group.
type Mate struct {
	Name      string         `json:"name"`
	Page      string         `json:"page"`
	PublicKey keys.PublicKey `json:"public_key"`
	Correct   bool           `json:"correct"`
}

// Member is a host that cannot be the shipped program: one that lies, or whose wall clock is wrong.
type Member struct {
	// Config is the path of its configuration, which is that of any host.
	Config  string `json:"config"`
	Version string `json:"version"`
	// Self is its place among the Mates, −1 without a group.
	Self  int    `json:"self"`
	Mates []Mate `json:"mates"`
	// Adversary is how it lies, "" not at all. Waits: not before it is told so.
	Adversary string `json:"adversary"`
	Seed      uint64 `json:"seed"`
	Waits     bool   `json:"waits"`
	// Base is the true counter, and Start its reading at which the experiment began.
	Base  string   `json:"base"`
	Start hw.Ticks `json:"start"`
	// WallClockSeconds is by how much its wall clock is wrong.
	WallClockSeconds float64 `json:"wall_clock_s"`
}

// lieNow is the line on a member's input that makes it lie.
const lieNow = "lie"

// longestHold is how long a liar may hold an answer back at most.
const longestHold = 50 * time.Millisecond

// RunMember runs the member that a file describes, until ctx ends. A line "lie" on the input makes one that waits lie.
func RunMember(ctx context.Context, file string, input io.Reader, log *slog.Logger) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the member's description: %w", err)
	}
	var m Member
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("the member's description: %w", err)
	}
	c, err := config.Load(m.Config, config.Paths{})
	if err != nil {
		return err
	}
	o := daemon.Options{Config: c, ConfigPath: m.Config, Version: m.Version, Log: log}
	if m.WallClockSeconds != 0 {
		o.Realtime = func(hw.Ticks) virtualclock.Time {
			return virtualclock.FromTime(time.Now()).AddSeconds(m.WallClockSeconds)
		}
	}
	if m.Adversary != "" {
		l, err := newLiar(&m, c)
		if err != nil {
			return err
		}
		defer l.close()
		// The goroutine ends with the process: reading cannot be interrupted.
		go l.listen(input)
		o.Lie = l.answer
	}
	return daemon.Run(ctx, o)
}

// liar makes a member lie: its daemon is honest, but what it answers is altered before it leaves. It sees all pages: adversary.Sight.
type liar struct {
	member  *Member
	mind    adversary.Liar
	awake   atomic.Bool
	group   agreement.Config
	base    hw.Counter
	numbers map[keys.PublicKey]int
	correct []int

	mutex sync.Mutex
	pages []*virtualclock.Reader
	tried []time.Time
}

var _ adversary.Sight = (*liar)(nil)

func newLiar(m *Member, c *config.Config) (*liar, error) {
	if c.Agreement == nil || m.Self < 0 || m.Self >= len(m.Mates) {
		return nil, errors.New("a liar must be one of a group")
	}
	n := len(m.Mates)
	l := &liar{
		member: m, group: c.Agreement.Group(len(c.Peer)), numbers: map[keys.PublicKey]int{}, pages: make([]*virtualclock.Reader, n), tried: make([]time.Time, n),
	}
	var err error
	if l.mind, err = adversary.New(m.Adversary, m.Seed); err != nil {
		return nil, err
	}
	if l.base, err = hw.Open(m.Base); err != nil {
		return nil, err
	}
	for i, x := range m.Mates {
		l.numbers[x.PublicKey] = i
		if x.Correct {
			l.correct = append(l.correct, i)
		}
	}
	l.awake.Store(!m.Waits)
	return l, nil
}

// listen waits for the word.
func (l *liar) listen(input io.Reader) {
	for s := bufio.NewScanner(input); s.Scan(); {
		if s.Text() == lieNow {
			l.awake.Store(true)
		}
	}
}

// answer is daemon.Options.Lie: the goroutine that answers waits here while an answer is held back.
func (l *liar) answer(to keys.PublicKey, a *peerwire.Answer) bool {
	peer, ok := l.numbers[to]
	if !ok || !l.awake.Load() {
		return true
	}
	answered := l.mind.Answer(l, l.member.Self, peer, a)
	if hold := l.mind.Hold(l, l.member.Self, peer); hold > 0 {
		time.Sleep(min(time.Duration(hold*1e9), longestHold))
	}
	return answered
}

// Now is true time in seconds since the start.
func (l *liar) Now() float64 {
	return float64(l.base.Read().Sub(l.member.Start)) / l.base.Frequency().Hertz
}

// Members is how many there are.
func (l *liar) Members() int { return len(l.member.Mates) }

// Correct lists who does not lie.
func (l *liar) Correct() []int { return l.correct }

// Config is what the members have in common.
func (l *liar) Config() agreement.Config { return l.group }

// Ahead is the displayed clock of one member minus that of another, at one reading of the true counter.
func (l *liar) Ahead(member, of int) (seconds float64, known bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	t := l.base.Read()
	a, ok := l.clockAt(member, t)
	b, also := l.clockAt(of, t)
	if !ok || !also {
		return math.NaN(), false
	}
	return a.Seconds(b), true
}

// clockAt is a member's clock when the true counter reads t, whether anybody may believe it or not.
func (l *liar) clockAt(member int, t hw.Ticks) (virtualclock.Time, bool) {
	page := l.page(member)
	if page == nil {
		return virtualclock.Time{}, false
	}
	k, why := page.Coefficients()
	if why == reason.PageRetired && page.Reopen() == nil {
		k, _ = page.Coefficients()
	}
	counter, ok := page.Counter().(*hw.Skewed)
	if k.Steady.Period == 0 || !ok {
		return virtualclock.Time{}, false
	}
	return k.Time(counter.At(t)), true
}

// page opens a member's page, once it is there.
func (l *liar) page(member int) *virtualclock.Reader {
	if l.pages[member] == nil && time.Since(l.tried[member]) > time.Second {
		l.tried[member] = time.Now()
		if page, err := virtualclock.OpenPage(l.member.Mates[member].Page); err == nil {
			l.pages[member] = page
		}
	}
	return l.pages[member]
}

func (l *liar) close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for i, page := range l.pages {
		if page != nil {
			_ = page.Close()
		}
		l.pages[i] = nil
	}
}
