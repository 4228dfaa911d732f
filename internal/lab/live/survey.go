package live

import (
	"context"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
)

// surveyEvery is how often the daemons are asked what they know.
const surveyEvery = time.Second

// survey asks the correct hosts' daemons for the widest reading that they used, as clockd peers and clockd sources do. It asks in a
// goroutine of its own: a daemon that is slow to answer delays no sample.
type survey struct {
	nodes []*node
	group bool
	stop  context.CancelFunc
	done  sync.WaitGroup

	mutex   sync.Mutex
	epsilon [][]float64 // what came since the last look, of each node
	rounds  map[string]uint64
}

func newSurvey(ctx context.Context, p *Plan, nodes []*node) *survey {
	s := &survey{group: p.Group(), rounds: map[string]uint64{}}
	for _, n := range nodes {
		if !n.master && !n.lies {
			s.nodes = append(s.nodes, n)
		}
	}
	s.epsilon = make([][]float64, len(s.nodes))
	ctx, s.stop = context.WithCancel(ctx)
	s.done.Go(func() {
		ticker := time.NewTicker(surveyEvery)
		defer ticker.Stop()
		for {
			for i, n := range s.nodes {
				s.ask(ctx, i, n)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return s
}

// ask asks one daemon. One that does not answer says nothing: it may be dead, or paused.
func (s *survey) ask(ctx context.Context, i int, n *node) {
	ctx, cancel := context.WithTimeout(ctx, surveyEvery/4)
	defer cancel()
	var all []float64
	if s.group {
		var g control.Group
		if control.Call(ctx, n.control, control.CommandPeers, &g) != nil || g.EpsilonS == nil || g.Reason != reason.OK || s.rounds[n.name] == g.Rounds {
			return
		}
		s.rounds[n.name] = g.Rounds
		all = append(all, *g.EpsilonS)
	} else {
		var g control.Sources
		if control.Call(ctx, n.control, control.CommandSources, &g) != nil {
			return
		}
		for j := range g.Sources {
			if x := &g.Sources[j]; x.Reason == reason.OK && x.LowS != nil && x.HighS != nil {
				all = append(all, (*x.HighS-*x.LowS)/2)
			}
		}
	}
	s.mutex.Lock()
	s.epsilon[i] = append(s.epsilon[i], all...)
	s.mutex.Unlock()
}

// take returns what came since it was called last, for each node.
func (s *survey) take() [][]float64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	all := s.epsilon
	s.epsilon = make([][]float64, len(s.nodes))
	return all
}

func (s *survey) close() {
	s.stop()
	s.done.Wait()
}
