package main

import (
	"slices"
	"sync"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// transfer is one that was made, as the observer outside saw it: begin and end are true time, which no branch knows; at is the timestamp
// that the bank gave it.
type transfer struct {
	Branch, To     string
	begin, end, at virtualclock.Time
	waited, width  time.Duration
}

// ledger is what the observer has seen.
type ledger struct {
	mu        sync.Mutex
	transfers []transfer
	refused   map[string]int
	audits    int
	wrong     bool
}

func (l *ledger) add(t transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.transfers = append(l.transfers, t)
}

func (l *ledger) refuse(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused == nil {
		l.refused = map[string]int{}
	}
	l.refused[why]++
}

func (l *ledger) audit(sum int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.audits++
	l.wrong = l.wrong || sum != money()
}

// result is what came out.
type result struct {
	Transfers int `json:"transfers"`
	Refused   int `json:"refused"`
	// Pairs of transfers of which one was complete before the other began, and how many of them have timestamps the other way round.
	Pairs     int64 `json:"pairs"`
	Anomalies int64 `json:"anomalies"`
	// Worst is null if there is none.
	Worst          *anomaly `json:"worst"`
	Audits         int      `json:"audits"`
	Money          int64    `json:"money"`
	Conserved      bool     `json:"conserved"`
	MeanWaitS      float64  `json:"mean_wait_s"`
	MeanHalfWidthS float64  `json:"mean_half_width_s"`
	ForgeBound     float64  `json:"forge_bound"`
}

// anomaly is two transfers whose timestamps contradict real time.
type anomaly struct {
	First  string `json:"first"`
	Second string `json:"second"`
	// ApartS is from the end of the first to the beginning of the second, BackS by how much the second's timestamp is earlier.
	ApartS float64 `json:"apart_s"`
	BackS  float64 `json:"back_s"`
}

func (l *ledger) judge(b *bank) *result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &result{Transfers: len(l.transfers), Audits: l.audits, Money: money(), Conserved: !l.wrong, ForgeBound: b.options.forge}
	for _, n := range l.refused {
		r.Refused += n
	}
	for _, t := range l.transfers {
		r.MeanWaitS += t.waited.Seconds() / float64(len(l.transfers))
		r.MeanHalfWidthS += t.width.Seconds() / 2 / float64(len(l.transfers))
	}
	r.Pairs, r.Anomalies, r.Worst = examine(l.transfers)
	return r
}

// examine looks at all pairs of which one was complete before the other began, in n·log n: the transfers in the order in which they
// began, a Fenwick tree of the timestamps of those that were complete by then.
func examine(transfers []transfer) (pairs, anomalies int64, worst *anomaly) {
	begun, ended := slices.Clone(transfers), slices.Clone(transfers)
	slices.SortFunc(begun, func(a, b transfer) int { return a.begin.Compare(b.begin) })
	slices.SortFunc(ended, func(a, b transfer) int { return a.end.Compare(b.end) })
	stamps := make([]virtualclock.Time, 0, len(transfers))
	for _, t := range transfers {
		stamps = append(stamps, t.at)
	}
	slices.SortFunc(stamps, virtualclock.Time.Compare)
	place := func(t virtualclock.Time) int {
		k, _ := slices.BinarySearchFunc(stamps, t, virtualclock.Time.Compare)
		return k + 1
	}
	tree := make([]int64, len(stamps)+1)
	complete := int64(0)
	var latest *transfer
	for k := range begun {
		y := &begun[k]
		for ; int(complete) < len(ended) && !y.begin.Before(ended[complete].end); complete++ {
			x := &ended[complete]
			for p := place(x.at); p < len(tree); p += p & -p {
				tree[p]++
			}
			if latest == nil || latest.at.Before(x.at) {
				latest = x
			}
		}
		pairs += complete
		earlier := int64(0)
		for p := place(y.at) - 1; p > 0; p -= p & -p {
			earlier += tree[p]
		}
		anomalies += complete - earlier
		if latest == nil || latest.at.Before(y.at) {
			continue
		}
		if back := latest.at.Seconds(y.at); worst == nil || back > worst.BackS {
			worst = &anomaly{latest.Branch, y.Branch, y.begin.Seconds(latest.end), back}
		}
	}
	return pairs, anomalies, worst
}
