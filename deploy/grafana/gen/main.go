// Command gen writes the dashboards of deploy/grafana as JSON into the directory that it is told. `make docs` runs it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: gen DIRECTORY")
	}
	files, err := render()
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), text, 0o644); err != nil { //nolint:gosec // dashboards are for everybody to read
			return fmt.Errorf("gen: %w", err)
		}
	}
	return nil
}

// render returns the dashboards by file name.
func render() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, b := range map[string]*dashboard.DashboardBuilder{"fleet.json": fleet(), "host.json": host(), "experiment.json": experiment()} {
		d, err := b.Build()
		if err != nil {
			return nil, fmt.Errorf("gen: %s: %w", name, err)
		}
		text, err := encode(&d)
		if err != nil {
			return nil, fmt.Errorf("gen: %s: %w", name, err)
		}
		out[name] = text
	}
	return out, nil
}

// encode writes a dashboard. The titles of annotations have no place in the SDK's types.
func encode(d *dashboard.Dashboard) ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(b, &tree); err != nil {
		return nil, err
	}
	list, _ := tree["annotations"].(map[string]any)["list"].([]any)
	for _, x := range list {
		a, _ := x.(map[string]any)
		if name, _ := a["name"].(string); titles()[name] != "" {
			a["titleFormat"], a["step"] = titles()[name], "15s"
		}
	}
	b, err = json.MarshalIndent(tree, "", "  ")
	return append(b, '\n'), err
}
