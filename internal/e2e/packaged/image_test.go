package packaged

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// The image is the same twice, and what is in it runs as the user that it names, with nothing else around it.
func TestImageIsReproducibleAndRuns(t *testing.T) {
	tools(t)
	testkit.RequireTool(t, "crane")
	testkit.RequireRoot(t)
	var images [2][]byte
	dist := t.TempDir()
	for i := range images {
		c := exec.Command(filepath.Join(root, "scripts/image"), runtime.GOARCH)
		c.Env = append(os.Environ(), "VERSION="+oldVersion, "DIST="+dist, "TMPDIR="+t.TempDir(), "SOURCE_DATE_EPOCH=1750000000")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("scripts/image: %v\n%s", err, out)
		}
		var err error
		if images[i], err = os.ReadFile(glob(t, dist+"/*_image.tar")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two builds differ")
	}
	t.Logf("%d bytes", len(images[0]))
	layout, rootfs := t.TempDir(), t.TempDir()
	unpack := func(archive, to string) {
		t.Helper()
		if out, err := exec.Command("tar", "-xf", archive, "-C", to).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", archive, err, out)
		}
	}
	unpack(glob(t, dist+"/*_image.tar"), layout)
	type descriptor struct {
		Digest    string
		MediaType string
	}
	blob := func(d descriptor) string {
		return filepath.Join(layout, "blobs/sha256", strings.TrimPrefix(d.Digest, "sha256:"))
	}
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
	}
	parse := func(path string, into any) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	parse(filepath.Join(layout, "index.json"), &index)
	parse(blob(index.Manifests[0]), &index)
	parse(blob(index.Manifests[0]), &manifest)
	parse(blob(manifest.Config), &config)
	if config.Config.User != "65532:65532" || strings.Join(config.Config.Entrypoint, " ") != "/usr/bin/clockd run" {
		t.Errorf("the image's configuration is %+v", config.Config)
	}
	for _, l := range manifest.Layers {
		unpack(blob(l), rootfs)
	}
	out, err := exec.Command("chroot", "--userspec="+config.Config.User, rootfs, config.Config.Entrypoint[0], "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), oldVersion) {
		t.Errorf("clockd version in the image: %v: %s", err, out)
	}
	if out, err := exec.Command("chroot", "--userspec="+config.Config.User, rootfs, config.Config.Entrypoint[0], "check", "/etc/passwd").CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "/etc/passwd:1") {
		t.Errorf("what is in the image does not read files: %v: %s", err, out)
	}
}
