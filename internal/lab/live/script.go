package live

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/lab/network"
)

// What a fault does.
const (
	DoKill      = "kill"      // the host's process dies at once
	DoStop      = "stop"      // it ends in order
	DoRestart   = "restart"   // a host that was killed or stopped is started again
	DoPause     = "pause"     // its process stands still (SIGSTOP)
	DoResume    = "resume"    // and goes on
	DoPartition = "partition" // the network falls apart
	DoHeal      = "heal"      // and is whole again
	DoLie       = "lie"       // a host that was honest lies from now on
	DoLink      = "link"      // a link gets slower, or loses packets
	DoStep      = "step"      // a host's counter jumps forward, and its clock with it, and nothing tells it
)

// Fault is one line of a script: what happens when.
type Fault struct {
	// At is when, since the measurement began; For, if it is set, says when that is undone (pause, partition, link).
	At  Length `toml:"at"`
	For Length `toml:"for,omitempty"`
	Do  string `toml:"do"`
	// Host is whom it happens to: kill, stop, restart, pause, resume, lie, step.
	Host string `toml:"host,omitempty"`
	// WallClock is by how much the wall clock is wrong that a restarted host begins with.
	WallClock Length `toml:"wall_clock,omitempty"`
	// By is by how much a counter jumps.
	By Length `toml:"by,omitempty"`
	// Groups are the parts of a partition; nodes in none form one more.
	Groups [][]string `toml:"groups,omitempty"`
	// From and To are the ends of a link, one direction of it; either may be left out for all nodes. Added is a further delay,
	// Delay and Loss take the place of what was there.
	From  string     `toml:"from,omitempty"`
	To    string     `toml:"to,omitempty"`
	Added Length     `toml:"added,omitempty"`
	Delay *delay.Law `toml:"delay,omitempty"`
	Loss  *float64   `toml:"loss,omitempty"`
}

// String says in words what happens.
func (f *Fault) String() string {
	switch f.Do {
	case DoPartition:
		var parts []string
		for _, g := range f.Groups {
			parts = append(parts, strings.Join(g, " "))
		}
		return "partition: " + strings.Join(parts, " | ") + " | the others"
	case DoHeal:
		return "the network is whole again"
	case DoLink:
		var what []string
		if f.Added > 0 {
			what = append(what, fmt.Sprintf("%v slower", time.Duration(f.Added)))
		}
		if f.Delay != nil {
			what = append(what, "delay "+f.Delay.String())
		}
		if f.Loss != nil {
			what = append(what, fmt.Sprintf("loss %g %%", 100**f.Loss))
		}
		return fmt.Sprintf("link from %s to %s: %s", cmp.Or(f.From, "all"), cmp.Or(f.To, "all"), strings.Join(what, ", "))
	case DoStep:
		return fmt.Sprintf("the counter of %s jumps by %v", f.Host, time.Duration(f.By))
	case DoRestart:
		if f.WallClock != 0 {
			return fmt.Sprintf("restart %s, its wall clock off by %v", f.Host, time.Duration(f.WallClock))
		}
	}
	return f.Do + " " + f.Host
}

// Undone is the fault that undoes it, for For; nil if it has none.
func (f *Fault) undone() *Fault {
	if f.For == 0 {
		return nil
	}
	u := Fault{At: f.At + f.For, Host: f.Host, From: f.From, To: f.To}
	switch f.Do {
	case DoPause:
		u.Do = DoResume
	case DoPartition:
		u.Do = DoHeal
	case DoLink:
		u.Do = doMend
	default:
		return nil
	}
	return &u
}

// doMend gives a link its law back.
const doMend = "mend"

// repairs reports whether a fault makes something good again.
func (f *Fault) repairs() bool {
	return f.Do == DoRestart || f.Do == DoResume || f.Do == DoHeal || f.Do == doMend
}

