package web_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/internal/testkit/browser"
)

// TestMain lets this test binary be a daemon, which can be killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("CLOCKD_TEST_DAEMON"); path != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		c, err := config.Load(path, paths(filepath.Dir(path)))
		if err == nil {
			err = daemon.Run(ctx, daemon.Options{Config: c, ConfigPath: path, Version: "test", Lookup: example})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// example is where all hosts are that the tests follow.
func example(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
}

func paths(dir string) config.Paths {
	return config.Paths{Page: filepath.Join(dir, "page"), Control: filepath.Join(dir, "control"), State: filepath.Join(dir, "state.json")}
}

// daemonProcess starts a daemon in a process of its own.
func daemonProcess(t *testing.T, dir, document string) *testkit.Process {
	t.Helper()
	path := filepath.Join(dir, "clockd.toml")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "CLOCKD_TEST_DAEMON="+path)
	return testkit.StartProcess(t, c)
}

// reference runs a daemon in this process that is the reference, and returns where it serves.
func reference(t *testing.T) string {
	t.Helper()
	c, err := config.Parse("test", fmt.Appendf(nil, "[local]\nstratum = 1\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 100000\nburst = 100000\n",
		testkit.FreeUDPPort(t)), paths(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- daemon.Run(ctx, daemon.Options{Config: c, Version: "test", Started: func(at []netip.AddrPort) {
			select {
			case served <- at[0].String():
			default:
			}
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the reference ended with %v", err)
		}
	})
	select {
	case at := <-served:
		return at
	case <-time.After(time.Minute):
		t.Fatal("the reference does not start")
	}
	return ""
}

// follower is the document of a daemon that follows servers quickly and has a page.
func follower(port int, servers ...string) string {
	text := fmt.Sprintf("[http]\nlisten = [\"127.0.0.1:%d\"]\n[counter]\nsource = \"skewed(auto,ppm=23)\"\n", port)
	for i, s := range servers {
		text += fmt.Sprintf("[[source]]\naddress = \"ntp%d.example:%d\"\npoll = \"250ms\"\nburst_spacing = \"20ms\"\n", i+1, netip.MustParseAddrPort(s).Port())
	}
	return text
}

const (
	phone, wall, desktop = 390, 1920, 1280
)

// TestThePageOfARealDaemon: in a real Chromium the page loads quickly and shows a good clock; a source that begins to lie is named with
// its reason; nothing is wrong in light and dark, on a phone and on a wall, for those who cannot see or have no mouse; when the daemon
// is killed it says that it does not know, and when one is back it goes on.
func TestThePageOfARealDaemon(t *testing.T) {
	t.Parallel()
	upstream := reference(t)
	proxies := []*testkit.Proxy{testkit.ShiftProxy(t, upstream, 0), testkit.ShiftProxy(t, upstream, 0), testkit.ShiftProxy(t, upstream, 0)}
	port, dir := testkit.FreeUDPPort(t), t.TempDir()
	document := follower(port, upstream, proxies[0].Address(), proxies[1].Address(), proxies[2].Address())
	p := daemonProcess(t, dir, document)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	waitForPort(t, port)
	b := browser.Open(t, url, "html[data-ready]")
	weigh(t, b)

	b.WaitFor("a good clock", `document.querySelector('#verdict').dataset.level === 'good'`)
	b.WaitFor("all sources to be used", `document.querySelectorAll('#source-rows tr[data-level=good]').length === 4`)
	b.Size(desktop, 900, false)
	b.WaitFor("the pictures", `[...document.querySelectorAll('.legend b')].some(x => /s$/.test(x.textContent))`)
	before := browser.Eval[string](b, `document.querySelector('#error canvas').toDataURL()`)
	b.WaitFor("an update", fmt.Sprintf(`document.querySelector('#error canvas').toDataURL() !== %q`, before))
	t.Logf("%d rules of accessibility hold", b.Accessible("good", ""))

	liar := fmt.Sprintf("ntp4.example:%d", netip.MustParseAddrPort(proxies[2].Address()).Port())
	linger(t)
	proxies[2].SetShift(50 * time.Millisecond)
	row := fmt.Sprintf(`[...document.querySelectorAll('#source-rows tr')].find(r => r.textContent.includes(%q))`, liar)
	b.WaitFor("the liar to be named", row+`.dataset.level === 'bad' && /contradicts what the other sources prove, by at least 4\d\.\d ms/.test(`+row+`.textContent)`)
	b.WaitFor("the reason beside the verdict", fmt.Sprintf(`document.querySelector('#why').textContent.includes(%q) && document.querySelector('#verdict').dataset.level === 'good'`,
		"Source "+liar+" contradicts the others and is outvoted"))
	b.WaitFor("the event", fmt.Sprintf(`document.querySelector('#event-rows').textContent.includes(%q)`, "Source "+liar+" is not used"))
	b.WaitFor("advice", `document.querySelector('#advice').textContent.includes('repair it or remove it: clockd query ntp4.example') && document.querySelector('#advice code') !== null`)
	looks(t, b)
	use(t, b)
	quiet(t, b, url)

	p.Kill()
	b.WaitFor("the page to say that the daemon is gone", `!document.querySelector('#stale').hidden && document.querySelector('#verdict').dataset.level === 'none'`)
	b.WaitFor("the age of what is shown", `/The last news came \d+ s ago/.test(document.querySelector('#stale').textContent)`)
	if title := browser.Eval[string](b, "document.title"); !strings.HasPrefix(title, "? no news") {
		t.Errorf("without a daemon the tab says %q", title)
	}
	if said := browser.Eval[string](b, "document.querySelector('#announce').textContent"); !strings.Contains(said, "Not known") {
		t.Errorf("without a daemon a screen reader hears %q", said)
	}
	b.Accessible("gone", "#verdict, #stale, #sources")
	b.Picture("page-gone.png")
	_ = b.Trouble() // that nobody answers is on the console, rightly

	proxies[2].SetShift(0)
	daemonProcess(t, dir, document)
	b.WaitFor("the page to come back by itself", `document.querySelector('#stale').hidden && document.querySelector('#verdict').dataset.level === 'good'`)
}

func waitForPort(t *testing.T, port int) {
	t.Helper()
	testkit.WaitFor(t, time.Minute, "the page to be served", func() bool {
		code, _ := get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port), nil)
		return code == 200
	})
}

