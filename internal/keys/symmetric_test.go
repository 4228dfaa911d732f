package keys

import (
	"fmt"
	"strings"
	"testing"
)

func sprint(v any) string { return fmt.Sprintf("%v %+v %#v %s", v, v, v, v) }

func TestParseSymmetricsOfTheManual(t *testing.T) {
	// chrony.conf(5), "keyfile", with comments and white space as chrony takes them.
	const text = `
10 tulip
11 hyacinth
# a comment
  ! another
;30 AES128 HEX:00
% 10 x
20 MD5 ASCII:crocus
	25   SHA1	HEX:933F62BE1D604E68A81B557F18CFA200483F5B70  ` + "\r" + `
30 AES128 HEX:7EA62AE64D190114D46D5A082F948EC1
31 AES256 hex:37ddcbc67bb902bcb8e995977fab4d2b5642f5b32ebceee421921d97e5cbfe39
4294967295 SHA512 ascii:a:b`
	list, err := ParseSymmetrics("keys", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		id     uint32
		kind   string
		secret string
		weak   bool
	}{
		{10, "MD5", "tulip", true},
		{11, "MD5", "hyacinth", true},
		{20, "MD5", "crocus", true},
		{25, "SHA1", string(unhex(t, "933F62BE1D604E68A81B557F18CFA200483F5B70")), false},
		{30, "AES128", string(unhex(t, "7EA62AE64D190114D46D5A082F948EC1")), false},
		{31, "AES256", string(unhex(t, "37DDCBC67BB902BCB8E995977FAB4D2B5642F5B32EBCEEE421921D97E5CBFE39")), false},
		{4294967295, "SHA512", "a:b", true},
	}
	if len(list) != len(want) {
		t.Fatalf("%d keys: %v", len(list), list)
	}
	for i, w := range want {
		s := list[i]
		if s.ID != w.id || s.Type != w.kind || string(s.secret) != w.secret {
			t.Errorf("line of key %d: %v", w.id, s)
		}
		k, err := s.Key()
		if err != nil {
			t.Fatal(err)
		}
		if k.Weak() != w.weak || k.ID() != w.id {
			t.Errorf("%v: weak %v", k, k.Weak())
		}
		if found, ok := list.Find(w.id); !ok || !found.Equal(s) {
			t.Errorf("key %d is not found", w.id)
		}
	}
	if _, ok := list.Find(12); ok {
		t.Error("a key that is not there was found")
	}
}

func TestParseSymmetricsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"10":               "1 words",
		"10 MD5 a b":       "4 words",
		"0 tulip":          "from 1 to 4294967295",
		"4294967296 tulip": "from 1 to 4294967295",
		"-1 tulip":         "from 1 to 4294967295",
		"x10 tulip":        "from 1 to 4294967295",
		"10 md5 tulip":     `no key type "md5"`,
		"10 TIGER tulip":   "known are AES128, AES256, MD5",
		"10 AES128 HEX:00": "has 8 bits, AES128 needs 128",
		"10 AES256 ASCII:" + strings.Repeat("x", 31): "has 248 bits, AES256 needs 256",
		"10 MD5 HEX:0":                    "even number",
		"10 MD5 HEX:0g":                   "even number",
		"10 MD5 HEX:":                     "empty",
		"10 MD5 ASCII:":                   "empty",
		"10 tülip":                        "printable ASCII",
		"10 tu\x00lip":                    "printable ASCII",
		"10 a\n\n10 b":                    "test:3: key 10 is on line 1 already",
		"# fine\n10":                      "test:2:",
		"10 " + strings.Repeat("x", 2045): "2048 bytes",
	} {
		list, err := ParseSymmetrics("test", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || list != nil {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "tulip") || strings.Contains(err.Error(), "0g")) {
			t.Errorf("%q: the error tells the key: %v", text, err)
		}
	}
	_, err := ParseSymmetrics("test", []byte(strings.Repeat("x\n", 100)))
	if err == nil || strings.Count(err.Error(), "\n") != maxErrors-1 {
		t.Errorf("a hundred mistakes: %v", err)
	}
	if _, err := ParseSymmetrics("test", make([]byte, maxFile+1)); err == nil {
		t.Error("a file without end was read")
	}
	if _, err := (Symmetric{ID: 1, Type: "none"}).Key(); err == nil {
		t.Error("a key of no type")
	}
	if _, err := (Symmetric{ID: 1, Type: "AES128", secret: []byte("short")}).Key(); err == nil {
		t.Error("a short key of AES128")
	}
}

func TestSymmetricEqual(t *testing.T) {
	s := Symmetric{ID: 1, Type: "MD5", secret: []byte("a")}
	for _, o := range []Symmetric{{ID: 2, Type: "MD5", secret: []byte("a")}, {ID: 1, Type: "SHA1", secret: []byte("a")}, {ID: 1, Type: "MD5", secret: []byte("b")}} {
		if s.Equal(o) || !o.Equal(o) {
			t.Errorf("%v and %v", s, o)
		}
	}
}

func FuzzParseSymmetrics(f *testing.F) {
	f.Add([]byte("10 tulip\n20 MD5 ASCII:crocus\n# x\n25 SHA1 HEX:933F62BE1D604E68A81B557F18CFA200483F5B70\n"))
	f.Add([]byte("30 AES128 HEX:7EA62AE64D190114D46D5A082F948EC1\r\n31 AES256 HEX:37DDCBC67BB902BCB8E995977FAB4D2B5642F5B32EBCEEE421921D97E5CBFE39"))
	f.Add([]byte("1 SHA3-256 x\n1 x\n"))
	f.Add([]byte("\x00\xff 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParseSymmetrics("x", text)
		if err != nil {
			if list != nil {
				t.Fatal("an error, and yet keys")
			}
			return
		}
		seen := map[uint32]bool{}
		var again strings.Builder
		for _, s := range list {
			if s.ID == 0 || seen[s.ID] || len(s.secret) == 0 {
				t.Fatalf("%v of %q", s, text)
			}
			seen[s.ID] = true
			if _, err := s.Key(); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
			fmt.Fprintf(&again, "%d %s HEX:%x\n", s.ID, s.Type, s.secret)
		}
		// What was understood means the same when it is written the long way.
		if again.Len() > maxFile {
			return
		}
		back, err := ParseSymmetrics("x", []byte(again.String()))
		if err != nil {
			for line := range strings.Lines(again.String()) {
				if len(line) > maxLine {
					return
				}
			}
			t.Fatal(err)
		}
		for i := range back {
			if !back[i].Equal(list[i]) {
				t.Fatalf("%v became %v", list[i], back[i])
			}
		}
	})
}
