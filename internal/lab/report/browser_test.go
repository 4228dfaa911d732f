package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
)

// browser is a real Chromium that has a page open, and remembers what went wrong in it.
type browser struct {
	t         *testing.T
	ctx       context.Context
	artefacts string

	mutex    sync.Mutex
	trouble  []string
	requests []string
}

// open shows a page in a fresh Chromium. The test is skipped where there is none.
func open(t *testing.T, html []byte) *browser {
	t.Helper()
	program := testkit.RequireTool(t, "chromium")
	b := &browser{t: t, artefacts: os.Getenv("CLOCKD_ARTIFACTS")}
	if b.artefacts == "" {
		b.artefacts = t.TempDir()
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, html, 0o600); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(1200, 900),
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("headless", "new"), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.WSURLReadTimeout(2*time.Minute))
	limited, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
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
	b.run(network.Enable(), log.Enable(), chromedp.Navigate("file://"+file), chromedp.WaitVisible("html[data-ready]", chromedp.ByQuery))
	return b
}

// listen collects errors, warnings and requests.
func (b *browser) listen(event any) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
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

func (b *browser) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns what an expression gives.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	var x T
	b.run(chromedp.Evaluate(expression, &x))
	return x
}

// picture keeps a screenshot of the whole page as an artefact.
func (b *browser) picture(name string) {
	b.t.Helper()
	var png []byte
	b.run(chromedp.FullScreenshot(&png, 100))
	if len(png) < 10_000 {
		b.t.Errorf("the screenshot %s has %d bytes", name, len(png))
	}
	if err := result.WriteFile(filepath.Join(b.artefacts, name), png); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("screenshot %s", filepath.Join(b.artefacts, name))
}

// check fails if anything went wrong in the page, or if it asked for anything.
func (b *browser) check() {
	b.t.Helper()
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, text := range b.trouble {
		b.t.Error(text)
	}
	for i, url := range b.requests {
		if i > 0 || !strings.HasPrefix(url, "file:///") {
			b.t.Errorf("the page asked for %s", url)
		}
	}
}

// drawn are what each picture's canvas shows: its size, the number of its colours and of its legend's entries.
const drawn = `[...document.querySelectorAll('figure.chart')].map(f => {
  const c = f.querySelector('canvas'), copy = document.createElement('canvas'), colours = new Set();
  copy.width = c.width; copy.height = c.height;
  const to = copy.getContext('2d', { willReadFrequently: true });
  to.drawImage(c, 0, 0);
  const d = to.getImageData(0, 0, c.width, c.height).data;
  for (let i = 0; i < d.length; i += 4) colours.add((d[i] << 16 | d[i + 1] << 8 | d[i + 2]) + ',' + d[i + 3]);
  return { id: f.id, width: c.width, height: c.height, colours: colours.size, entries: f.querySelectorAll('.legend button').length,
    label: f.querySelector('.plot').getAttribute('aria-label') || '', rows: f.querySelectorAll('table tbody tr').length };
})`

type canvas struct {
	ID      string `json:"id"`
	Width   int    `json:"width"`
	Height  int    `json:"height"`
	Colours int    `json:"colours"`
	Entries int    `json:"entries"`
	Label   string `json:"label"`
	Rows    int    `json:"rows"`
}

func (b *browser) canvases(charts []Chart) {
	b.t.Helper()
	all := eval[[]canvas](b, drawn)
	if len(all) != len(charts) {
		b.t.Fatalf("%d pictures of %d", len(all), len(charts))
	}
	for i, c := range all {
		if c.ID != charts[i].ID || c.Width < 200 || c.Height < 200 || c.Colours < 10 || c.Entries != len(charts[i].Curves) || c.Label == "" || c.Rows == 0 {
			b.t.Errorf("%+v of %d curves", c, len(charts[i].Curves))
		}
	}
}

// TestInTheBrowser: a real Chromium draws every picture, in light and dark, on a wide screen and a phone, and on paper; it says
// nothing on its console and asks nobody for anything; the pictures obey mouse and keyboard.
func TestInTheBrowser(t *testing.T) {
	runs := []Run{{"run", group(t, 9)}}
	charts := Charts(runs)
	b := open(t, []byte(html(t, runs...)))
	b.canvases(charts)
	b.picture("report-light.png")

	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	b.canvases(charts)
	if background := eval[string](b, "getComputedStyle(document.body).backgroundColor"); background != "rgb(17, 20, 24)" {
		t.Errorf("in the dark the page is %s", background)
	}
	b.picture("report-dark.png")
	b.run(chromedp.Click("#theme", chromedp.ByQuery))
	if background := eval[string](b, "getComputedStyle(document.body).backgroundColor"); background != "rgb(251, 251, 250)" {
		t.Errorf("light is wanted in the dark, and the page is %s", background)
	}
	b.run(emulation.SetEmulatedMedia().WithMedia("").WithFeatures([]*emulation.MediaFeature{}))
	b.use()

	b.run(emulation.SetDeviceMetricsOverride(390, 844, 2, true), chromedp.Sleep(500*time.Millisecond))
	b.canvases(charts)
	if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("on a phone the page is %d wide", wide)
	}
	b.picture("report-phone.png")
	b.run(emulation.ClearDeviceMetricsOverride())
	b.paper()
	b.check()
}

