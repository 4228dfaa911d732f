package orderbench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/lab/network"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/order/abcast/transport"
)

// Options are what a run needs besides its plan.
type Options struct {
	// Member is the command that plays a member of our engines, HashicorpMember that of hashicorp-raft.
	Member, HashicorpMember []string
	// Dir is where the members' directories are made, and removed again.
	Dir string
	// Done is told of each row as it is there.
	Done func(Row)
}

// Run measures all points; with an error it returns what was measured before.
func Run(ctx context.Context, p *Plan, o *Options) ([]Row, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	var rows []Row
	for _, x := range p.Points() {
		r, err := measure(ctx, p, &x, o)
		if ctx.Err() != nil {
			return rows, context.Cause(ctx)
		}
		if err != nil {
			r.Error = err.Error()
		}
		rows = append(rows, r)
		if o.Done != nil {
			o.Done(r)
		}
	}
	return rows, nil
}

// cluster is a group of processes.
type cluster struct {
	members    []*process
	namespaces *network.Namespaces
	starter    *network.Starter
	dir        string
}

// process is one member.
type process struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	log     *os.File
}

// suspectAfter is T_fd for all engines that have one: a machine that is busy must not look like one that failed.
const suspectAfter = 5.0

// settleWithin is how long a group may take until it is whole.
const settleWithin = time.Minute

func measure(ctx context.Context, p *Plan, x *Point, o *Options) (r Row, err error) {
	r = Row{Engine: x.Engine, Link: x.Link, Durability: x.Durability, Nodes: x.Nodes, Size: x.Size, Outstanding: x.Outstanding, Origin: x.Origin, Transport: "tcp+tls",
		Paths: []Path{}}
	if p.Plain || x.Engine == Hashicorp {
		r.Transport = "tcp"
	}
	link, err := ParseLink(x.Link, x.Nodes)
	if err != nil {
		return r, err
	}
	c := &cluster{}
	defer func() { err = errors.Join(err, c.close()) }()
	if c.dir, err = os.MkdirTemp(o.Dir, "clockbench-order-"); err != nil {
		return r, fmt.Errorf("the members' directories: %w", err)
	}
	f := Formula{HeartbeatS: heartbeat, PrecisionS: p.Spread.Seconds(), DeltaS: p.Delta.Seconds()}
	for id := 1; id <= x.Nodes; id++ {
		f.OffsetsS = append(f.OffsetsS, p.offset(id, x.Nodes))
	}
	if x.Durability == "fsync" {
		if f.WriteS, err = durableWrite(c.dir, x.Size); err != nil {
			return r, err
		}
	}
	r.WriteS = result.Of(f.WriteS)
	if err := c.start(ctx, p, x, &link, o, r.Transport == "tcp+tls"); err != nil {
		return r, err
	}
	leader, err := c.wait(ctx)
	if err != nil {
		return r, err
	}
	reports, err := c.run(ctx, p, x, leader)
	if err != nil {
		return r, err
	}
	r.fill(reports, leader, p.For.Seconds(), &link, &f)
	if p.Delta > 0 {
		r.TightnessBoundS = result.Of(p.Spread.Seconds())
	}
	return r, r.timely(reports)
}

// heartbeat is h in seconds, that of package core.
const heartbeat = 5e-3

// durableWrite is how long a message takes to the disk when nothing else goes there: the median of some.
func durableWrite(dir string, size int) (float64, error) {
	f, err := os.CreateTemp(dir, "write-")
	if err != nil {
		return 0, err
	}
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }()
	var all []float64
	for range 41 {
		begun := time.Now()
		if _, err := f.Write(make([]byte, size)); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begun).Seconds())
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// addresses finds where members listen.
func (c *cluster) addresses(x *Point) (members, side map[int]string, err error) {
	members, side = map[int]string{}, map[int]string{}
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for id := 1; id <= x.Nodes; id++ {
		if c.namespaces != nil {
			host := c.namespaces.Host(id - 1).Address.String()
			members[id], side[id] = net.JoinHostPort(host, "7000"), net.JoinHostPort(host, "7001")
			continue
		}
		for _, m := range []map[int]string{members, side} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, nil, err
			}
			held = append(held, l)
			m[id] = l.Addr().String()
		}
	}
	return members, side, nil
}

