package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
)

// stateFormat is the version of the state file.
const stateFormat = 1

// maxState is far above what saveState writes.
const maxState = 64 << 10

// state is what is remembered across restarts: how fast the counter's oscillator really is.
type state struct {
	Format int `json:"format"`
	// Counter is the identity of the counter that Rate belongs to (counterIdentity).
	Counter string `json:"counter"`
	// Hertz is the nominal frequency that Rate is relative to.
	Hertz float64 `json:"hertz"`
	// Rate is d(true)/d(raw) − 1, RateStd its standard deviation.
	Rate    float64 `json:"rate"`
	RateStd float64 `json:"rate_std"`
	// Saved is when, by the virtual clock; for people.
	Saved time.Time `json:"saved"`
}

// rateAgeing is what a remembered rate may have wandered while the daemon was away, as a standard deviation: a temperature
// change of some degrees moves an ordinary crystal by about this much.
const rateAgeing = 1e-6

// passing are the settings of a counter's specification that differ from start to start: what was measured, where it began.
var passing = regexp.MustCompile(`(hz|error_ppb|timens|start|origin)=[^,()]*`)

// counterIdentity returns a counter's specification without what differs from start to start: the same oscillator has the same.
func counterIdentity(spec string) string {
	s := passing.ReplaceAllString(spec, "")
	for before := ""; s != before; {
		before = s
		for _, x := range [][2]string{{",,", ","}, {"(,", "("}, {",)", ")"}, {"()", ""}} {
			s = strings.ReplaceAll(s, x[0], x[1])
		}
	}
	return s
}

// loadState reads the state at path. A file that is not there is no error and gives nil.
func loadState(path string) (*state, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("daemon: the state file cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, fmt.Errorf("daemon: the state file cannot be read: %w", err)
	}
	return parseState(b)
}

func parseState(b []byte) (*state, error) {
	if len(b) > maxState {
		return nil, errors.New("daemon: the state file is too long to be one")
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("daemon: the state file is corrupt: %w", err)
	}
	if s.Format != stateFormat {
		return nil, fmt.Errorf("daemon: the state file has format %d, this clockd reads format %d", s.Format, stateFormat)
	}
	return &s, nil
}

// rateFor returns the remembered rate relative to the counter's nominal frequency of today, which a new calibration may have
// changed. It is an error if the state belongs to another counter or is beyond what the drift bound allows.
func (s *state) rateFor(spec string, f hw.Frequency, driftBound float64) (rate, std float64, err error) {
	if identity := counterIdentity(spec); s.Counter != identity {
		return 0, 0, fmt.Errorf("daemon: the state file is about counter %.80q, not %q", s.Counter, identity)
	}
	if !(s.Hertz > 0) || !(s.RateStd > 0) || math.IsInf(s.Hertz, 0) || s.RateStd > 0.01 {
		return 0, 0, fmt.Errorf("daemon: the state file is absurd: %g Hz, deviation %g", s.Hertz, s.RateStd)
	}
	// A tick is (1+rate)/hertz true seconds, whatever frequency is called nominal.
	ratio := f.Hertz / s.Hertz
	rate = (1+s.Rate)*ratio - 1
	limit := driftBound + f.ErrorPPB*1e-9
	if !(math.Abs(rate) <= limit) {
		return 0, 0, fmt.Errorf("daemon: the state file's rate of %.3f ppm is beyond the drift bound of %.3f ppm", rate*1e6, limit*1e6)
	}
	return rate, math.Hypot(s.RateStd, rateAgeing), nil
}

// saveState writes the state atomically: a reader or a restart after a power cut sees the old file or the new one.
func saveState(path string, s state) (err error) {
	s.Format = stateFormat
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("daemon: the state cannot be encoded: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("daemon: the state directory cannot be made: %w", err)
	}
	f, err := os.CreateTemp(dir, ".state-*")
	if err != nil {
		return fmt.Errorf("daemon: the state cannot be written: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("daemon: the state cannot be written: %w", err)
		}
	}()
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(dir)
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
