package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// built is the program, built once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "kv-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "kv"), ".").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "kv")
}

// cluster is some members, each a process in a network namespace of its own, whose clients are in the same one.
type cluster struct {
	t       testing.TB
	net     *testkit.Net
	dir     string
	members map[int]*member
	n       int
}

type member struct {
	c       *cluster
	id      int
	dir     string
	flags   []string
	process *testkit.Process
	client  *http.Client
}

const (
	groupPort  = 7000
	clientPort = 8000
)

// newCluster makes a cluster of n members and room for more, and starts them; flags are further ones for each.
func newCluster(t testing.TB, n, more int, flags func(m *member) []string) *cluster {
	t.Helper()
	c := &cluster{t: t, net: testkit.NamespaceNet(t, n+more), dir: t.TempDir(), members: map[int]*member{}, n: n}
	var ids []string
	for id := 1; id <= n+more; id++ {
		ids = append(ids, fmt.Sprint(id))
		m := &member{c: c, id: id, dir: filepath.Join(c.dir, fmt.Sprint(id))}
		if flags != nil {
			m.flags = flags(m)
		}
		host := c.net.Hosts[id-1]
		m.client = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
				err = host.Do(func() (err error) {
					conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
					return err
				})
				return conn, err
			},
		}}
		c.members[id] = m
	}
	out, err := exec.Command(program(t), "certs", "--dir", filepath.Join(c.dir, "certs"), "--ids", strings.Join(ids, ",")).CombinedOutput()
	if err != nil {
		t.Fatalf("kv certs: %v: %s", err, out)
	}
	for id := 1; id <= n; id++ {
		c.members[id].start()
	}
	for id := 1; id <= n; id++ {
		c.members[id].ready()
	}
	return c
}

func (m *member) address() string {
	return fmt.Sprintf("%v:%d", m.c.net.Hosts[m.id-1].Address, groupPort)
}

// start starts the member's process, or starts it again.
func (m *member) start() {
	m.c.t.Helper()
	var members []string
	for id := 1; id <= m.c.n; id++ {
		members = append(members, fmt.Sprintf("%d=%s", id, m.c.members[id].address()))
	}
	args := []string{"serve", "--id", fmt.Sprint(m.id), "--dir", m.dir, "--certs", filepath.Join(m.c.dir, "certs"), "--http", m.http(), "-v"}
	if m.id > m.c.n {
		args = append(args, "--join")
		members = append(members, fmt.Sprintf("%d=%s", m.id, m.address()))
	}
	args = append(append(args, "--members", strings.Join(members, ",")), m.flags...)
	m.process = testkit.StartProcess(m.c.t, m.c.net.Hosts[m.id-1].Command(program(m.c.t), args...))
}

func (m *member) http() string {
	return fmt.Sprintf("%v:%d", m.c.net.Hosts[m.id-1].Address, clientPort)
}

// dial connects to the port that is for members only.
func (m *member) dial() (conn net.Conn, err error) {
	err = m.c.net.Hosts[m.id-1].Do(func() (err error) {
		conn, err = (&net.Dialer{}).Dial("tcp", m.address())
		return err
	})
	return conn, err
}

// ready waits until the member answers a read.
func (m *member) ready() {
	m.c.t.Helper()
	testkit.WaitFor(m.c.t, time.Minute, fmt.Sprintf("member %d", m.id), func() bool {
		code, _, err := m.do(time.Minute, http.MethodGet, "/kv/ready", "")
		return err == nil && (code == http.StatusNotFound || code == http.StatusOK)
	})
}

// do makes one request to the member.
func (m *member) do(limit time.Duration, method, path, body string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return ask(ctx, m.client, method, "http://"+m.http()+path, body)
}

// put writes, and reports whether that was acknowledged.
func (m *member) put(limit time.Duration, key, value string) bool {
	code, _, err := m.do(limit, http.MethodPut, "/kv/"+key, value)
	return err == nil && code == http.StatusNoContent
}

func (m *member) signal(s syscall.Signal) {
	m.c.t.Helper()
	if err := m.process.Signal(s); err != nil {
		m.c.t.Error(err)
	}
}

func (m *member) status() (r report, err error) {
	code, text, err := m.do(10*time.Second, http.MethodGet, "/status", "")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d: %s", code, text)
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &r)
	}
	return r, err
}

// agree waits until members are in one view and show the same history, and returns it.
func (c *cluster) agree(ids ...int) report {
	c.t.Helper()
	var last report
	testkit.WaitFor(c.t, time.Minute, fmt.Sprintf("members %v to agree", ids), func() bool {
		for i, id := range ids {
			r, err := c.members[id].status()
			if err != nil || !r.InView || len(r.Members) != len(ids) {
				return false
			}
			if i > 0 && r.Index != last.Index {
				return false
			}
			if i > 0 && r.Chain != last.Chain {
				c.t.Fatalf("members %d and %d differ at %d: %s and %s", ids[i-1], id, r.Index, last.Chain, r.Chain)
			}
			last = r
		}
		return true
	})
	return last
}