// weigh reports what the page costs. The limits are generous: the machine may be busy.
func weigh(t *testing.T, b *browser.Browser) {
	t.Helper()
	type timing struct {
		Load, Ready            float64
		Packed, Size, Requests int
	}
	x := browser.Eval[timing](b, `(() => { const n = performance.getEntriesByType('navigation')[0];
		return { Load: n.loadEventEnd, Ready: +document.documentElement.dataset.ready, Packed: n.encodedBodySize, Size: n.decodedBodySize }; })()`)
	t.Logf("loaded after %.0f ms, shows the clock after %.0f ms; %d bytes, %d over the wire", x.Load, x.Ready, x.Size, x.Packed)
	if x.Load <= 0 || x.Load > 20_000 || x.Ready > 30_000 {
		t.Errorf("the page takes %.0f ms, and %.0f ms to say something", x.Load, x.Ready)
	}
	if x.Packed > 50_000 || x.Packed >= x.Size/2 {
		t.Errorf("%d of %d bytes go over the wire", x.Packed, x.Size)
	}
}

// linger lets the page be open for as long as CLOCKD_PAGE_FOR says before anything is broken, for pictures that show something.
func linger(t *testing.T) {
	t.Helper()
	if d, err := time.ParseDuration(os.Getenv("CLOCKD_PAGE_FOR")); err == nil {
		time.Sleep(d)
	}
}

