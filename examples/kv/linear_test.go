package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/clockd/clockd/internal/testkit"
)

// input and output are an operation as the checker sees it.
type input struct {
	op, key, value, old string
}

type output struct {
	value   string
	there   bool
	done    bool // of a cas
	unknown bool // no answer: it may have happened
}

// register is one key of the store.
type register struct {
	value string
	there bool
}

func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			keys := map[string][]porcupine.Operation{}
			for _, o := range history {
				k := o.Input.(input).key
				keys[k] = append(keys[k], o)
			}
			var parts [][]porcupine.Operation
			for _, p := range keys {
				parts = append(parts, p)
			}
			return parts
		},
		Init: func() any { return register{} },
		Step: func(state, in, out any) (bool, any) {
			s, i, o := state.(register), in.(input), out.(output)
			switch i.op {
			case "get":
				return o.there == s.there && o.value == s.value, s
			case "put":
				return true, register{i.value, true}
			}
			can := s.there && s.value == i.old
			if can {
				s = register{i.value, true}
			}
			return o.unknown || o.done == can, s
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
}

// history is what clients saw.
type history struct {
	begun time.Time
	mu    sync.Mutex
	all   []porcupine.Operation
	acked atomic.Int64
	lost  atomic.Int64 // without an answer
}

// do makes one request and notes it: not at all if it certainly did nothing, and as one that never returned if nobody knows.
func (h *history) do(client int, m *member, i input) output {
	call := time.Since(h.begun).Nanoseconds()
	path := "/kv/" + i.key
	var code int
	var text string
	var err error
	const limit = 5 * time.Second
	switch i.op {
	case "get":
		code, text, err = m.do(limit, http.MethodGet, path, "")
	case "put":
		code, _, err = m.do(limit, http.MethodPut, path, i.value)
	case "cas":
		code, _, err = m.do(limit, http.MethodPost, path+"?old="+url.QueryEscape(i.old), i.value)
	}
	end := time.Since(h.begun).Nanoseconds()
	var o output
	switch {
	case i.op == "get" && err == nil && code == http.StatusOK:
		o = output{value: text, there: true}
	case i.op == "get" && err == nil && code == http.StatusNotFound:
	case i.op == "get", err != nil && notSent(err), err == nil && code == http.StatusServiceUnavailable:
		return output{unknown: true}
	case err == nil && code == http.StatusNoContent:
		o.done = true
	case err == nil && code == http.StatusConflict:
	default:
		o.unknown, end = true, math.MaxInt64
		h.lost.Add(1)
	}
	if !o.unknown {
		h.acked.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: client, Input: i, Call: call, Output: o, Return: end})
	return o
}

// client reads and writes keys, new ones every half second, so that no key has too long a history.
func (h *history) client(id int, m *member, r *rand.Rand, stop *atomic.Bool) {
	for n := 0; !stop.Load(); n++ {
		key := fmt.Sprintf("%d-%d", time.Since(h.begun)/(500*time.Millisecond), r.IntN(2))
		value := fmt.Sprintf("%d.%d", id, n)
		switch r.IntN(3) {
		case 0:
			h.do(id, m, input{op: "put", key: key, value: value})
		case 1:
			if o := h.do(id, m, input{op: "get", key: key}); o.there {
				h.do(id, m, input{op: "cas", key: key, old: o.value, value: value})
			}
		default:
			h.do(id, m, input{op: "get", key: key})
		}
		time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
	}
}

// check fails the test unless the history is linearizable; that nobody can tell is a failure too.
func (h *history) check(t *testing.T) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(model(), h.all, 2*time.Minute)
	t.Logf("%d operations, %d with an answer, %d without: %v", len(h.all), h.acked.Load(), h.lost.Load(), result)
	if result != porcupine.Ok {
		t.Errorf("the history is not linearizable, or nobody can tell: %v", result)
		path := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model(), info, path); err == nil {
			t.Logf("with -artifacts see %s", path)
		}
	}
}

// TestLinearizable reads and writes through all members while one after the other is killed, stopped, and cut off.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	linearizable(t, testkit.Seed(t), 3, 1, "fsync")
}

