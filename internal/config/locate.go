package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// place is where something stands in a file, counted from 1.
type place struct{ line, column int }

// places maps the path of every key ("source[1].poll", "server.listen[0]") to where it stands.
type places map[string]place

// near returns the place of path, or of the table that it would belong to.
func (p places) near(path string) place {
	for {
		if at, ok := p[path]; ok || path == "" {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// locator walks a document that is known to be good TOML.
type locator struct {
	parser unstable.Parser
	at     places
	// arrays counts the elements of each array of tables seen so far.
	arrays map[string]int
}

// locate finds the place of every key of a document.
func locate(document []byte) places {
	l := locator{at: places{}, arrays: map[string]int{}}
	l.parser.Reset(document)
	prefix := ""
	for l.parser.NextExpression() {
		e := l.parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			prefix = l.header(e)
		case unstable.KeyValue:
			l.keyValue(prefix, e)
		}
	}
	return l.at
}

func (l *locator) mark(path string, raw unstable.Range) {
	if _, seen := l.at[path]; seen || raw.Length == 0 {
		return
	}
	start := l.parser.Shape(raw).Start
	l.at[path] = place{start.Line, start.Column}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// header returns the path that a [table] or [[array]] header opens.
func (l *locator) header(e *unstable.Node) string {
	path := ""
	var last unstable.Range
	for it := e.Key(); it.Next(); {
		if n, isArray := l.arrays[path]; isArray {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
		path = join(path, string(it.Node().Data))
		last = it.Node().Raw
	}
	if e.Kind == unstable.ArrayTable {
		l.mark(path, last)
		l.arrays[path]++
		path = fmt.Sprintf("%s[%d]", path, l.arrays[path]-1)
	}
	l.mark(path, last)
	return path
}

func (l *locator) keyValue(prefix string, e *unstable.Node) {
	path := prefix
	for it := e.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		l.mark(path, it.Node().Raw)
	}
	l.value(path, e.Value())
}

func (l *locator) value(path string, v *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			l.keyValue(path, it.Node())
		}
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); i++ {
			element := fmt.Sprintf("%s[%d]", path, i)
			l.mark(element, it.Node().Raw)
			l.value(element, it.Node())
		}
	}
}
