package observe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/clockd/clockd/internal/lab/result"
)

// Session is an observation as the command line asks for it.
type Session struct {
	// Options are those of the measurement; Log and Analysis are made here.
	Options
	// Out is the directory of the record, "" for none.
	Out string
	// Resume goes on with the observation in Out: with its configuration, of which Agree may complain.
	Resume bool
	Agree  func(*Config) error
	// Command is the words of the command line, for the result.
	Command func(*Config) []string

	place *result.Directory
}

// ErrComplete says that the length of the observation that is to be resumed has been measured already.
var ErrComplete = errors.New("the observation is complete: say with --for how much longer to go on, or --summary to look at it")

// Run measures, and returns the result also where it was cut short: only then with an error. Nothing is asked of any server before
// it is certain that the record and the result can be kept. With Out, files is what was written as result.json, for those who
// make pages of it.
func (s *Session) Run(ctx context.Context) (r *Report, files *result.Result, err error) {
	contents, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	analysis, err := Run(ctx, s.Options)
	if s.Log != nil {
		err = errors.Join(err, s.Log.Close())
	}
	if analysis.segment != nil {
		r = analysis.Report(true)
		if contents != nil {
			r.Log = contents.report()
		}
	}
	if s.place == nil {
		return r, nil, err
	}
	if r != nil {
		var command []string
		if s.Command != nil {
			command = s.Command(&s.Config)
		}
		var failed error
		files, failed = WriteResult(s.place, command)
		err = errors.Join(err, failed)
	}
	return r, files, errors.Join(err, s.place.Close())
}

// open begins or opens the record.
func (s *Session) open() (*Contents, error) {
	if !s.Resume {
		if s.Out == "" {
			return nil, nil
		}
		return nil, s.create()
	}
	var a *Analysis
	log, contents, err := ResumeLog(s.Out, func(h *Header) { a = NewAnalysis(h) }, func(r *Record) error { return a.Step(r) })
	if err != nil {
		return nil, err
	}
	config := contents.Header.Config
	if s.Agree != nil {
		err = s.Agree(&config)
	}
	if err == nil && s.For == 0 && config.Length != nil {
		left := *config.Length - a.MeasuredSeconds()
		if left < config.Poll {
			err = ErrComplete
		}
		s.For = duration(left)
	}
	if err == nil {
		s.place, err = result.Prepare(s.Out, result.PrepareOptions{Replace: true})
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s.Log, s.Analysis, s.Config = log, a, config
	return &contents, nil
}

// create begins a record, where there is neither one nor a result.
func (s *Session) create() error {
	_, there := os.Lstat(filepath.Join(s.Out, LogName))
	if _, err := os.Lstat(filepath.Join(s.Out, result.FileName)); err == nil && there != nil {
		return fmt.Errorf("%s holds the result of another run: choose another directory with --out", s.Out)
	}
	log, err := CreateLog(s.Out, NewHeader(s.Version, &s.Config))
	if err != nil {
		return err
	}
	if s.place, err = result.Prepare(s.Out, result.PrepareOptions{}); err != nil {
		return errors.Join(err, log.Close(), os.Remove(filepath.Join(s.Out, LogName)))
	}
	s.Log = log
	return nil
}

// Summarise reads the observation in a directory and measures nothing. It may be going on meanwhile.
func Summarise(dir string, observer Observer) (*Report, error) {
	var a *Analysis
	contents, err := ReadLog(dir, func(h *Header) { a = NewAnalysis(h); a.Observer = observer }, func(r *Record) error { return a.Step(r) })
	if err != nil {
		return nil, err
	}
	r := a.Report(true)
	r.Log = contents.report()
	return r, nil
}

func (c *Contents) report() *LogReport {
	return &LogReport{File: LogName, Records: c.Records, Damaged: c.Damaged, Damages: append([]Damage{}, c.Damages...), CutBytes: c.Cut}
}

// Left returns how long a measurement that has begun then and lasts so long still takes; 0 if that is not known.
func Left(began time.Time, length time.Duration) time.Duration {
	if length <= 0 {
		return 0
	}
	return max(length-time.Since(began), 0)
}