// looks takes pictures, light and dark, of each size; nothing may be wider than the window.
func looks(t *testing.T, b *browser.Browser) {
	t.Helper()
	for _, c := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"page-desktop-light", desktop, 900, false}, {"page-phone-dark", phone, 844, true}, {"page-wall-dark", wall, 1080, true}} {
		if c.width == wall && os.Getenv("CLOCKD_ARTIFACTS") == "" {
			continue // a picture that nobody keeps
		}
		b.Dark(c.dark)
		b.Size(c.width, c.height, c.width < 600)
		b.Run(chromedp.Sleep(400 * time.Millisecond)) // the pictures follow the window
		if wide := browser.Eval[int64](b, "document.documentElement.scrollWidth"); wide > c.width {
			t.Errorf("%s: the page is %d wide", c.name, wide)
		}
		if got, want := browser.Eval[string](b, "getComputedStyle(document.body).backgroundColor"), map[bool]string{true: "rgb(15, 18, 22)", false: "rgb(247, 248, 249)"}[c.dark]; got != want {
			t.Errorf("%s: the page is %s", c.name, got)
		}
		if c.name == "page-phone-dark" {
			b.Accessible(c.name, "")
		}
		b.Picture(c.name + ".png")
	}
	b.Dark(false)
	b.Size(desktop, 900, false)
}

// use presses what can be pressed, with the keyboard.
func use(t *testing.T, b *browser.Browser) {
	t.Helper()
	press := func(selector string) { b.Run(chromedp.Focus(selector, chromedp.ByQuery), chromedp.KeyEvent("\r")) }
	press("#pause")
	shown := browser.Eval[string](b, "document.querySelector('#time').textContent")
	b.WaitFor("a pause", "!document.querySelector('#stale').hidden && document.querySelector('#pause').getAttribute('aria-pressed') === 'true'")
	b.Run(chromedp.Sleep(1200 * time.Millisecond))
	if now := browser.Eval[string](b, "document.querySelector('#time').textContent"); now != shown {
		t.Errorf("in the pause the time goes on from %s to %s", shown, now)
	}
	press("#pause")
	b.WaitFor("the pause to end", fmt.Sprintf("document.querySelector('#stale').hidden && document.querySelector('#time').textContent !== %q", shown))
	for _, r := range []string{"60", "900", "86400", "300"} {
		press(fmt.Sprintf("[data-range='%s']", r))
		if pressed := browser.Eval[string](b, "[...document.querySelectorAll('[data-range][aria-pressed=true]')].map(x => x.dataset.range).join()"); pressed != r {
			t.Errorf("%s is pressed instead of %s", pressed, r)
		}
	}
	press("#theme") // light
	press("#theme") // dark
	if got := browser.Eval[string](b, "getComputedStyle(document.body).backgroundColor"); got != "rgb(15, 18, 22)" {
		t.Errorf("dark is wanted, and the page is %s", got)
	}
	press("#theme")
	press("#source-rows summary")
	b.WaitFor("more about a source", "document.querySelector('#source-rows details').open && /stamps/.test(document.querySelector('#source-rows details').textContent)")
	b.Run(chromedp.Sleep(1200 * time.Millisecond))
	if !browser.Eval[bool](b, "document.querySelector('#source-rows details').open && document.activeElement.tagName === 'SUMMARY'") {
		t.Error("an update closes what was open, or takes the focus away")
	}
}

// quiet: nothing was said on the console, and nobody but the daemon was asked.
func quiet(t *testing.T, b *browser.Browser, url string) {
	t.Helper()
	for _, text := range b.Trouble() {
		t.Error(text)
	}
	for _, asked := range b.Requests() {
		if !strings.HasPrefix(asked, url) && !strings.HasPrefix(asked, "data:image/svg") {
			t.Errorf("the page asked for %s", asked)
		}
	}
}
