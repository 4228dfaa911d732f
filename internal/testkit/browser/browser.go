// Package browser opens pages in a real Chromium, for tests, and remembers what went wrong in them.
//
// Main type: Browser. Chromium ends with the test. The test is skipped where there is none (it fails with CI=true).
package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/clockd/clockd/internal/testkit"
)

// limit is how long one test's browser may live.
const limit = 4 * time.Minute

// Browser is a Chromium with one page.
type Browser struct {
	t         testing.TB
	ctx       context.Context
	artefacts string

	mu       sync.Mutex
	trouble  []string
	requests []string
}

// Open shows a page and waits until the selector is visible. flags are further ones of Chromium, such as "ignore-certificate-errors".
func Open(t testing.TB, url, ready string, flags ...string) *Browser {
	t.Helper()
	program := testkit.RequireTool(t, "chromium")
	b := &Browser{t: t, artefacts: os.Getenv("CLOCKD_ARTIFACTS")}
	if b.artefacts == "" {
		b.artefacts = t.TempDir()
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(1200, 900),
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("headless", "new"), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.WSURLReadTimeout(2*time.Minute))
	for _, f := range flags {
		options = append(options, chromedp.Flag(f, true))
	}
	limited, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	allocator, stop := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(stop)
	ctx, done := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("chromium did not end by itself: %v", err)
		}
		done()
	})
	b.ctx = ctx
	chromedp.ListenTarget(ctx, b.listen)
	t.Cleanup(b.last)
	b.Run(network.Enable(), log.Enable(), chromedp.Navigate(url), chromedp.WaitVisible(ready, chromedp.ByQuery))
	return b
}

// last shows what the page of a test that failed showed last.
func (b *Browser) last() {
	if !b.t.Failed() {
		return
	}
	var text string
	if err := chromedp.Run(b.ctx, chromedp.Evaluate("document.body.innerText", &text)); err != nil {
		text = err.Error()
	}
	b.t.Logf("the page shows:\n%s", text)
}

// listen collects errors, warnings and requests.
func (b *Browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.trouble = append(b.trouble, "exception: "+e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.trouble = append(b.trouble, fmt.Sprintf("console.%s: %v", e.Type, e.Args))
	case *log.EventEntryAdded:
		b.trouble = append(b.trouble, fmt.Sprintf("%s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// Run carries out actions; the test ends if one fails.
func (b *Browser) Run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// Eval returns what an expression gives in the page. A promise is waited for.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	var x T
	b.Run(chromedp.Evaluate(expression, &x, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return x
}

// WaitFor waits until an expression is true.
func (b *Browser) WaitFor(what, expression string) {
	b.t.Helper()
	testkit.WaitFor(b.t, time.Minute, what, func() bool { return Eval[bool](b, expression) })
}

// Trouble returns the errors and warnings so far, and forgets them. Requests returns the addresses that were asked for.
func (b *Browser) Trouble() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.trouble
	b.trouble = nil
	return all
}

// Requests returns the addresses that the page asked for so far, its own first.
func (b *Browser) Requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.requests...)
}

// Dark has the system want dark colours, or light ones.
func (b *Browser) Dark(dark bool) {
	b.t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	b.Run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}))
}

// Size makes the window that large; a phone has twice as many pixels, and fingers.
func (b *Browser) Size(width, height int64, phone bool) {
	b.t.Helper()
	scale := 1.0
	if phone {
		scale = 2
	}
	b.Run(emulation.SetDeviceMetricsOverride(width, height, scale, phone))
}

// Picture keeps a screenshot of the whole page as an artefact (in CLOCKD_ARTIFACTS, if that is set).
func (b *Browser) Picture(name string) {
	b.t.Helper()
	var png []byte
	b.Run(chromedp.FullScreenshot(&png, 100))
	if len(png) < 10_000 {
		b.t.Errorf("the screenshot %s has %d bytes", name, len(png))
	}
	b.Keep(name, png)
}

// Keep keeps a file as an artefact.
func (b *Browser) Keep(name string, data []byte) {
	b.t.Helper()
	path := filepath.Join(b.artefacts, name)
	if err := os.MkdirAll(b.artefacts, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("kept %s", path)
}
