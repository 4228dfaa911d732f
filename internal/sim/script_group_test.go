package sim

import (
	"fmt"
	"math"
	"strings"
)

// addGroup makes a group of peers, which follow the servers that were added before: group members=7 liars=["drag"] client.spread_ppm=20 …
func (s *story) addGroup(rest []string) error {
	s.begin()
	var c struct {
		GroupConfig
		Client ClientConfig `toml:"client"`
	}
	c.Client = ClientConfig{Poll: 1, Timeout: 0.2}
	if err := options(rest, &c); err != nil {
		return err
	}
	if err := c.check(len(s.order)); err != nil {
		return err
	}
	servers, err := s.hosts("")
	if err != nil {
		return err
	}
	s.groupConfig = &c.GroupConfig
	s.group, err = c.AddGroup(s.world, &c.Client, 0, func(i int, h *Host) ([]*Host, error) {
		masters := c.mastersOf(i, servers)
		if len(masters) == 0 {
			return nil, nil
		}
		to, _ := s.servers[servers[0].Name].paths()
		return masters, s.world.follow(h, masters, to)
	})
	if err != nil {
		return err
	}
	for _, m := range s.group.Members {
		s.clients[m.Host.Name] = &c.Client
	}
	return nil
}

// members prints how the members stand, one line each.
func (s *story) members() {
	for _, m := range s.group.Members {
		h := m.Host
		what := ""
		if m.Liar != nil {
			what = ", lies: " + m.LiarName
		}
		if h.down {
			s.print("%s: down%s", h.Name, what)
			continue
		}
		k := &h.Publication.Clock
		i := k.Interval(h.Reading(s.world.now))
		far := math.Inf(1)
		if v := k.Time(h.Reading(s.world.now)); i.Status.Sound() {
			far = max(v.Seconds(i.Earliest), i.Latest.Seconds(v))
		}
		s.print("%s: %v (%v), %v, far edge %s, epoch %d, %d rounds, %d skipped%s", h.Name, i.Status, h.Publication.Reason.String(), k.Kind, short(far),
			k.Epoch, m.rounds, m.skipped, what)
	}
}

// peers prints what a member thinks of the others.
func (s *story) peers(name string) error {
	h := s.world.Host(name)
	if h == nil || h.Node == nil || h.down {
		return fmt.Errorf("%s does not run", name)
	}
	g := h.Node.Snapshot(h.Reading(s.world.now)).Group
	var all []string
	for _, p := range g.Peers {
		all = append(all, fmt.Sprintf("%s %s", p.Name, p.Reason.String()))
	}
	s.print("%s is %v: %s; margin %d", name, g.Status, strings.Join(all, ", "), g.Last.Margin)
	return nil
}

// expectGroup checks figures of the group.
func (s *story) expectGroup(rest []string) error {
	r := s.group.Result()
	g := r.Group
	worst := 0.0
	for _, x := range g.Rejoins {
		if x.After != x.After {
			worst = math.Inf(1)
		}
		worst = max(worst, float64(x.After))
	}
	figures := map[string]float64{
		"precision": float64(g.Precision), "spread": float64(g.Spread), "rms": float64(g.RMSPairwise), "steps": float64(g.Steps), "skipped": float64(g.Skipped),
		"apart": float64(g.IntervalsApart), "rejoin": worst, "rejoins": float64(len(g.Rejoins)), "detectors": float64(g.Detectors), "accuracy": float64(g.Accuracy),
		"exceeded": float64(len(g.Exceeded)), "forming": float64(g.FormingRounds), "in": float64(g.InSync),
	}
	for _, w := range rest {
		key, operator, limit, err := condition(w)
		if err != nil {
			return err
		}
		got, known := figures[key]
		if !known {
			return fmt.Errorf("a group has no figure %q", key)
		}
		if !holds(got, operator, limit) {
			s.t.Errorf("%s, at %v: %s is %g", s.where, s.world.now, key, got)
		}
	}
	return nil
}

// condition takes key<limit apart.
func condition(w string) (key string, operator byte, limit float64, err error) {
	at := strings.IndexAny(w, "<>=")
	if at < 0 {
		return "", 0, 0, fmt.Errorf("%q is not a condition", w)
	}
	if limit, err = parseNumber(w[at+1:]); err != nil {
		limit, err = ParseLength(w[at+1:])
	}
	return w[:at], w[at], limit, err
}

func holds(got float64, operator byte, limit float64) bool {
	return operator == '<' && got < limit || operator == '>' && got > limit || operator == '=' && got == limit
}

// groupViolations fails the test at the first pair of intervals that were apart, or the first clock that went back, while the assumptions hold.
func (s *story) groupViolations() {
	if s.group == nil || s.broken {
		return
	}
	j := &s.group.judge
	if j.apart > 0 || j.misordered > 0 || j.backwards > 0 || j.utcWrong > 0 {
		s.t.Fatalf("%s: intervals of correct members were apart %d times (%+v), events misordered %d times, clocks went back %d times, UTC was missed %d times",
			s.where, j.apart, j.first, j.misordered, j.backwards, j.utcWrong)
	}
}

// forgive forgets what was wrong while the assumptions were broken, and tells it.
func (s *story) forgive() {
	if s.group == nil {
		return
	}
	j := &s.group.judge
	s.print("the group: intervals were apart %v, by %s at the most", j.apart > 0, short(j.worst))
	j.apart, j.misordered, j.utcWrong, j.worst, j.first = 0, 0, 0, 0, nil
	clear(j.seen)
}
