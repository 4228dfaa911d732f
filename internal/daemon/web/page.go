package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/clockd/clockd/internal/uplot"
)

//go:embed assets/page.html
var pageText string

//go:embed assets/page.css
var pageStyle string

//go:embed assets/page.js
var pageScript string

// document is the status page, made once.
type document struct {
	plain, packed []byte
	policy        string
}

// makeDocument puts the page together. Its policy names its one style and its one script by their hashes: whatever else might get into
// the page does not run.
func makeDocument(version string) (*document, error) {
	style, script := uplot.Style()+"\n"+pageStyle, uplot.Script()+"\n"+pageScript
	text := strings.NewReplacer("{{style}}", style, "{{script}}", script, "{{credit}}", html.EscapeString(uplot.Credit),
		"{{version}}", html.EscapeString(version)).Replace(pageText)
	d := &document{plain: []byte(text)}
	d.policy = fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		hash(script), hash(style))
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if _, err := z.Write(d.plain); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	d.packed = b.Bytes()
	return d, nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (d *document) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", d.policy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Add("Vary", "Accept-Encoding")
	body := d.plain
	if accepts(r, "gzip") {
		header.Set("Content-Encoding", "gzip")
		body = d.packed
	}
	header.Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body)
}

// accepts reports whether a client takes a coding (RFC 9110, 12.5.3).
func accepts(r *http.Request, coding string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameter, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		quality, given := strings.CutPrefix(strings.TrimSpace(parameter), "q=")
		q, err := strconv.ParseFloat(quality, 64)
		return !given || err == nil && q > 0
	}
	return false
}
