package demo

import (
	"context"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
)

// surveyEvery is how often the daemons are asked: twice in a line of the picture.
const surveyEvery = 500 * time.Millisecond

// survey asks the daemons of a group what they know, as clockd peers does, so that what they say can be shown beside what is true.
// It is asked for in a goroutine of its own: a daemon that is slow to answer delays no sample.
type survey struct {
	hosts []*host
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu      sync.Mutex
	answers []*control.Group // nil: there was none yet

	// What follows belongs to take's caller: the last answers, and for each host how often which verdict was given on it by the
	// hosts that do not lie.
	taken    []*control.Group
	verdicts []map[reason.Code]uint64
	// epsilon is the widest reading that a correct host used in a round that was seen.
	epsilon float64
}

func newSurvey(ctx context.Context, hosts []*host) *survey {
	n := len(hosts)
	s := &survey{hosts: hosts, answers: make([]*control.Group, n), taken: make([]*control.Group, n), verdicts: make([]map[reason.Code]uint64, n)}
	for i := range s.verdicts {
		s.verdicts[i] = map[reason.Code]uint64{}
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.done.Go(func() {
		ticker := time.NewTicker(surveyEvery)
		defer ticker.Stop()
		for {
			s.ask(ctx)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return s
}

// ask asks every daemon once.
func (s *survey) ask(ctx context.Context) {
	for i, h := range s.hosts {
		ctx, cancel := context.WithTimeout(ctx, surveyEvery)
		var g control.Group
		err := control.Call(ctx, h.config.Control.Path, control.CommandPeers, &g)
		cancel()
		s.mu.Lock()
		s.answers[i] = nil // an old answer says nothing of now
		if err == nil {
			s.answers[i] = &g
		}
		s.mu.Unlock()
	}
}

func (s *survey) close() {
	s.stop()
	s.done.Wait()
}

// take takes over what the daemons have said last.
func (s *survey) take() {
	s.mu.Lock()
	copy(s.taken, s.answers)
	s.mu.Unlock()
	number := map[string]int{}
	for i, h := range s.hosts {
		number[h.name] = i
	}
	for i, g := range s.taken {
		if g == nil || s.hosts[i].liar != nil {
			continue
		}
		if g.EpsilonS != nil && g.Reason == reason.OK {
			s.epsilon = max(s.epsilon, *g.EpsilonS)
		}
		for j := range g.Peers {
			if k, ok := number[g.Peers[j].Name]; ok {
				s.verdicts[k][g.Peers[j].Reason]++
			}
		}
	}
}

// formed reports whether all correct hosts said last that they are in the group.
func (s *survey) formed() bool {
	for i, g := range s.taken {
		if s.hosts[i].liar == nil && (g == nil || g.Status != agreement.Sync) {
			return false
		}
	}
	return true
}
