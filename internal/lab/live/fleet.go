package live

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/lab/chrony"
	"github.com/clockd/clockd/internal/lab/network"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/virtualclock"
)

// What the hosts' oscillators are like. The daemons know only the drift bound, which is larger than any frequency error can be.
const (
	leastPPM, mostPPM = 14, 48
	limitPPM          = 55
	driftPPM          = 60
	// walkPerRootSecond is that of an ordinary crystal; the sine is that of a machine whose fan comes and goes.
	walkPerRootSecond               = 1e-8
	sinePPM                         = 1
	leastSinePeriod, mostSinePeriod = 100, 300
	// originStep is by how many seconds the counters of neighbours differ at the start.
	originStep = 1000
)

// How the group is told to work.
const (
	gain          = 0.25
	externalError = 2 * time.Millisecond
	maxBound      = time.Second
	// masterBound is what masters beside the first may be wrong by: each reads the machine's wall clock once.
	masterBound = 500 * time.Microsecond
	ntpPort     = 123
	// lowPort to highPort are below those that the kernel gives to clients.
	lowPort, highPort = 20_000, 32_000
	answerWithin      = time.Second
	// endsWithin is how long a daemon may take to end in order.
	endsWithin = 5 * time.Second
)

// node is one master or host.
type node struct {
	number  int // in the network
	name    string
	master  bool
	dir     string
	config  string
	page    string
	control string
	log     string
	address netip.AddrPort
	// spec is the counter's, skewed nil for one that has the true counter.
	spec     string
	skewed   *hw.Skewed
	identity *keys.Identity
	// lies: it is not correct at some time; member is what this program plays of it, nil for the shipped program.
	lies   bool
	member *Member

	// running is its process; the script puts another one there while others look.
	running atomic.Pointer[process]
	input   *os.File // a member's
	// chronyd: the node runs that, and not clockd.
	chronyd *chrony.Config
}

// fleet is all nodes with their network.
type fleet struct {
	plan     *Plan
	programs programs
	base     hw.Counter
	start    hw.Ticks
	seed     uint64
	work     *work
	nodes    []*node

	// comparing is nil but for Compare.
	comparing *comparison

	// travels are the packets that were carried since delays was called last.
	travels    chan network.Travel
	delays     map[[2]int]*result.Classes
	links      *network.Links
	namespaces *network.Namespaces
	loopback   *network.Loopback
	starter    *network.Starter
}

// agreementConfig is what all members of the group have in common.
func (p *Plan) agreementConfig(base hw.Counter) config.Agreement {
	e, rho := base.Frequency().ErrorPPB*1e-9, driftPPM*1e-6
	return config.Agreement{
		Period: config.Duration(p.Period), Faults: -1, ReadingError: config.Duration(p.ReadingError), Poll: config.Duration(p.Poll),
		// An answer may be as late as a reading may be wrong, and the machine busy besides.
		Timeout: config.Duration(p.Poll) * 9 / 10, DriftBound: config.Ratio(rho + e + rho*e), ExternalFaults: -1,
	}
}

// newFleet makes the network and everybody's files, and checks every configuration. What it returns must be closed, even with an error.
func newFleet(p *Plan, programs programs, base hw.Counter, seed uint64, comparing *comparison) (*fleet, error) {
	f := &fleet{plan: p, programs: programs, base: base, start: base.Read(), seed: seed, comparing: comparing}
	var err error
	if f.work, err = newWork(); err != nil {
		return f, err
	}
	if err := f.makeNetwork(); err != nil {
		return f, err
	}
	lying := p.liars()
	for i, name := range p.Nodes() {
		n := &node{number: i, name: name, master: i < p.Masters, dir: filepath.Join(f.work.path, name), lies: slices.Contains(lying, i), spec: base.Spec()}
		n.config, n.page, n.control, n.log = filepath.Join(n.dir, "clockd.toml"), filepath.Join(n.dir, "page"), filepath.Join(n.dir, "control"), filepath.Join(n.dir, "log")
		if err := f.equip(n); err != nil {
			return f, err
		}
		f.nodes = append(f.nodes, n)
	}
	for _, n := range f.nodes {
		if err := f.configure(n); err != nil {
			return f, err
		}
	}
	f.cast(lying)
	return f, nil
}

