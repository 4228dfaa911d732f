package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/internal/testkit/browser"
)

// shown is a report in a real Chromium.
type shown struct {
	*browser.Browser
	t *testing.T
}

// open shows a page in a fresh Chromium. The test is skipped where there is none.
func open(t *testing.T, html []byte) *shown {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, html, 0o600); err != nil {
		t.Fatal(err)
	}
	return &shown{browser.Open(t, "file://"+file, "html[data-ready]"), t}
}

// check fails if anything went wrong in the page, or if it asked for anything.
func (b *shown) check() {
	b.t.Helper()
	for _, text := range b.Trouble() {
		b.t.Error(text)
	}
	for i, url := range b.Requests() {
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

func (b *shown) canvases(charts []Chart) {
	b.t.Helper()
	all := browser.Eval[[]canvas](b.Browser, drawn)
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
	b.Picture("report-light.png")

	b.Run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	b.canvases(charts)
	if background := browser.Eval[string](b.Browser, "getComputedStyle(document.body).backgroundColor"); background != "rgb(17, 20, 24)" {
		t.Errorf("in the dark the page is %s", background)
	}
	b.Picture("report-dark.png")
	b.Run(chromedp.Click("#theme", chromedp.ByQuery))
	if background := browser.Eval[string](b.Browser, "getComputedStyle(document.body).backgroundColor"); background != "rgb(251, 251, 250)" {
		t.Errorf("light is wanted in the dark, and the page is %s", background)
	}
	b.Run(emulation.SetEmulatedMedia().WithMedia("").WithFeatures([]*emulation.MediaFeature{}))
	b.use()

	b.Run(emulation.SetDeviceMetricsOverride(390, 844, 2, true), chromedp.Sleep(500*time.Millisecond))
	b.canvases(charts)
	if wide := browser.Eval[int](b.Browser, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("on a phone the page is %d wide", wide)
	}
	b.Picture("report-phone.png")
	b.Run(emulation.ClearDeviceMetricsOverride())
	b.paper()
	b.check()
}

// use hides a curve, zooms, and looks at values.
func (b *shown) use() {
	b.t.Helper()
	look := func(id string) string {
		return browser.Eval[string](b.Browser, fmt.Sprintf("document.querySelector('#%s canvas').toDataURL()", id))
	}
	before, other, apart := look("interval-1"), look("interval-2"), look("adev")
	b.Run(chromedp.ScrollIntoView("#interval-1", chromedp.ByQuery), chromedp.Focus("#interval-1 .plot", chromedp.ByQuery), chromedp.KeyEvent("+"))
	b.differ("+ zooms", before, func() string { return look("interval-1") })
	b.differ("all pictures over time zoom together", other, func() string { return look("interval-2") })
	if look("adev") != apart {
		b.t.Error("a picture over τ moved with those over time")
	}
	zoomed := look("interval-1")
	b.Run(chromedp.KeyEvent("0"))
	b.differ("0 shows all", zoomed, func() string { return look("interval-1") })
	b.Run(chromedp.Click("#interval-1 .legend button", chromedp.ByQuery))
	b.differ("a name in the legend hides its curve", before, func() string { return look("interval-1") })
	if pressed := browser.Eval[string](b.Browser, "document.querySelector('#interval-1 .legend button').getAttribute('aria-pressed')"); pressed != "false" {
		b.t.Errorf("the hidden curve's button is pressed: %s", pressed)
	}
	b.Run(chromedp.Click("#interval-1 .legend button", chromedp.ByQuery), chromedp.Click("#interval-1 .head button", chromedp.ByQuery))
	b.differ("the scale changes", before, func() string { return look("interval-1") })
	b.drag()
}

// drag draws over a picture with the mouse, and looks at the values below it.
func (b *shown) drag() {
	b.t.Helper()
	at := browser.Eval[[]float64](b.Browser, "(() => { const f = document.querySelector('#precision'); f.scrollIntoView({block: 'center', behavior: 'instant'}); const r = f.querySelector('.u-over').getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()")
	x, y := at[0]+at[2]/4, at[1]+at[3]/2
	look := func() string {
		return browser.Eval[string](b.Browser, "document.querySelector('#precision canvas').toDataURL()")
	}
	before := look()
	b.Run(chromedp.MouseEvent(input.MouseMoved, x, y))
	testkit.WaitFor(b.t, time.Minute, "the values below the mouse", func() bool {
		return strings.HasSuffix(browser.Eval[string](b.Browser, "document.querySelector('#precision .legend output').textContent"), "s")
	})
	b.Run(chromedp.MouseEvent(input.MousePressed, x, y, chromedp.ButtonLeft), chromedp.MouseEvent(input.MouseMoved, x+at[2]/4, y, chromedp.ButtonLeft),
		chromedp.MouseEvent(input.MouseReleased, x+at[2]/4, y, chromedp.ButtonLeft))
	b.differ("dragging zooms", before, look)
}

// differ waits until a picture is another one.
func (b *shown) differ(what, before string, look func() string) {
	b.t.Helper()
	testkit.WaitFor(b.t, time.Minute, what, func() bool { return look() != before })
}

// paper prints the page.
func (b *shown) paper() {
	b.t.Helper()
	var pdf []byte
	b.Run(chromedp.ActionFunc(func(ctx context.Context) error {
		var err error
		pdf, _, err = page.PrintToPDF().WithPrintBackground(true).Do(ctx)
		return err
	}))
	if !strings.HasPrefix(string(pdf), "%PDF") || len(pdf) < 20_000 {
		b.t.Errorf("%d bytes of PDF", len(pdf))
	}
	b.Keep("report.pdf", pdf)
	b.Run(emulation.SetEmulatedMedia().WithMedia("print"))
	if shown := browser.Eval[string](b.Browser, "getComputedStyle(document.querySelector('.control')).display"); shown != "none" {
		b.t.Errorf("a button is printed: %s", shown)
	}
	b.Picture("report-print.png")
	b.Run(emulation.SetEmulatedMedia().WithMedia(""))
}

// TestHostileNamesInTheBrowser: what would like to be a script in a result is text in a real browser.
func TestHostileNamesInTheBrowser(t *testing.T) {
	r := group(t, 10, hostile...)
	r.Title, r.Notes = hostile[0], hostile
	runs := []Run{{hostile[2], r}}
	b := open(t, []byte(html(t, runs...)))
	if browser.Eval[bool](b.Browser, "'hacked' in window") {
		t.Error("a clock's name was run as a script")
	}
	if h1 := browser.Eval[string](b.Browser, "document.querySelector('h1').textContent"); h1 != hostile[0] {
		t.Errorf("the title is %q", h1)
	}
	if n := browser.Eval[int](b.Browser, "document.scripts.length"); n != 2 {
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
	b.Picture("comparison.png")
	b.check()
}
