package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// Where TestMain puts the programs: the one that ships, and one that looks for data races if these tests do.
const (
	variableProgram  = "CLOCKD_E2E_PROGRAM"
	variableDetector = "CLOCKD_E2E_DETECTOR"
)

// TestMain builds clockd once. Told to by its environment, this program is a reader of a page instead (readers_test.go), or a host
// whose kernel has no packet stamps (kernel_test.go).
func TestMain(m *testing.M) {
	if os.Getenv(variableReader) != "" {
		readPageUntilTold()
		return
	}
	if os.Getenv(variableStampless) != "" {
		fmt.Fprintln(os.Stderr, runStampless())
		return
	}
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		m.Run()
		return
	}
	// The tests mostly wait for packets: more of them fit side by side than there are processors.
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = flag.Set("test.parallel", "8")
	}
	dir, err := os.MkdirTemp("", "clockd-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs := []build{{variableProgram, filepath.Join(dir, "clockd"), []string{"-trimpath", "-ldflags", "-s -w"}, "CGO_ENABLED=0"}}
	if raceEnabled {
		programs = append(programs, build{variableDetector, filepath.Join(dir, "clockd-race"), []string{"-race"}, "CGO_ENABLED=1"})
	}
	for _, b := range programs {
		if err := b.run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			// The tests run and fail: a TestMain that returns early would look like success.
		}
	}
	m.Run()
}

// build is one way to build cmd/clockd.
type build struct {
	variable, path string
	flags          []string
	cgo            string
}

func (b *build) run() error {
	command := exec.Command("go", append(append([]string{"build", "-o", b.path}, b.flags...), "../../cmd/clockd")...)
	command.Env = append(os.Environ(), b.cgo)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("clockd cannot be built: %w\n%s", err, out)
	}
	return os.Setenv(b.variable, b.path)
}
