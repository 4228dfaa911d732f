package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const documentation = "../../docs/configuration.md"

func readDocumentation(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func examples(t *testing.T) []string { return examplesOf(t, documentation) }

func examplesOf(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

func rootPaths() Paths { return DefaultPaths(func(string) string { return "" }, 0) }

func TestDocumentedExamplesAreGood(t *testing.T) {
	list := examples(t)
	if len(list) < 5 {
		t.Fatalf("only %d examples found in %s", len(list), documentation)
	}
	list = append(list, examplesOf(t, "../../docs/sources.md")...)
	for i, e := range list {
		if _, err := Parse(documentation, []byte(e), rootPaths()); err != nil {
			t.Errorf("example %d: %v\n%s", i+1, err, e)
		}
	}
}

// What the other documents tell people to write is good too.
func TestExamplesOfOtherDocumentsAreGood(t *testing.T) {
	files, err := filepath.Glob("../../docs/migrate-*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
			if _, err := Parse(file, []byte(m[1]), rootPaths()); err != nil {
				t.Errorf("example %d: %v", i+1, err)
			}
		}
	}
}

// The example with every value says what the defaults really are.
func TestDocumentedDefaultsAreTheDefaults(t *testing.T) {
	list := examples(t)
	got, err := Parse(documentation, []byte(list[len(list)-1]), rootPaths())
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("", []byte("[[source]]\naddress = \"ntp.example.org\"\n[server]\n[http]\n[influx]\nurl = \"http://127.0.0.1:8086\"\nbucket = \"clockd\"\n[clockbound]\n[nts_server]\ncert_file = \"/etc/clockd/nts.crt\"\nkey_file = \"/etc/clockd/nts.key\"\n"), rootPaths())
	if err != nil {
		t.Fatal(err)
	}
	// Empty and missing are the same.
	got.Server.Allow, got.Server.Deny, got.Server.Require = nil, nil, nil
	got.Server.Keys, got.Server.PublicKeys = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("documented %+v\ndefault    %+v", got, want)
	}
	for section, text := range map[string]string{"[local]": "| `stratum` | `10` |", "bound": "| `bound` | `\"0s\"` |"} {
		if !strings.Contains(readDocumentation(t), text) {
			t.Errorf("the default of %s is not documented as %s", section, text)
		}
	}
	if l := defaultLocal(); l.Stratum != 10 || l.Bound != 0 {
		t.Errorf("the defaults of [local] are %+v", l)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	text := readDocumentation(t)
	root := reflect.TypeFor[Config]()
	for i := range root.NumField() {
		section := root.Field(i).Tag.Get("toml")
		if !strings.Contains(text, "["+section+"]") {
			t.Errorf("[%s] is not documented", section)
		}
		f := root.Field(i).Type
		if f.Kind() != reflect.Struct {
			f = f.Elem()
		}
		for _, key := range keys(f) {
			if key == "" || !strings.Contains(text, "`"+key+"`") {
				t.Errorf("%s.%s is not documented", section, key)
			}
		}
	}
}
