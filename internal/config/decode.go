package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile is far above any real configuration; a larger file is a mistake, such as the path of a log.
const maxFile = 1 << 20

// Load reads and checks the file at path. The error is Problems when the file can be read but is not a configuration.
func Load(path string, paths Paths) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return Parse(path, b, paths)
}

// Parse checks a document; file is what the problems call it.
func Parse(file string, document []byte, paths Paths) (*Config, error) {
	if len(document) > maxFile {
		return nil, Problems{{File: file, Message: fmt.Sprintf("the file is larger than %d bytes: this is not a configuration", maxFile)}}
	}
	var tree map[string]any
	if err := toml.Unmarshal(document, &tree); err != nil {
		return nil, syntaxProblem(file, err)
	}
	d := decoder{file: file, at: locate(document), has: map[string]bool{}}
	c := Default(paths)
	d.table("", tree, reflect.ValueOf(c).Elem())
	d.validate(c)
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return c, nil
}

func syntaxProblem(file string, err error) Problems {
	p := Problem{File: file, Message: strings.TrimPrefix(err.Error(), "toml: ")}
	if e := (*toml.DecodeError)(nil); errors.As(err, &e) {
		p.Line, p.Column = e.Position()
		p.Key = strings.Join(e.Key(), ".")
	}
	return Problems{p}
}

// decoder fills a Config from a TOML tree and collects every problem.
type decoder struct {
	file     string
	at       places
	problems Problems
	// has are the paths that the file sets, good or bad: a bad value is not complained of twice.
	has map[string]bool
	bad map[string]bool
}

func (d *decoder) complain(path, format string, args ...any) {
	if d.bad == nil {
		d.bad = map[string]bool{}
	}
	d.bad[path] = true
	at := d.at.near(path)
	d.problems = append(d.problems, Problem{d.file, at.line, at.column, path, fmt.Sprintf(format, args...)})
}

// keys returns the TOML names of a struct's fields.
func keys(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("toml"))
	}
	return names
}

func (d *decoder) table(path string, tree map[string]any, into reflect.Value) {
	known := keys(into.Type())
	for _, key := range slices.Sorted(mapKeys(tree)) {
		sub := join(path, key)
		d.has[sub] = true
		i := slices.Index(known, key)
		if i < 0 {
			d.unknown(path, sub, key, known)
			continue
		}
		d.field(sub, tree[key], into.Field(i))
	}
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (d *decoder) unknown(path, sub, key string, known []string) {
	what := "key"
	where := "[" + path + "]"
	if table, _, element := strings.Cut(path, "["); element {
		where = "[[" + table + "]]"
	}
	if path == "" {
		what, where = "section", "a configuration"
	}
	hint := fmt.Sprintf("known here: %s", strings.Join(known, ", "))
	if n := nearest(key, known); n != "" {
		hint = fmt.Sprintf("did you mean %q?", n)
	} else if home := sectionOf(key); home != "" {
		hint = fmt.Sprintf("it belongs to %s", home)
	}
	d.complain(sub, "%s has no %s %q; %s", where, what, clip(key), hint)
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// sectionOf returns the section in which a key is known, for one that was written elsewhere.
func sectionOf(key string) string {
	root := reflect.TypeFor[Config]()
	for i := range root.NumField() {
		t, name := root.Field(i).Type, "["+root.Field(i).Tag.Get("toml")+"]"
		switch t.Kind() {
		case reflect.Slice:
			t, name = t.Elem(), "["+name+"]"
		case reflect.Pointer:
			t = t.Elem()
		}
		if slices.Contains(keys(t), key) {
			return name
		}
	}
	return ""
}

func (d *decoder) field(path string, v any, into reflect.Value) {
	if leaf, ok := into.Addr().Interface().(value); ok {
		if err := leaf.setTOML(v); err != nil {
			d.complain(path, "%s", err)
		}
		return
	}
	switch into.Kind() {
	case reflect.Struct, reflect.Pointer:
		d.section(path, v, into)
	case reflect.Slice:
		d.slice(path, v, into)
	case reflect.String:
		if s, ok := v.(string); ok {
			into.SetString(s)
			return
		}
		d.complain(path, "%s is not a text; write it in quotes", written(v))
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			into.SetBool(b)
			return
		}
		d.complain(path, "%s is neither true nor false; write one of them, without quotes", written(v))
	case reflect.Int:
		if n, ok := v.(int64); ok {
			into.SetInt(n)
			return
		}
		d.complain(path, "%s is not a whole number; write one, without quotes", written(v))
	case reflect.Float64:
		d.number(path, v, into)
	}
}

func (d *decoder) number(path string, v any, into reflect.Value) {
	switch x := v.(type) {
	case int64:
		into.SetFloat(float64(x))
	case float64:
		into.SetFloat(x)
	default:
		d.complain(path, "%s is not a number; write one, without quotes", written(v))
	}
}

// section decodes a table; one that is optional gets its defaults first.
func (d *decoder) section(path string, v any, into reflect.Value) {
	tree, ok := v.(map[string]any)
	if !ok {
		d.complain(path, "%s is not a section; write [%s] and its keys below", written(v), path)
		return
	}
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		setDefault(into.Interface())
		into = into.Elem()
	}
	d.table(path, tree, into)
}

func setDefault(p any) {
	switch x := p.(type) {
	case *Source:
		*x = defaultSource()
	case *Server:
		*x = defaultServer()
	case *Agreement:
		*x = defaultAgreement()
	case *NTSServer:
		*x = defaultNTSServer()
	case *Local:
		*x = defaultLocal()
	case *HTTP:
		*x = defaultHTTP()
	case *Influx:
		*x = DefaultInflux()
	case *ClockBound:
		*x = defaultClockBound()
	}
}

func (d *decoder) slice(path string, v any, into reflect.Value) {
	list, ok := v.([]any)
	if !ok {
		if e := into.Type().Elem(); e == reflect.TypeFor[Source]() || e == reflect.TypeFor[Peer]() {
			d.complain(path, "%s is a list of tables; write [[%s]] with double brackets for each", path, path)
			return
		}
		d.complain(path, "%s is not a list; write it in square brackets", written(v))
		return
	}
	out := reflect.MakeSlice(into.Type(), len(list), len(list))
	for i, x := range list {
		element := out.Index(i)
		setDefault(element.Addr().Interface())
		sub := fmt.Sprintf("%s[%d]", path, i)
		if _, leaf := element.Addr().Interface().(value); !leaf && element.Kind() == reflect.Struct {
			d.section(sub, x, element)
			continue
		}
		d.field(sub, x, element)
	}
	into.Set(out)
}
