package browser

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/chromedp/chromedp"
)

//go:embed axe/axe.min.js.gz
var axePacked []byte

//go:embed axe/VERSION
var axeVersion string

// axeScript returns axe-core, which looks for what people with a screen reader, without a mouse or with weak eyes cannot use.
func axeScript() (string, error) {
	z, err := gzip.NewReader(bytes.NewReader(axePacked))
	if err != nil {
		return "", fmt.Errorf("browser: axe-core: %w", err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return "", fmt.Errorf("browser: axe-core: %w", err)
	}
	if sum := sha256.Sum256(b); !strings.Contains(axeVersion, hex.EncodeToString(sum[:])+"  axe.min.js") {
		return "", fmt.Errorf("browser: axe-core is not the file that VERSION tells of")
	}
	return string(b), nil
}

// finding is what axe-core has against a page.
type finding struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Where  []string `json:"where"`
}

// Accessible fails the test for everything that axe-core has against the page as it is now: the rules of WCAG 2.2, A and AA, and good
// practice. part is a selector of what is looked at, "" for all of it. It returns how many rules were looked at and held.
func (b *Browser) Accessible(when, part string) int {
	b.t.Helper()
	if !Eval[bool](b, "'axe' in window") {
		script, err := axeScript()
		if err != nil {
			b.t.Fatal(err)
		}
		// The page's policy is against scripts of others; the debugger is not bound by it.
		b.Run(chromedp.Evaluate(script, nil))
	}
	if part == "" {
		part = "html"
	}
	type report struct {
		Violations []finding `json:"violations"`
		Passes     int       `json:"passes"`
	}
	r := Eval[report](b, `axe.run(`+strconv.Quote(part)+`, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }).then(r => ({
		passes: r.passes.length,
		violations: r.violations.map(v => ({ id: v.id, impact: v.impact, help: v.help,
			where: v.nodes.slice(0, 5).map(n => n.target.join(' ') + ': ' + (n.any[0] || n.all[0] || n.none[0] || {}).message) })) }))`)
	for _, v := range r.Violations {
		b.t.Errorf("%s: %s (%s): %s\n  %s", when, v.ID, v.Impact, v.Help, strings.Join(v.Where, "\n  "))
	}
	return r.Passes
}
