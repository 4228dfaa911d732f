package sim

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/virtualclock"
)

// The stories in testdata/*.txt are scripts with golden output (model: etcd-io/raft's testdata). A block is some command lines,
// a line of four dashes, and the output, ended by a blank line; lines that begin with # are comments. The commands are described
// in testdata/README.md. go test -run TestStories -rewrite writes the outputs anew; what expect says must hold all the same.

func rewriting() bool {
	f := flag.Lookup("rewrite")
	return f != nil && f.Value.String() == "true"
}

var _ = flag.Bool("rewrite", false, "write the golden outputs of the stories anew")

// block is one part of a story.
type block struct {
	comments []string // and blank lines before the commands
	commands []string
	output   []string
	hasMark  bool
}

func parseStory(text string) []block {
	var blocks []block
	b := block{}
	inOutput := false
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case inOutput && strings.TrimSpace(line) == "":
			blocks, b, inOutput = append(blocks, b), block{}, false
		case inOutput:
			b.output = append(b.output, line)
		case line == "----":
			b.hasMark, inOutput = true, true
		case len(b.commands) == 0 && (strings.HasPrefix(line, "#") || strings.TrimSpace(line) == ""):
			b.comments = append(b.comments, line)
		default:
			b.commands = append(b.commands, line)
		}
	}
	if len(b.commands) > 0 || len(b.comments) > 0 {
		blocks = append(blocks, b)
	}
	return blocks
}

func formatStory(blocks []block) string {
	var s strings.Builder
	for _, b := range blocks {
		for _, c := range b.comments {
			s.WriteString(c + "\n")
		}
		if len(b.commands) == 0 {
			continue
		}
		s.WriteString(strings.Join(b.commands, "\n") + "\n----\n")
		for _, o := range b.output {
			s.WriteString(o + "\n")
		}
		s.WriteString("\n")
	}
	return strings.TrimRight(s.String(), "\n") + "\n"
}

func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d stories found, at least 25 are expected: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), "# ") {
				t.Error("a story begins with a comment that says what should happen and why")
			}
			blocks := parseStory(string(text))
			runStory(t, blocks)
			got := formatStory(blocks)
			if rewriting() {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("the story goes otherwise than %s says (-rewrite takes the new one over):\n%s", file, difference(string(text), got))
			}
		})
	}
}

// difference shows the first lines that differ, with what is around them.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	show := func(name string, lines []string) string {
		from, to := max(i-3, 0), min(i+8, len(lines))
		if from > to {
			from = to
		}
		return fmt.Sprintf("%s, from line %d:\n  %s\n", name, from+1, strings.Join(lines[from:to], "\n  "))
	}
	return show("the file", w) + show("now", g)
}

// story is the state of a script.
type story struct {
	t       *testing.T
	world   *World
	seed    uint64
	epoch   virtualclock.Time
	servers map[string]*ServerConfig
	order   []string
	clients map[string]*ClientConfig
	last    *Host
	out     []string
	packets bool
	// silent: reports are not printed.
	silent bool
	// broken: an assumption is broken on purpose, and wrong intervals are only shown.
	broken bool
	where  string
	// group is the group of peers, if there is one.
	group       *Group
	groupConfig *GroupConfig
}

func runStory(t *testing.T, blocks []block) {
	s := &story{t: t, seed: 1, servers: map[string]*ServerConfig{}, clients: map[string]*ClientConfig{}}
	s.epoch = virtualclock.FromTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for i := range blocks {
		s.out = nil
		for _, line := range blocks[i].commands {
			s.where = line
			if err := s.command(line); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s.violations()
		}
		blocks[i].output = s.out
		if len(s.out) == 0 && len(blocks[i].commands) > 0 {
			blocks[i].output = []string{"ok"}
		}
	}
}

func (s *story) print(format string, a ...any) { s.out = append(s.out, fmt.Sprintf(format, a...)) }

// violations fails the test at the first wrong interval while the assumptions hold.
func (s *story) violations() {
	if s.world == nil {
		return
	}
	for _, h := range s.world.hosts {
		if h.Checker.Violations > 0 && !s.broken && (h.member == nil || h.member.Liar == nil) {
			s.t.Fatalf("%s: %s's interval did not contain the truth: %+v", s.where, h.Name, *h.Checker.First)
		}
		if h.Checker.Jumps > 0 {
			s.t.Errorf("%s: the clock of %s was not continuous %d times", s.where, h.Name, h.Checker.Jumps)
		}
	}
	s.groupViolations()
}

