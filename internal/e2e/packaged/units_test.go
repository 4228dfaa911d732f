package packaged

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/clockd/clockd/internal/config"
)

// No unit is less hardened than was promised.
func TestUnitsAreHardened(t *testing.T) {
	analyse, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	for _, unit := range []string{"clockd.service", "clockd-wait.service"} {
		out, err := exec.Command(analyse, "security", "--no-pager", "--offline=true", "--threshold=15", filepath.Join(root, "deploy/systemd", unit)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// The configuration that the packages bring follows the same servers as clockd without one.
func TestPackagedConfigurationIsTheBuiltInOne(t *testing.T) {
	paths := config.DefaultPaths(func(string) string { return "" }, 0)
	got, err := config.Load(filepath.Join(root, "deploy/etc/clockd.toml"), paths)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Public(paths)
	if len(got.Source) != len(want.Source) || got.Clock != want.Clock || got.Page != want.Page || got.State != want.State {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i := range got.Source {
		if got.Source[i] != want.Source[i] {
			t.Errorf("got  %+v\nwant %+v", got.Source[i], want.Source[i])
		}
	}
}

// The manifests for Kubernetes are YAML whose configuration is good and whose files are where the daemon and its readers look.
func TestKubernetesManifests(t *testing.T) {
	var kinds []string
	for _, file := range []string{"clockd.yaml", "example-pod.yaml"} {
		f, err := os.Open(filepath.Join(root, "deploy/kubernetes", file))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		for documents := yaml.NewDecoder(f); ; {
			var d struct {
				Kind string
				Data map[string]string
			}
			if documents.Decode(&d) != nil {
				break
			}
			kinds = append(kinds, d.Kind)
			if text, ok := d.Data["clockd.toml"]; ok {
				c, err := config.Parse(file, []byte(text), config.Paths{})
				if err != nil || c.Page.Path != "/run/clockd/page" || c.Control.Path != "/run/clockd/control" {
					t.Errorf("the ConfigMap's configuration: %v, %+v", err, c)
				}
			}
		}
	}
	if got := strings.Join(kinds, " "); got != "Namespace ConfigMap DaemonSet Pod" {
		t.Errorf("the manifests are of %s", got)
	}
}