// use hides a curve, zooms, and looks at values.
func (b *browser) use() {
	b.t.Helper()
	look := func(id string) string {
		return eval[string](b, fmt.Sprintf("document.querySelector('#%s canvas').toDataURL()", id))
	}
	before, other, apart := look("interval-1"), look("interval-2"), look("adev")
	b.run(chromedp.ScrollIntoView("#interval-1", chromedp.ByQuery), chromedp.Focus("#interval-1 .plot", chromedp.ByQuery), chromedp.KeyEvent("+"))
	b.differ("+ zooms", before, func() string { return look("interval-1") })
	b.differ("all pictures over time zoom together", other, func() string { return look("interval-2") })
	if look("adev") != apart {
		b.t.Error("a picture over τ moved with those over time")
	}
	zoomed := look("interval-1")
	b.run(chromedp.KeyEvent("0"))
	b.differ("0 shows all", zoomed, func() string { return look("interval-1") })
	b.run(chromedp.Click("#interval-1 .legend button", chromedp.ByQuery))
	b.differ("a name in the legend hides its curve", before, func() string { return look("interval-1") })
	if pressed := eval[string](b, "document.querySelector('#interval-1 .legend button').getAttribute('aria-pressed')"); pressed != "false" {
		b.t.Errorf("the hidden curve's button is pressed: %s", pressed)
	}
	b.run(chromedp.Click("#interval-1 .legend button", chromedp.ByQuery), chromedp.Click("#interval-1 .head button", chromedp.ByQuery))
	b.differ("the scale changes", before, func() string { return look("interval-1") })
	b.drag()
}

// drag draws over a picture with the mouse, and looks at the values below it.
func (b *browser) drag() {
	b.t.Helper()
	at := eval[[]float64](b, "(() => { const f = document.querySelector('#precision'); f.scrollIntoView({block: 'center', behavior: 'instant'}); const r = f.querySelector('.u-over').getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()")
	x, y := at[0]+at[2]/4, at[1]+at[3]/2
	look := func() string { return eval[string](b, "document.querySelector('#precision canvas').toDataURL()") }
	before := look()
	b.run(chromedp.MouseEvent(input.MouseMoved, x, y))
	testkit.WaitFor(b.t, time.Minute, "the values below the mouse", func() bool {
		return strings.HasSuffix(eval[string](b, "document.querySelector('#precision .legend output').textContent"), "s")
	})
	b.run(chromedp.MouseEvent(input.MousePressed, x, y, chromedp.ButtonLeft), chromedp.MouseEvent(input.MouseMoved, x+at[2]/4, y, chromedp.ButtonLeft),
		chromedp.MouseEvent(input.MouseReleased, x+at[2]/4, y, chromedp.ButtonLeft))
	b.differ("dragging zooms", before, look)
}

// differ waits until a picture is another one.
func (b *browser) differ(what, before string, look func() string) {
	b.t.Helper()
	testkit.WaitFor(b.t, time.Minute, what, func() bool { return look() != before })
}

// paper prints the page.
func (b *browser) paper() {
	b.t.Helper()
	var pdf []byte
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		var err error
		pdf, _, err = page.PrintToPDF().WithPrintBackground(true).Do(ctx)
		return err
	}))
	if !strings.HasPrefix(string(pdf), "%PDF") || len(pdf) < 20_000 {
		b.t.Errorf("%d bytes of PDF", len(pdf))
	}
	if err := result.WriteFile(filepath.Join(b.artefacts, "report.pdf"), pdf); err != nil {
		b.t.Fatal(err)
	}
	b.run(emulation.SetEmulatedMedia().WithMedia("print"))
	if shown := eval[string](b, "getComputedStyle(document.querySelector('.control')).display"); shown != "none" {
		b.t.Errorf("a button is printed: %s", shown)
	}
	b.picture("report-print.png")
	b.run(emulation.SetEmulatedMedia().WithMedia(""))
}

// TestHostileNamesInTheBrowser: what would like to be a script in a result is text in a real browser.
func TestHostileNamesInTheBrowser(t *testing.T) {
	r := group(t, 10, hostile...)
	r.Title, r.Notes = hostile[0], hostile
	runs := []Run{{hostile[2], r}}
	b := open(t, []byte(html(t, runs...)))
	if eval[bool](b, "'hacked' in window") {
		t.Error("a clock's name was run as a script")
	}
	if h1 := eval[string](b, "document.querySelector('h1').textContent"); h1 != hostile[0] {
		t.Errorf("the title is %q", h1)
	}
	if n := eval[int](b, "document.scripts.length"); n != 2 {
		t.Errorf("the page has %d scripts", n)
	}
	b.canvases(Charts(runs))
	b.check()
}

// TestComparisonInTheBrowser: several runs on one page.
func TestComparisonInTheBrowser(t *testing.T) {
	runs := []Run{{"before", group(t, 11)}, {"after", group(t, 12)}}
	b := open(t, []byte(html(t, runs...)))
	b.canvases(Charts(runs))
	b.picture("comparison.png")
	b.check()
}