// steps are all faults and what undoes them, in the order of time.
func (p *Plan) steps() []Fault {
	var all []Fault
	for i := range p.Fault {
		all = append(all, p.Fault[i])
		if u := p.Fault[i].undone(); u != nil {
			all = append(all, *u)
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return all
}

// state is what a host is at a place in the script.
type state uint8

const (
	running state = iota
	ended
	paused
)

// checkFaults plays the script without doing anything.
func (p *Plan) checkFaults() (errs []error) {
	nodes := p.Nodes()
	for i := range p.Fault {
		for _, err := range p.checkFault(&p.Fault[i], nodes) {
			errs = append(errs, fmt.Errorf("fault[%d] (%s at %v): %w", i, clip(p.Fault[i].Do), time.Duration(p.Fault[i].At), err))
		}
	}
	if errs != nil {
		return errs
	}
	for _, name := range p.stepped() {
		if n := len(p.jumps(name, 0)); n > mostJumps {
			errs = append(errs, fmt.Errorf("the counter of %s jumps %d times; at most %d are allowed", name, n, mostJumps))
		}
	}
	states := map[string]state{}
	for _, f := range p.steps() {
		if err := play(states, &f); err != nil {
			errs = append(errs, fmt.Errorf("the script at %v: %w", time.Duration(f.At), err))
		}
	}
	return errs
}

// play follows what a fault makes of a host.
func play(states map[string]state, f *Fault) error {
	s := states[f.Host]
	need := func(want state, text string) error {
		if s != want {
			return fmt.Errorf("%s cannot be: %s is not %s then", f, f.Host, text)
		}
		return nil
	}
	switch f.Do {
	case DoKill, DoStop:
		states[f.Host] = ended
		return need(running, "running")
	case DoRestart:
		states[f.Host] = running
		return need(ended, "ended")
	case DoPause:
		states[f.Host] = paused
		return need(running, "running")
	case DoResume:
		states[f.Host] = running
		return need(paused, "paused")
	case DoLie:
		return need(running, "running")
	}
	return nil
}

// checkFault complains of one fault alone.
func (p *Plan) checkFault(f *Fault, nodes []string) (errs []error) {
	bad := func(wrong bool, format string, a ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	bad(f.At < 0 || f.At >= p.For, "it must happen from 0s to before the end at %v", time.Duration(p.For))
	hasHost := slices.Contains([]string{DoKill, DoStop, DoRestart, DoPause, DoResume, DoLie, DoStep}, f.Do)
	bad(!hasHost && !slices.Contains([]string{DoPartition, DoHeal, DoLink}, f.Do), "nobody knows how to do that; there are %s", strings.Join(
		[]string{DoKill, DoStop, DoRestart, DoPause, DoResume, DoPartition, DoHeal, DoLie, DoStep, DoLink}, ", "))
	bad(hasHost && !slices.Contains(nodes, f.Host), "there is no host %.40q; there are %s", f.Host, strings.Join(nodes, ", "))
	bad(!hasHost && f.Host != "", "it does not happen to a host: leave out host")
	bad(f.Do == DoRestart && strings.HasPrefix(f.Host, "m"), "a master that starts again begins at another time than true time, which is its clock: restart hosts only")
	bad(f.Do == DoLie && (!strings.HasPrefix(f.Host, "h") || !p.Group()), "only a host of a group can lie to others")
	bad(f.Do == DoLie && slices.Contains(nodes[len(nodes)-min(p.Liars, len(nodes)):], f.Host), "%s lies from the beginning", f.Host)
	bad(f.Do != DoRestart && f.WallClock != 0, "only a host that restarts looks at its wall clock: leave out wall_clock")
	bad(max(f.WallClock, -f.WallClock) > Length(time.Hour), "a wall clock that is off by %v: at most 1h", time.Duration(f.WallClock))
	bad(f.Do == DoStep && strings.HasPrefix(f.Host, "m"), "a master's clock is true time: only a host's can jump")
	bad(f.Do == DoStep && slices.Contains(p.liars(), slices.Index(nodes, f.Host)), "%s lies: nobody would see its clock jump", f.Host)
	bad(f.Do == DoStep && (f.By <= 0 || f.By > mostJump), "by says by how much the counter jumps: more than 0s, at most %v", time.Duration(mostJump))
	bad(f.Do != DoStep && f.By != 0, "by belongs to a step")
	bad(f.For < 0 || f.For > 0 && !slices.Contains([]string{DoPause, DoPartition, DoLink}, f.Do), "only a pause, a partition and a link are undone by themselves, after a positive time")
	bad(f.For > 0 && f.At+f.For >= p.For, "it must be undone before the end at %v, or without for", time.Duration(p.For))
	bad(f.Do != DoPartition && len(f.Groups) > 0, "groups belong to a partition")
	if f.Do == DoPartition {
		bad(len(f.Groups) == 0, `a partition needs its parts: groups = [["h1", "h2"]]`)
		seen := map[string]bool{}
		for _, g := range f.Groups {
			for _, name := range g {
				bad(!slices.Contains(nodes, name), "there is no node %.40q; there are %s", name, strings.Join(nodes, ", "))
				bad(seen[name], "%.40s is in two parts", name)
				seen[name] = true
			}
		}
	}
	return append(errs, f.checkLink(nodes)...)
}

// checkLink complains of a link's fault, and of its keys elsewhere.
func (f *Fault) checkLink(nodes []string) (errs []error) {
	if f.Do != DoLink {
		if f.From != "" || f.To != "" || f.Added != 0 || f.Delay != nil || f.Loss != nil {
			return []error{errors.New("from, to, added, delay and loss belong to a link")}
		}
		return nil
	}
	for _, name := range []string{f.From, f.To} {
		if name != "" && !slices.Contains(nodes, name) {
			errs = append(errs, fmt.Errorf("there is no node %.40q; there are %s", name, strings.Join(nodes, ", ")))
		}
	}
	law := network.Law{Added: time.Duration(f.Added)}
	if f.Loss != nil {
		law.Loss = *f.Loss
	}
	if f.Added == 0 && f.Delay == nil && f.Loss == nil {
		errs = append(errs, errors.New("it needs added, delay or loss"))
	}
	if err := law.Check(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// scriptFile is a script: the faults of a scenario, alone.
type scriptFile struct {
	Fault []Fault `toml:"fault,omitempty"`
}

// ParseScript reads a script's file. It is checked with its plan.
func ParseScript(name string, b []byte) ([]Fault, error) {
	var s scriptFile
	if err := decode(b, &s); err != nil {
		return nil, fmt.Errorf("the script %s: %w", name, err)
	}
	if len(s.Fault) > maxFaults {
		return nil, fmt.Errorf("the script %s has %d faults; at most %d are allowed", name, len(s.Fault), maxFaults)
	}
	return s.Fault, nil
}

// DefaultScript is a partition, a death with a return and a slow link, spread over the length of the plan: something for every setup.
func DefaultScript(p *Plan) []Fault {
	nodes := p.Nodes()
	hosts := nodes[p.Masters:]
	at := func(part float64) Length {
		return Length((time.Duration(float64(p.For) * part)).Round(100 * time.Millisecond))
	}
	minority := hosts[:max(1, (len(hosts)-1)/3)]
	victim, slow := hosts[len(minority)%len(hosts)], hosts[(len(minority)+1)%len(hosts)]
	return []Fault{
		{At: at(0.15), For: at(0.2), Do: DoPartition, Groups: [][]string{minority}},
		{At: at(0.45), Do: DoKill, Host: victim},
		{At: at(0.55), Do: DoRestart, Host: victim},
		{At: at(0.7), For: at(0.15), Do: DoLink, From: slow, Added: Length(20 * time.Millisecond)},
	}
}

// jumps are what the script makes of a host's counter, whose history begins so many seconds before the measurement.
func (p *Plan) jumps(host string, before float64) []hw.CounterJump {
	var all []hw.CounterJump
	for i := range p.Fault {
		if f := &p.Fault[i]; f.Do == DoStep && f.Host == host {
			all = append(all, hw.CounterJump{Seconds: f.By.Seconds(), AtSeconds: before + f.At.Seconds()})
		}
	}
	return all
}

// stepped are the hosts whose counters jump.
func (p *Plan) stepped() []string {
	var all []string
	for _, name := range p.Nodes() {
		if len(p.jumps(name, 0)) > 0 {
			all = append(all, name)
		}
	}
	return all
}

func clip(s string) string { return fmt.Sprintf("%.40s", s) }
