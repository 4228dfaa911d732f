package config

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Paths are the places of a user's daemon.
type Paths struct {
	Page, Control, State string
	// Config is where `clockd run` looks for a file when it is given none.
	Config string
}

// DefaultPaths returns the places for a user. getenv is os.Getenv or a stand-in.
//
// The runtime directory is $RUNTIME_DIRECTORY (systemd), /run/clockd for root, $XDG_RUNTIME_DIR/clockd or /tmp/clockd-UID for
// others; the state directory is $STATE_DIRECTORY, /var/lib/clockd for root, $XDG_STATE_HOME/clockd or
// $HOME/.local/state/clockd for others, else the runtime directory.
func DefaultPaths(getenv func(string) string, uid int) Paths {
	runtime := firstDirectory(getenv("RUNTIME_DIRECTORY"))
	state := firstDirectory(getenv("STATE_DIRECTORY"))
	config := "/etc/clockd/clockd.toml"
	if runtime == "" {
		runtime = "/run/clockd"
		if uid != 0 {
			runtime = "/tmp/clockd-" + strconv.Itoa(uid)
			if x := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(x) {
				runtime = filepath.Join(x, "clockd")
			}
		}
	}
	if state == "" {
		state = "/var/lib/clockd"
		if uid != 0 {
			state = runtime
			if h := getenv("HOME"); filepath.IsAbs(h) {
				state = filepath.Join(h, ".local", "state", "clockd")
			}
			if x := getenv("XDG_STATE_HOME"); filepath.IsAbs(x) {
				state = filepath.Join(x, "clockd")
			}
		}
	}
	return Paths{
		Page: filepath.Join(runtime, "page"), Control: filepath.Join(runtime, "control"),
		State: filepath.Join(state, "state.json"), Config: config,
	}
}

// firstDirectory returns the first entry of a colon-separated list as systemd makes it, if it is absolute.
func firstDirectory(list string) string {
	d, _, _ := strings.Cut(list, ":")
	if !filepath.IsAbs(d) {
		return ""
	}
	return d
}