// makeNetwork makes the emulated network.
func (f *fleet) makeNetwork() error {
	n := len(f.plan.Nodes())
	f.travels = make(chan network.Travel, 10_000)
	o := network.Options{Seed: f.seed, RealTime: true, Travelled: f.travels}
	kind := f.plan.Network
	if kind == NetworkAuto {
		if kind = NetworkLoopback; os.Geteuid() == 0 {
			kind = NetworkNamespaces
		}
	}
	var err error
	if kind == NetworkNamespaces {
		if f.namespaces, err = network.NewNamespaces(n, o); err != nil {
			return fmt.Errorf("%w; --network %s needs no rights", err, NetworkLoopback)
		}
		f.links = f.namespaces.Links
	} else {
		if f.loopback, err = network.NewLoopback(n, o); err != nil {
			return err
		}
		f.links = f.loopback.Links
	}
	if f.starter, err = network.NewStarter(); err != nil {
		return err
	}
	return f.mend("", "")
}

// network says what it is, for people.
func (f *fleet) network() string {
	if f.namespaces != nil {
		return NetworkNamespaces
	}
	return NetworkLoopback
}

// note counts the delays of the packets that were carried meanwhile.
func (f *fleet) note() {
	for {
		select {
		case x := <-f.travels:
			key := [2]int{x.From, x.To}
			if f.delays == nil {
				f.delays = map[[2]int]*result.Classes{}
			}
			if f.delays[key] == nil {
				f.delays[key] = &result.Classes{}
			}
			f.delays[key].Add(x.Seconds)
		default:
			return
		}
	}
}

// mostHistograms is how many directions have a histogram: each makes a picture's curve.
const mostHistograms = 64

// histograms are the delays of the directions that were used most: those of the first nodes, where there are many.
func (f *fleet) histograms() []result.Histogram {
	var all []result.Histogram
	name := func(i int) string {
		if f.comparing != nil {
			return []string{"m1", "clockd", "chronyd"}[i]
		}
		return f.nodes[i].name
	}
	for i := range f.nodes {
		for j := range f.nodes {
			c := f.delays[[2]int{i, j}]
			if c == nil || len(all) >= mostHistograms {
				continue
			}
			if h, ok := c.Histogram(); ok {
				h.Name, h.Clock, h.Peer, h.Direction = "delay", name(i), name(j), result.DirectionTo
				all = append(all, h)
			}
		}
	}
	return all
}

// starterOf starts programs where a node is.
func (f *fleet) starterOf(n *node) starter {
	if f.namespaces != nil {
		return f.namespaces.Host(n.number)
	}
	return f.starter
}

// equip gives a node its directory, address, counter and identity.
func (f *fleet) equip(n *node) error {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return fmt.Errorf("the files of %s: %w", n.name, err)
	}
	if f.namespaces != nil {
		n.address = netip.AddrPortFrom(f.namespaces.Host(n.number).Address, ntpPort)
	} else if err := f.freeAddress(n); err != nil {
		return err
	}
	// In a comparison the hosts have the machine's own counter, as chronyd has the machine's clock, and true time is what drifts.
	if n.master == (f.comparing == nil) {
		return nil
	}
	var err error
	skew := oscillator(f.seed, n.number, f.start, f.base.Frequency().Hertz)
	skew.Jumps = f.plan.jumps(n.name, f.plan.formsBefore().Seconds())
	if n.skewed, err = hw.NewSkewed(f.base, skew); err != nil {
		return err
	}
	n.spec = n.skewed.Spec()
	if !f.plan.Group() {
		return nil
	}
	// An identity is a secret: it is made by the system's randomness, and not by the seed.
	if n.identity, err = newIdentity(); err != nil {
		return err
	}
	return n.identity.Create(filepath.Join(n.dir, "identity"))
}