// emulate makes the network of a link.
func (c *cluster) emulate(link *Link) (err error) {
	if link.Delays == nil {
		c.starter, err = network.NewStarter()
		return err
	}
	if c.namespaces, err = network.NewNamespaces(len(link.Delays), network.Options{Seed: 1, RealTime: true}); err != nil {
		return fmt.Errorf("--link %s: %w", link.Name, err)
	}
	for x, row := range link.Delays {
		for y, d := range row {
			if err := c.namespaces.Set(x, y, network.Law{Delay: delay.Constant(d), Ordered: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) start(ctx context.Context, p *Plan, x *Point, link *Link, o *Options, secure bool) error {
	if err := c.emulate(link); err != nil {
		return err
	}
	members, side, err := c.addresses(x)
	if err != nil {
		return err
	}
	var authority *transport.Authority
	if secure {
		if authority, err = transport.NewAuthority(groupNumber, time.Now(), 24*time.Hour); err != nil {
			return err
		}
	}
	command := o.Member
	if x.Engine == Hashicorp {
		command = o.HashicorpMember
	}
	for id := 1; id <= x.Nodes; id++ {
		s := Setup{Engine: x.Engine, ID: id, Members: members, Side: side, Dir: filepath.Join(c.dir, fmt.Sprint(id)), Durability: x.Durability,
			DeltaS: p.Delta.Seconds(), HeartbeatS: heartbeat, SuspectS: suspectAfter}
		s.ClockOffsetS = p.offset(id, x.Nodes)
		if authority != nil {
			if err := certify(&s, authority); err != nil {
				return err
			}
		}
		if err := c.launch(ctx, command, &s); err != nil {
			return err
		}
	}
	for i := range c.members {
		if _, err := c.answer(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// offset is by how much a member's clock is ahead: they are spread evenly.
func (p *Plan) offset(id, nodes int) float64 {
	if nodes == 1 {
		return 0
	}
	return p.Spread.Seconds() * (float64(id-1)/float64(nodes-1) - 0.5)
}

func certify(s *Setup, a *transport.Authority) error {
	own, err := a.Issue(groupNumber, uint64(s.ID), time.Now(), 24*time.Hour)
	if err != nil {
		return err
	}
	certificate, key, err := transport.EncodeCertificate(own)
	if err != nil {
		return err
	}
	s.Certificate, s.Key, s.Authority = string(certificate), string(key), string(a.PEM())
	return nil
}

// launch starts a member and tells it its setup.
func (c *cluster) launch(ctx context.Context, command []string, s *Setup) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	p := &process{command: exec.Command(command[0], command[1:]...)}
	// A Ctrl-C on the terminal is for this program, which ends the others itself.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if p.log, err = os.Create(filepath.Join(c.dir, fmt.Sprintf("%d.log", s.ID))); err != nil {
		return err
	}
	p.command.Stderr = p.log
	if p.in, err = p.command.StdinPipe(); err != nil {
		return err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return err
	}
	p.out = bufio.NewReaderSize(out, 1<<20)
	if c.namespaces != nil {
		err = c.namespaces.Host(s.ID - 1).Start(p.command)
	} else {
		err = c.starter.Start(p.command)
	}
	if err != nil {
		return err
	}
	c.members = append(c.members, p)
	return p.tell(s)
}

func (p *process) tell(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = p.in.Write(append(b, '\n'))
	}
	return err
}

// answer waits for a member's answer.
func (c *cluster) answer(ctx context.Context, i int) (answer, error) {
	type line struct {
		b   []byte
		err error
	}
	p := c.members[i]
	got := make(chan line, 1)
	go func() {
		b, err := p.out.ReadBytes('\n')
		got <- line{b, err}
	}()
	select {
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	case l := <-got:
		if l.err != nil {
			return answer{}, fmt.Errorf("member %d ended: %s", i+1, lastLine(p.log.Name()))
		}
		var a answer
		if err := json.Unmarshal(l.b, &a); err != nil {
			return a, fmt.Errorf("member %d said %.80q: %w", i+1, l.b, err)
		}
		if a.Error != "" {
			return a, fmt.Errorf("member %d: %s", i+1, a.Error)
		}
		return a, nil
	}
}

func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// wait waits until the group is whole, and returns who orders.
func (c *cluster) wait(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, fmt.Errorf("the group was not whole within %v", settleWithin))
	defer cancel()
	leader := 0
	for _, p := range c.members {
		if err := p.tell(order{Do: "wait"}); err != nil {
			return 0, err
		}
	}
	for i := range c.members {
		a, err := c.answer(ctx, i)
		if err != nil {
			return 0, err
		}
		leader = a.Leader
	}
	return leader, nil
}

// tell lets all members measure.
func (c *cluster) run(ctx context.Context, p *Plan, x *Point, leader int) ([]*report, error) {
	start := Monotonic() + int64(p.Warm+50*time.Millisecond)
	o := order{Do: "run", Size: x.Size, StartNS: start, EndNS: start + int64(p.For), Every: 1}
	if x.Outstanding > 8 {
		o.Every = 97
	}
	follower := leader%len(c.members) + 1
	for i, m := range c.members {
		o.Senders = 0
		if x.Origin == OriginAll || x.Origin == OriginLeader && i+1 == max(leader, 1) || x.Origin == OriginFollower && i+1 == follower {
			o.Senders = x.Outstanding
		}
		if err := m.tell(o); err != nil {
			return nil, err
		}
	}
	limit, cancel := context.WithTimeoutCause(ctx, p.Warm+p.For+settleWithin, errors.New("a member does not answer"))
	defer cancel()
	var reports []*report
	for i := range c.members {
		a, err := c.answer(limit, i)
		if err != nil {
			return nil, err
		}
		if a.Report == nil {
			return nil, fmt.Errorf("member %d measured nothing", i+1)
		}
		reports = append(reports, a.Report)
	}
	return reports, nil
}

// close ends the members and removes what they wrote.
func (c *cluster) close() error {
	for _, p := range c.members {
		_ = p.in.Close()
	}
	for _, p := range c.members {
		t := time.AfterFunc(10*time.Second, func() { _ = p.command.Process.Kill() })
		_, _ = io.Copy(io.Discard, p.out)
		_ = p.command.Wait() // what it had to say, it said before
		t.Stop()
		_ = p.log.Close()
	}
	var err error
	if c.namespaces != nil {
		err = c.namespaces.Close()
	}
	if c.starter != nil {
		c.starter.Close()
	}
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}
