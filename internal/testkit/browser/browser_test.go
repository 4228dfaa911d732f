package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorder is a test that does not fail.
type recorder struct {
	*testing.T
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) { r.errors = append(r.errors, format) }

func TestTroubleAndAccessibilityAreSeen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.html")
	bad := `<!DOCTYPE html><title>x</title><p id="ready" style="color:#ccc;background:#fff">pale<button></button></p>
<script>console.error("said"); setTimeout(() => { throw new Error("thrown") })</script>`
	if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &recorder{T: t}
	b := Open(r, "file://"+file, "#ready")
	if b.Accessible("bad", ""); len(r.errors) < 3 { // no language, pale text, a button without a name, …
		t.Errorf("%d things are wrong with the page", len(r.errors))
	}
	b.WaitFor("the exception", "true")
	trouble := strings.Join(b.Trouble(), "\n")
	if !strings.Contains(trouble, "console.error") || !strings.Contains(trouble, "thrown") {
		t.Errorf("the trouble is %q", trouble)
	}
	if left := b.Trouble(); len(left) != 0 {
		t.Errorf("still %q", left)
	}
	if len(b.Requests()) != 1 {
		t.Errorf("asked for %v", b.Requests())
	}
}