// oscillator is a node's: neighbours err in opposite directions, so that clocks left alone would visibly part.
func oscillator(seed uint64, i int, start hw.Ticks, hertz float64) hw.Skew {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	ppm := leastPPM + (mostPPM-leastPPM)*r.Float64()
	if i%2 == 1 {
		ppm = -ppm
	}
	return hw.Skew{
		Seed: r.Uint64(), PPM: ppm, WalkPerRootSecond: walkPerRootSecond, LimitPPM: limitPPM, Start: start, Origin: start + hw.Ticks(float64(i+1)*originStep*hertz),
		Sine: hw.Sine{PPM: sinePPM, PeriodSeconds: leastSinePeriod + (mostSinePeriod-leastSinePeriod)*r.Float64(), PhaseTurns: r.Float64()},
	}
}

// freeAddress finds a UDP port of 127.0.0.1 for a node, out of the range from which clients get theirs: it must be free still when the
// node starts, and when it starts again.
func (f *fleet) freeAddress(n *node) error {
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(n.number)))
	for range 1000 {
		port := lowPort + r.IntN(highPort-lowPort)
		if slices.ContainsFunc(f.nodes, func(x *node) bool { return int(x.address.Port()) == port }) {
			continue
		}
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			n.address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
			return conn.Close()
		}
	}
	return fmt.Errorf("no free UDP port on 127.0.0.1 from %d to %d for %s", lowPort, highPort, n.name)
}

// reach is where one node asks another.
func (f *fleet) reach(from, to *node) (netip.AddrPort, error) {
	if f.namespaces != nil {
		return to.address, nil
	}
	return f.loopback.Relay(from.number, to.number, to.address)
}

// configure writes a node's configuration, and reads it as the daemon will.
func (f *fleet) configure(n *node) error {
	if f.comparing != nil && n.number == len(f.nodes)-1 {
		return f.configureChronyd(n)
	}
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("[clock]\nmax_bound = %q", maxBound)
	line("[counter]\nsource = %q\ndrift_bound = \"%dppm\"", n.spec, driftPPM)
	line("[stamps]\nhardware = false")
	line("[page]\npath = %q\n[control]\npath = %q", n.page, n.control)
	line("[state]\npath = %q", filepath.Join(n.dir, "state.json"))
	// On one machine nobody asks too often.
	line("[server]\nlisten = [%q]\nrate = 100000\nburst = 100000\ninterleaved = true", n.address)
	if err := f.relations(n, line); err != nil {
		return err
	}
	if err := os.WriteFile(n.config, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("the configuration of %s: %w", n.name, err)
	}
	if _, err := config.Load(n.config, config.Paths{}); err != nil {
		return fmt.Errorf("these hosts cannot work like this (a longer period, a shorter poll or a smaller reading error may help):\n%w", err)
	}
	return nil
}

// relations are the parts of a configuration that name other nodes.
func (f *fleet) relations(n *node, line func(string, ...any)) error {
	if n.master {
		line("[local]\nstratum = 1")
		if n.number > 0 {
			line("bound = %q", masterBound)
		}
		return nil
	}
	for _, m := range f.nodes {
		if !m.master {
			continue
		}
		at, err := f.reach(n, m)
		if err != nil {
			return err
		}
		line("[[source]]\naddress = %q\npoll = %q\nburst = 4\nburst_spacing = \"50ms\"\ntimeout = %q\ninterleaved = true\nmax_error = %q",
			at, time.Duration(f.plan.Poll), answerWithin, maxBound)
	}
	if !f.plan.Group() {
		return nil
	}
	a := f.plan.agreementConfig(f.base)
	line("[identity]\nkey_file = %q", filepath.Join(n.dir, "identity"))
	line("[agreement]\nperiod = %q\nreading_error = %q\npoll = %q\ntimeout = %q\ndrift_bound = \"%.17g\"", a.Period, a.ReadingError, a.Poll, a.Timeout, float64(a.DriftBound))
	if f.plan.Mode == ModeHybrid {
		line("gain = %g\nexternal_error = %q", gain, externalError)
	}
	for _, m := range f.nodes {
		if m.master || m == n {
			continue
		}
		at, err := f.reach(n, m)
		if err != nil {
			return err
		}
		line("[[peer]]\nname = %q\naddress = %q\npublic_key = %q", m.name, at, m.identity.Public())
	}
	return nil
}

