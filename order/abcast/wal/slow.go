package wal

import "time"

// Slow is a file system whose every Sync takes so much longer: a disk that is slow, to see what comes of it.
type Slow struct {
	FS
	By time.Duration
}

// Open implements FS.
func (s Slow) Open(name string, flag int) (File, error) {
	f, err := s.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return slowFile{f, s.By}, nil
}

type slowFile struct {
	File
	by time.Duration
}

func (f slowFile) Sync() error {
	time.Sleep(f.by)
	return f.File.Sync()
}