// options reads key=value words into a configuration: they become a TOML document, so all its keys and checks apply.
func options(words []string, into any) error {
	var document strings.Builder
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			value = "true"
		}
		if !strings.HasPrefix(value, `"`) && !strings.HasPrefix(value, "[") {
			if _, err := strconv.ParseFloat(value, 64); err != nil && value != "true" && value != "false" {
				value = strconv.Quote(value)
			}
		}
		fmt.Fprintf(&document, "%s = %s\n", key, value)
	}
	d := toml.NewDecoder(strings.NewReader(document.String()))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return describe(err)
	}
	return nil
}

// words splits a line at blanks outside of quotes.
func words(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

func (s *story) command(line string) error {
	w := words(line)
	name, rest := w[0], w[1:]
	switch name {
	case "world":
		return s.setWorld(rest)
	case "server":
		return s.addServer(rest)
	case "client":
		return s.addClient(rest)
	case "run":
		d, err := ParseLength(rest[0])
		if err != nil {
			return err
		}
		return s.world.Run(s.world.now + Seconds(d))
	case "fault":
		var f FaultConfig
		if err := options(rest, &f); err != nil {
			return err
		}
		if err := f.check(&Scenario{Length: Length(longest.Seconds()), Group: s.groupConfig}); err != nil && f.Server == "" {
			return err
		}
		_, err := f.Apply(s.world)
		return err
	case "group":
		return s.addGroup(rest)
	case "members":
		s.members()
		return nil
	case "peers":
		return s.peers(rest[0])
	case "mend":
		s.group.cut(strings.Split(rest[0], ","), false)
		return nil
	case "boot":
		d, err := ParseLength(rest[1])
		if err != nil {
			return err
		}
		return s.world.Host(rest[0]).member.restart(d)
	case "lie":
		return s.lie(rest)
	case "configure":
		return s.configure(rest)
	case "status":
		return s.each(rest, s.status)
	case "sources":
		return s.each(rest, s.sources)
	case "expect":
		return s.expect(rest)
	case "abandon":
		return s.abandon(rest)
	case "packets":
		s.packets = rest[0] == "on"
		return nil
	case "reports":
		s.silent = rest[0] == "off"
		return nil
	case "assumptions":
		return s.assumptions(rest[0])
	}
	return fmt.Errorf("there is no such command")
}

func (s *story) setWorld(rest []string) error {
	var o struct {
		Seed  uint64 `toml:"seed"`
		Epoch string `toml:"epoch"`
	}
	if err := options(rest, &o); err != nil {
		return err
	}
	if o.Seed != 0 {
		s.seed = o.Seed
	}
	if o.Epoch != "" {
		at, err := time.Parse(time.RFC3339, o.Epoch)
		if err != nil {
			return err
		}
		s.epoch = virtualclock.FromTime(at)
	}
	return nil
}

func (s *story) begin() {
	if s.world == nil {
		s.world = NewWorld(s.seed, s.epoch)
		s.world.Sample = 100 * Millisecond
		s.world.Observe = s.observe
	}
}

func (s *story) addServer(rest []string) error {
	s.begin()
	v := &ServerConfig{Name: rest[0]}
	if err := options(rest[1:], v); err != nil {
		return err
	}
	s.servers[v.Name] = v
	s.order = append(s.order, v.Name)
	_, err := s.world.AddHost(HostConfig{Name: v.Name, Master: v.master()})
	return err
}

// hosts returns the hosts of some names, all servers for none.
func (s *story) hosts(names string) ([]*Host, error) {
	list := s.order
	switch names {
	case "":
	case "none":
		list = nil
	default:
		list = strings.Split(names, ",")
	}
	var all []*Host
	for _, n := range list {
		h := s.world.Host(n)
		if h == nil {
			return nil, fmt.Errorf("there is no host %q", n)
		}
		all = append(all, h)
	}
	return all, nil
}

// take removes the word key=value and returns the value.
func take(words []string, key string) (rest []string, value string) {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			value = v
			continue
		}
		rest = append(rest, w)
	}
	return rest, value
}

// addClient adds a client that follows all servers (or those of sources=), and starts it.
func (s *story) addClient(rest []string) error {
	s.begin()
	rest, names := take(rest, "sources")
	c := &ClientConfig{Poll: 1, Timeout: 0.2}
	if err := options(rest[1:], c); err != nil {
		return err
	}
	masters, err := s.hosts(names)
	if err != nil {
		return err
	}
	h, err := s.world.AddHost(HostConfig{Name: rest[0], Oscillator: c.Oscillator, Hertz: c.CounterHz, Start: 1 << 40, Stamps: c.Stamps, Serve: true})
	if err != nil {
		return err
	}
	s.order = slices.DeleteFunc(s.order, func(n string) bool { return n == h.Name })
	s.clients[h.Name], s.last = c, h
	s.servers[h.Name] = &ServerConfig{Delay: Constant(50e-6)}
	n := c.Node(nil)
	if n.Sources, err = s.sourcesOf(h, c, masters); err != nil {
		return err
	}
	return h.Start(n, float64(c.StartError))
}

