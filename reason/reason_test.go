package reason

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"testing"
)

// TestEveryCodeIsNamed: each has a name of its own in snake_case, an explanation, and comes back from its name.
func TestEveryCodeIsNamed(t *testing.T) {
	names := map[string]Code{}
	shape := regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`)
	for c := OK; c < Count; c++ {
		name := c.String()
		if !shape.MatchString(name) {
			t.Errorf("code %d is called %q", c, name)
		}
		if other, used := names[name]; used {
			t.Errorf("%q is the name of %d and of %d", name, other, c)
		}
		names[name] = c
		if len(c.Explain()) < 10 {
			t.Errorf("%s is explained by %q", name, c.Explain())
		}
		var back Code
		text, err := json.Marshal(c)
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || back != c {
			t.Errorf("%s came back as %s: %v", c, back, err)
		}
	}
}

func TestUnknownCode(t *testing.T) {
	unknown := Count + 7
	if want := fmt.Sprintf("reason_%d", uint8(unknown)); unknown.String() != want {
		t.Errorf("an unknown code is called %q", unknown.String())
	}
	if unknown.Explain() == "" {
		t.Error("an unknown code is not explained")
	}
	c := Stale
	if err := c.UnmarshalText([]byte("no_such_reason")); err == nil || c != Stale {
		t.Errorf("an unknown name gave %v, %v", c, err)
	}
}

func TestCodeIsAnError(t *testing.T) {
	err := fmt.Errorf("page: %w", PageTorn)
	if !errors.Is(err, PageTorn) || errors.Is(err, PageSize) {
		t.Errorf("%v is not recognised", err)
	}
	var c Code
	if !errors.As(err, &c) || c != PageTorn {
		t.Errorf("%v gives %v", err, c)
	}
}

func TestCounts(t *testing.T) {
	var n Counts
	n.Add(KissRate)
	n.Add(KissRate)
	n.Add(OK)
	n.Add(Count + 1) // nowhere to count it: ignored
	m := n.Map()
	if len(m) != 1 || m["kiss_rate"] != 2 {
		t.Errorf("counts %v", m)
	}
}