// cast says which nodes this program plays.
func (f *fleet) cast(lying []int) {
	names := f.plan.adversaries()
	for k, i := range lying {
		n := f.nodes[i]
		n.member = f.newMember(n)
		n.member.Adversary, n.member.Seed = names[k%len(names)], f.seed+uint64(k)*0x9e3779b97f4a7c15
		n.member.Waits = i < len(f.nodes)-f.plan.Liars
	}
}

// newMember describes a node that this program plays.
func (f *fleet) newMember(n *node) *Member {
	m := &Member{Config: n.config, Version: f.programs.version, Self: -1, Base: f.base.Spec(), Start: f.start}
	if !f.plan.Group() {
		return m
	}
	for _, x := range f.nodes {
		if x.master {
			continue
		}
		if x == n {
			m.Self = len(m.Mates)
		}
		m.Mates = append(m.Mates, Mate{x.name, x.page, x.identity.Public(), !x.lies})
	}
	return m
}

// launch starts a node's process. wallClock is by how much its wall clock is wrong.
func (f *fleet) launch(n *node, wallClock time.Duration) (err error) {
	member := n.member
	if member == nil && wallClock != 0 {
		member = f.newMember(n)
	}
	if n.chronyd != nil {
		return f.launchChronyd(n)
	}
	if member == nil {
		return n.run(start(f.starterOf(n), n.log, nil, f.programs.clockd, "run", "-c", n.config))
	}
	member.WallClockSeconds = wallClock.Seconds()
	b, err := json.Marshal(member)
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	file := filepath.Join(n.dir, "member.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	n.closeInput()
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	n.input = write
	return errors.Join(n.run(start(f.starterOf(n), n.log, read, f.programs.self, "live-member", file)), read.Close())
}

// run takes a process over that was started.
func (n *node) run(p *process, err error) error {
	if err == nil {
		n.running.Store(p)
	}
	return err
}

// process is the node's process, nil before it was started.
func (n *node) process() *process { return n.running.Load() }

func (n *node) closeInput() {
	if n.input != nil {
		_ = n.input.Close()
		n.input = nil
	}
}

// await waits until a node answers at its control socket.
func (f *fleet) await(ctx context.Context, n *node) error {
	for {
		short, cancel := context.WithTimeout(ctx, time.Second)
		var err error
		if n.chronyd != nil {
			_, err = f.comparing.tracking(short, n)
		} else {
			var s control.Status
			err = control.Call(short, n.control, control.CommandStatus, &s)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.process().done:
			return fmt.Errorf("the daemon of %s ended at once: %s", n.name, lastLine(n.log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastLine is the end of a log, for people.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return cmp.Or(strings.TrimSpace(lines[len(lines)-1]), fmt.Sprint(err))
}

// startAll starts all nodes, the masters first, and returns when all answer.
func (f *fleet) startAll(ctx context.Context) error {
	for _, n := range f.nodes {
		if err := f.launch(n, 0); err != nil {
			return err
		}
		// A master's clock is what hosts begin with: it is there before they are.
		if n.master {
			if err := f.await(ctx, n); err != nil {
				return err
			}
		}
	}
	for _, n := range f.nodes {
		if err := f.await(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// openPages opens all pages.
func (f *fleet) openPages() ([]*virtualclock.Reader, error) {
	var pages []*virtualclock.Reader
	for _, n := range f.nodes {
		page, err := virtualclock.OpenPage(n.page)
		if err != nil {
			return pages, fmt.Errorf("the page of %s: %w", n.name, err)
		}
		pages = append(pages, page)
	}
	return pages, nil
}

// node returns the node of that name.
func (f *fleet) node(name string) *node {
	i := slices.IndexFunc(f.nodes, func(n *node) bool { return n.name == name })
	if i < 0 {
		return nil
	}
	return f.nodes[i]
}

// do carries out a step of the script. The plan was checked: a node that it names is there.
func (f *fleet) do(s *Fault) error {
	n := f.node(s.Host)
	switch s.Do {
	case DoKill:
		return n.process().kill()
	case DoStop:
		return n.process().stop(endsWithin)
	case DoRestart:
		return f.launch(n, time.Duration(s.WallClock))
	case DoPause:
		return n.process().signal(signalStop)
	case DoResume:
		return n.process().signal(signalContinue)
	case DoLie:
		if _, err := n.input.WriteString(lieNow + "\n"); err != nil {
			return fmt.Errorf("%s cannot be told to lie: %w", n.name, err)
		}
	case DoPartition:
		return f.partition(s.Groups)
	case DoHeal:
		return f.links.Partition()
	case DoLink:
		return f.bend(s)
	case doMend:
		return f.mend(s.From, s.To)
	}
	return nil
}

func (f *fleet) partition(names [][]string) error {
	var groups [][]int
	for _, part := range names {
		var g []int
		for _, name := range part {
			g = append(g, f.node(name).number)
		}
		groups = append(groups, g)
	}
	return f.links.Partition(groups...)
}

// directions calls set for every direction between nodes of these names, "" for all.
func (f *fleet) directions(from, to string, set func(from, to int) error) error {
	names := f.plan.Nodes()
	for i, a := range names {
		for j, b := range names {
			if i == j || from != "" && from != a || to != "" && to != b {
				continue
			}
			if err := set(i, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// bend changes links.
func (f *fleet) bend(s *Fault) error {
	return f.directions(s.From, s.To, func(i, j int) error {
		l := f.links.Law(i, j)
		l.Added += time.Duration(s.Added)
		if s.Delay != nil {
			l.Delay = *s.Delay
		}
		if s.Loss != nil {
			l.Loss = *s.Loss
		}
		return f.links.Set(i, j, l)
	})
}

// mend gives links the laws of the plan back.
func (f *fleet) mend(from, to string) error {
	names := f.plan.Nodes()
	return f.directions(from, to, func(i, j int) error { return f.links.Set(i, j, f.plan.law(names, i, j)) })
}

// errInOrder is the end of a daemon that ended without an error.
var errInOrder = errors.New("in order")

// crashed returns what is told of a node whose process ended although nobody wanted it to; nil if there is none.
func (f *fleet) crashed(wanted map[string]state) error {
	for _, n := range f.nodes {
		if wanted[n.name] != ended && n.process() != nil && n.process().ended() {
			return fmt.Errorf("the daemon of %s ended by itself (%w): %s", n.name, cmp.Or(n.process().err, errInOrder), lastLine(n.log))
		}
	}
	return nil
}

// close ends everything and removes all files, unless the logs are to be kept.
func (f *fleet) close(keep bool) error {
	for _, n := range f.nodes {
		if n.process() != nil && !n.process().ended() {
			_ = n.process().signal(signalContinue)
			_ = n.process().signal(signalTerminate)
		}
	}
	var errs []error
	for _, n := range f.nodes {
		if n.process() != nil {
			errs = append(errs, n.process().stop(endsWithin))
		}
		n.closeInput()
	}
	if f.namespaces != nil {
		errs = append(errs, f.namespaces.Close())
	}
	if f.loopback != nil {
		errs = append(errs, f.loopback.Close())
	}
	if f.starter != nil {
		f.starter.Close()
	}
	if f.work != nil {
		errs = append(errs, f.work.close(keep))
	}
	return errors.Join(errs...)
}