// link connects h with a server, unless it is already, and returns the source's ID.
func (s *story) link(h, m *Host) (id int, err error) {
	for _, l := range h.links {
		if l.Server == m {
			return l.Source, nil
		}
	}
	id = len(h.links) + 1
	toConfig, fromConfig := s.servers[m.Name].paths()
	to, err := s.world.NewPath(toConfig, h.Name+"→"+m.Name)
	if err != nil {
		return 0, err
	}
	from, err := s.world.NewPath(fromConfig, m.Name+"→"+h.Name)
	if err != nil {
		return 0, err
	}
	_, err = s.world.Connect(h, id, m, to, from)
	return id, err
}

// sourcesOf makes the sources of a node that follows these servers.
func (s *story) sourcesOf(h *Host, c *ClientConfig, masters []*Host) (all []node.SourceConfig, err error) {
	for _, m := range masters {
		id, err := s.link(h, m)
		if err != nil {
			return nil, err
		}
		all = append(all, c.Source(id, m))
	}
	return all, nil
}

// configure changes the configuration of a client; sources= names the servers it follows from now on, none for none.
func (s *story) configure(rest []string) error {
	h := s.world.Host(rest[0])
	rest, names := take(rest[1:], "sources")
	c := *s.clients[h.Name]
	if err := options(rest, &c); err != nil {
		return err
	}
	masters, err := s.hosts(names)
	if err != nil {
		return err
	}
	n := c.Node(nil)
	n.Counter.Hertz = h.hertz
	if n.Sources, err = s.sourcesOf(h, &c, masters); err != nil {
		return err
	}
	return h.Step(node.Event{Kind: node.EventConfigure, Config: &n})
}

// lie makes a server tell one client another time: lie SERVER CLIENT OFFSET.
func (s *story) lie(rest []string) error {
	offset, err := ParseLength(rest[2])
	if err != nil {
		return err
	}
	s.world.Host(rest[0]).Master.OffsetTo = func(client *Host, _ Instant) float64 {
		if client.Name == rest[1] {
			return offset
		}
		return 0
	}
	return nil
}

// each applies a command to the named clients, all without a name.
func (s *story) each(names []string, do func(*Host)) error {
	for _, h := range s.world.hosts {
		if h.Node != nil && (len(names) == 0 || slices.Contains(names, h.Name)) {
			do(h)
		}
	}
	return nil
}

// short prints a length of time with two digits.
func short(x float64) string {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return "none"
	}
	if x == 0 {
		return "0"
	}
	unit, scale := "s", 1.0
	switch a := math.Abs(x); {
	case a < 995e-9:
		unit, scale = "ns", 1e-9
	case a < 995e-6:
		unit, scale = "us", 1e-6
	case a < 0.995:
		unit, scale = "ms", 1e-3
	}
	v, _ := strconv.ParseFloat(strconv.FormatFloat(x/scale, 'g', 2, 64), 64)
	return strconv.FormatFloat(v, 'f', -1, 64) + unit
}

// observe prints the reports of a node.
func (s *story) observe(h *Host, r node.Report) {
	if s.silent || r.Topic == "packet" && !s.packets {
		return
	}
	line := fmt.Sprintf("%.1fs", s.world.now.Seconds())
	if len(s.clients) > 1 {
		line += " " + h.Name
	}
	line += " " + r.Topic
	if r.Source != 0 {
		line += " " + s.world.sourceName(h, r.Source)
	}
	if r.Topic == "clock" {
		line += " " + r.Status.String()
	}
	line += " " + r.Reason.String()
	if r.Value != 0 {
		line += " " + short(r.Value)
	}
	s.print("%s", line)
}

func (w *World) sourceName(h *Host, id int) string {
	if l := h.link(id); l != nil {
		return l.Server.Name
	}
	return strconv.Itoa(id)
}

func (s *story) status(h *Host) {
	k := &h.Publication.Clock
	i := k.Interval(h.Reading(s.world.now))
	bound := math.Inf(1)
	if i.Status.Sound() {
		bound = i.Latest.Seconds(i.Earliest) / 2
	}
	v := &h.Publication.Server
	s.print("%s: %v (%v), bound %s, epoch %d; serves stratum %d, leap %d, after %d requests",
		h.Name, i.Status, h.Publication.Reason.String(), short(bound), k.Epoch, v.Stratum, v.Leap, h.Packets)
}

