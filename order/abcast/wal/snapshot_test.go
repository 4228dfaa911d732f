package wal

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func saveText(s *Snapshots, sequence uint64, text string) error {
	return s.Save(sequence, []byte("meta of "+text), func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

func TestSnapshots(t *testing.T) {
	s, err := OpenSnapshots(nil, t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if newest, err := s.Newest(); newest != nil || err != nil {
		t.Fatalf("there is a snapshot already: %v, %v", newest, err)
	}
	for i := uint64(1); i <= 5; i++ {
		if err := saveText(s, i*100, strings.Repeat("content ", int(i))); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List()
	if err != nil || !slices.Equal(list, []uint64{400, 500}) {
		t.Errorf("kept %v, %v", list, err)
	}
	newest, err := s.Newest()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(newest)
	want := strings.Repeat("content ", 5)
	if err != nil || string(text) != want || string(newest.Meta) != "meta of "+want || newest.Sequence != 500 || newest.Length != int64(len(want)) {
		t.Errorf("read %q of %+v, %v", text, newest, err)
	}
	if err := newest.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Save(600, make([]byte, MaxMeta+1), nil); err == nil {
		t.Error("a description that is too long was taken")
	}
}

func TestSnapshotsDamaged(t *testing.T) {
	fs := newMemFS()
	s, err := OpenSnapshots(fs, "d", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := saveText(s, 7, "content"); err != nil {
		t.Fatal(err)
	}
	name := "d/" + snapshotName(7)
	whole := slices.Clone(fs.read(name))
	damaged := func(b []byte) {
		t.Helper()
		fs.now[name].data = b
		var corrupt *CorruptError
		if _, err := s.Newest(); !errors.As(err, &corrupt) {
			t.Fatalf("%d of %d bytes: %v", len(b), len(whole), err)
		}
	}
	for bit := range 8 * len(whole) {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		damaged(b)
	}
	for n := range whole {
		damaged(slices.Clone(whole[:n]))
	}
	damaged(append(slices.Clone(whole), 0))
}

// TestSnapshotIsThereOrNot lets every call fail in turn, and the power go.
func TestSnapshotIsThereOrNot(t *testing.T) {
	for calls := range 8 {
		fs := newMemFS()
		s, err := OpenSnapshots(fs, "d", 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := saveText(s, 1, "old"); err != nil {
			t.Fatal(err)
		}
		fs.calls, fs.failure = calls, syscall.ENOSPC
		err = saveText(s, 2, "new")
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d calls: %v", calls, err)
		}
		saved := err == nil
		fs.powerOff(rand.New(rand.NewPCG(uint64(calls), 1)))
		if s, err = OpenSnapshots(fs, "d", 2); err != nil {
			t.Fatal(err)
		}
		newest, err := s.Newest()
		if err != nil || newest == nil {
			t.Fatalf("%d calls: %v, %v", calls, newest, err)
		}
		text, err := io.ReadAll(newest)
		if err != nil || (saved && string(text) != "new") || (string(text) != "new" && string(text) != "old") {
			t.Errorf("%d calls: saved %v, %q is there, %v", calls, saved, text, err)
		}
		for name := range fs.now {
			if strings.HasSuffix(name, ".new") {
				t.Errorf("%d calls: %s is left", calls, name)
			}
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	fs := newMemFS()
	s, err := OpenSnapshots(fs, "d", 2)
	if err != nil {
		f.Fatal(err)
	}
	if err := saveText(s, 7, "content"); err != nil {
		f.Fatal(err)
	}
	f.Add(fs.read("d/" + snapshotName(7)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkSnapshot(bytes.NewReader(b), int64(len(b)), 7) != nil {
			return
		}
		fs := newMemFS()
		fs.now["d/"+snapshotName(7)] = &node{data: b}
		s, err := OpenSnapshots(fs, "d", 2)
		if err != nil {
			t.Fatal(err)
		}
		newest, err := s.Newest()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(newest); err != nil || int64(len(text)) != newest.Length {
			t.Fatalf("%d bytes of %d, %v", len(text), newest.Length, err)
		}
	})
}
