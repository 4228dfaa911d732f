package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// quietTime is how long a run may take without a progress bar.
	quietTime   = 2 * time.Second
	redrawEvery = 100 * time.Millisecond
	barWidth    = 40
	// lineEvery is how often a line is printed where there is no terminal.
	lineEvery = time.Minute
)

// progress is a bar on the terminal once a run turns out to be long, and elsewhere a line a minute.
type progress struct {
	mutex        sync.Mutex
	app          *app
	total, done  float64
	began, drawn time.Time
	lined        time.Time
}

func newProgress(a *app, total float64) *progress {
	return &progress{app: a, total: total, began: time.Now()}
}

// add counts work that has been done.
func (p *progress) add(work float64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.done += work
	now := time.Now()
	part := min(p.done/p.total, 1)
	left := time.Duration(float64(now.Sub(p.began)) * (1 - part) / part)
	if !p.app.terminal {
		if p.lined.IsZero() {
			p.lined = p.began
		}
		if now.Sub(p.lined) >= lineEvery {
			p.lined = now
			_, _ = fmt.Fprintf(p.app.err, "%.0f %%, %v left\n", part*100, left.Round(time.Second))
		}
		return
	}
	if now.Sub(p.began) < quietTime || now.Sub(p.drawn) < redrawEvery {
		return
	}
	p.drawn = now
	full := int(part * barWidth)
	_, _ = fmt.Fprintf(p.app.err, "\r[%s%s] %3.0f %%, %v left \x1b[K", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), part*100,
		left.Round(time.Second))
}

// tell prints a line above the bar.
func (p *progress) tell(format string, a ...any) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	wipe := ""
	if !p.drawn.IsZero() {
		wipe = "\r\x1b[K"
	}
	_, _ = fmt.Fprintf(p.app.err, wipe+format+"\n", a...)
}

// end wipes the bar away.
func (p *progress) end() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if !p.drawn.IsZero() {
		_, _ = fmt.Fprint(p.app.err, "\r\x1b[K")
	}
}