func linearizable(t *testing.T, seed uint64, n, rounds int, durability string) {
	testkit.RequireTool(t, "nft")
	c := newCluster(t, n, 0, func(*member) []string { return []string{"--suspect-after", "400ms", "--durability", durability} })
	h := &history{begun: time.Now()}
	var stop atomic.Bool
	var clients sync.WaitGroup
	for id := 1; id <= n; id++ {
		for k := range 2 {
			clients.Go(func() { h.client(10*id+k, c.members[id], rand.New(rand.NewPCG(seed, uint64(10*id+k))), &stop) })
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		for _, fault := range r.Perm(4) {
			c.harm(fault, c.members[1+r.IntN(n)], time.Duration(500+r.IntN(700))*time.Millisecond)
		}
	}
	stop.Store(true)
	clients.Wait()
	// What is there in the end is part of the history: no acknowledged write may be lost.
	keys := map[string]bool{}
	for _, o := range h.all {
		keys[o.Input.(input).key] = true
	}
	for key := range keys {
		h.do(99, c.members[1+r.IntN(n)], input{op: "get", key: key})
	}
	var ids []int
	for id := 1; id <= n; id++ {
		ids = append(ids, id)
	}
	c.agree(ids...)
	h.check(t)
	if h.acked.Load() < 100 {
		t.Errorf("only %d operations had an answer", h.acked.Load())
	}
}

// harm does something to a member, undoes it after a while, and waits until the member answers again.
func (c *cluster) harm(fault int, m *member, span time.Duration) {
	c.t.Helper()
	switch fault {
	case 0, 1:
		c.t.Logf("member %d is killed for %v", m.id, span)
		m.process.Kill()
		time.Sleep(span)
		m.start()
	case 2:
		c.t.Logf("member %d is stopped for %v", m.id, span)
		m.signal(syscall.SIGSTOP)
		time.Sleep(span)
		m.signal(syscall.SIGCONT)
	case 3:
		c.t.Logf("member %d is cut off for %v", m.id, span)
		c.net.Partition([]int{m.id - 1})
		time.Sleep(span)
		c.net.Heal()
	}
	// Without its memory a member does not count before it is back in the view.
	testkit.WaitFor(c.t, time.Minute, "the member to be back in the view", func() bool {
		s, err := m.status()
		return err == nil && s.InView
	})
}

// TestCheckerSeesStaleReads: a history with a stale read is none that the checker lets pass.
func TestCheckerSeesStaleReads(t *testing.T) {
	put := func(v string, call, end int64) porcupine.Operation {
		return porcupine.Operation{Input: input{op: "put", key: "k", value: v}, Output: output{done: true}, Call: call, Return: end}
	}
	get := func(client int, v string, call, end int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: input{op: "get", key: "k"}, Output: output{value: v, there: v != ""}, Call: call, Return: end}
	}
	cas := func(old, v string, done bool, call, end int64) porcupine.Operation {
		return porcupine.Operation{ClientId: 3, Input: input{op: "cas", key: "k", old: old, value: v}, Output: output{done: done}, Call: call, Return: end}
	}
	type ops = []porcupine.Operation
	for name, c := range map[string]struct {
		history ops
		want    bool
	}{
		"right":            {ops{put("a", 0, 1), put("b", 2, 3), get(1, "b", 4, 5)}, true},
		"stale":            {ops{put("a", 0, 1), put("b", 2, 3), get(1, "a", 4, 5)}, false},
		"lost":             {ops{put("a", 0, 1), get(1, "", 2, 3)}, false},
		"out of thin air":  {ops{get(1, "z", 4, 5)}, false},
		"without answer":   {ops{put("a", 0, math.MaxInt64), get(1, "a", 4, 5)}, true},
		"at the same time": {ops{put("a", 0, 10), get(1, "a", 4, 5)}, true},
		"back in time":     {ops{put("a", 0, 10), get(1, "a", 4, 5), get(2, "", 6, 7)}, false},
		"compared":         {ops{put("a", 0, 1), cas("a", "b", true, 2, 3), get(1, "b", 4, 5)}, true},
		"compared wrongly": {ops{put("a", 0, 1), cas("x", "b", true, 2, 3)}, false},
		"not compared":     {ops{put("a", 0, 1), cas("a", "b", false, 2, 3)}, false},
	} {
		if got := porcupine.CheckOperations(model(), c.history); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