func (s *story) sources(h *Host) {
	snapshot := h.Node.Snapshot(h.Reading(s.world.now))
	for _, x := range snapshot.Sources {
		line := fmt.Sprintf("%s %s: %s", h.Name, x.Name, x.Reason.String())
		if x.Distance != 0 {
			line += ", away " + short(x.Distance)
		}
		line += fmt.Sprintf(", reach %03o, poll %s, width %s", x.Reach, short(x.Poll), short((x.Reading.High-x.Reading.Low)/2))
		if x.Interleaved {
			line += ", interleaved"
		}
		var rejected []string
		for name, n := range x.Rejections.Map() {
			rejected = append(rejected, fmt.Sprintf("%s %d", name, n))
		}
		slices.Sort(rejected)
		if len(rejected) > 0 {
			line += "; rejected: " + strings.Join(rejected, ", ")
		}
		s.print("%s", line)
	}
}

// expect checks figures of a client (the last one made, or client=): status, reason, epoch, requests, error, bound, steps.
func (s *story) expect(rest []string) error {
	if rest[0] == "group" {
		return s.expectGroup(rest[1:])
	}
	rest, name := take(rest, "client")
	h := s.last
	if name != "" {
		h = s.world.Host(name)
	}
	k := &h.Publication.Clock
	c := h.Reading(s.world.now)
	i := k.Interval(c)
	bound := math.Inf(1)
	if i.Status.Sound() {
		bound = i.Latest.Seconds(i.Earliest) / 2
	}
	figures := map[string]float64{
		"error": math.Abs(k.Time(c).Seconds(s.world.Truth(s.world.now))), "bound": bound, "epoch": float64(k.Epoch),
		"requests": float64(h.Packets), "violations": float64(h.Checker.Violations), "rate_error": math.Abs(h.rateError()),
	}
	for _, w := range rest {
		at := strings.IndexAny(w, "<>=")
		if at < 0 {
			return fmt.Errorf("%q is not a condition", w)
		}
		key, operator, value := w[:at], w[at], w[at+1:]
		if key == "status" || key == "reason" {
			got := i.Status.String()
			if key == "reason" {
				got = h.Publication.Reason.String()
			}
			if got != value {
				s.t.Errorf("%s, at %v: the %s is %s", s.where, s.world.now, key, got)
			}
			continue
		}
		got, known := figures[key]
		_, _, limit, err := condition(w)
		if err != nil || !known {
			return fmt.Errorf("%q is not a condition", w)
		}
		if !holds(got, operator, limit) {
			s.t.Errorf("%s, at %v: %s is %g", s.where, s.world.now, key, got)
		}
	}
	return nil
}

// rateError is how wrong the node's rate of its counter is.
func (h *Host) rateError() float64 {
	snapshot := h.Node.Snapshot(h.Reading(h.world.now))
	return (1+snapshot.Rate)*(1+h.oscillator.FrequencyError(h.world.now-h.stopped)) - 1
}

// abandon leaves the last publication alone for a time, as if the daemon had died: what do the readers of its page see? It
// prints the changes of the status and checks every interval.
func (s *story) abandon(rest []string) error {
	d, err := ParseLength(rest[0])
	if err != nil {
		return err
	}
	h, last := s.last, virtualclock.Status(255)
	k := h.Publication.Clock
	begin := s.world.now
	for t := Instant(0); t <= Seconds(d); t += 100 * Millisecond {
		s.world.now = begin + t
		if i := h.Checker.check(h, &k, "abandoned"); i.Status != last {
			last = i.Status
			s.print("after %s: %v", short(t.Seconds()), i.Status)
		}
	}
	s.world.now = begin
	return nil
}

// assumptions broken: from here wrong intervals are shown, not fatal. assumptions hold: from here they are fatal again.
func (s *story) assumptions(word string) error {
	if word != "hold" && word != "broken" {
		return fmt.Errorf("assumptions hold or are broken")
	}
	if s.broken {
		for _, h := range s.world.hosts {
			if h.Node != nil {
				wrong := "none was wrong"
				if h.Checker.Violations > 0 {
					wrong = "some were wrong, by " + short(h.Checker.Worst) + " at the most"
				}
				s.print("%s: of the intervals meanwhile %s", h.Name, wrong)
				h.Checker = Checker{}
			}
		}
	}
	if s.broken {
		s.forgive()
	}
	s.broken = word == "broken"
	return nil
}
