//go:build linux

package virtualclock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// ErrPageBusy says that another living process writes the page.
var ErrPageBusy = errors.New("another clockd is running and writes this page: stop it, or give each its own path")

// ErrPageClosed says that the writer was closed.
var ErrPageClosed = errors.New("the page's writer is closed")

// PageWriter is the one writer of a shared page. It holds a lock on the file (flock) until it is closed or the process ends,
// however it ends.
type PageWriter struct {
	mu        sync.Mutex
	page      publisher
	path      string
	file      *os.File
	mapped    []byte
	lastEpoch Epoch
	tookOver  bool
}

// CreatePage makes path a page for readers of that counter, or goes on with the one that is there; the directory must exist, the
// file has mode 0644. instance is any number that tells one run of a daemon from another; readers may look at it.
//
// A page of this version, boot and counter that no living process writes is taken over in place, so programs that have it mapped
// go on reading, until its last publication expires or the first new one comes. A page of another version or counter is marked
// retired and replaced by a new file, atomically. A file that is no page at all is left alone, with an error.
//
// Errors: ErrPageBusy; what the file system says.
func CreatePage(path string, counter hw.Counter, instance uint64) (*PageWriter, error) {
	return CreatePageOfBoot(path, counter, instance, "")
}

// CreatePageOfBoot is CreatePage for a writer whose /proc is not its readers': boot is what they find in
// /proc/sys/kernel/random/boot_id, "" what this process finds there.
func CreatePageOfBoot(path string, counter hw.Counter, instance uint64, boot string) (*PageWriter, error) {
	h := header{kind: kindOf(counter), spec: counter.Spec()}
	if len(h.spec) == 0 || len(h.spec) > specBytes {
		return nil, fmt.Errorf("virtualclock: page %s: the counter's spec has %d bytes, 1 to %d are possible", path, len(h.spec), specBytes)
	}
	var err error
	if h.boot, err = bootID(); boot != "" {
		h.boot, err = parseBoot(boot)
	}
	if err != nil {
		return nil, fmt.Errorf("virtualclock: page %s: %w", path, err)
	}
	w := &PageWriter{path: path, page: publisher{counter: counter, instance: instance, companion: newCompanion(counter)}}
	// Another process may create or replace the file between two of our steps; then everything begins again.
	const attempts = 10
	for range attempts {
		if err = w.create(&h); !errors.Is(err, errPageMoved) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("virtualclock: page %s: %w", path, err)
	}
	return w, nil
}

var errPageMoved = errors.New("the file is replaced again and again by another process")

// create makes one attempt: errPageMoved asks for another.
func (w *PageWriter) create(h *header) error {
	old, info, err := openRegular(w.path, os.O_RDWR|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return w.createFile(h, nil, false)
	}
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("it is a symbolic link, which is not followed: name the file itself: %w", err)
	}
	if err != nil {
		return err
	}
	taken, err := w.replace(h, old, info)
	if taken {
		return err
	}
	return errors.Join(err, old.Close())
}

// replace deals with the file that is there: it is taken over (then taken), or a new one takes its place.
func (w *PageWriter) replace(h *header, old *os.File, info fs.FileInfo) (taken bool, err error) {
	if err := lockPage(old); err != nil {
		return false, err
	}
	if now, err := os.Lstat(w.path); err != nil || !os.SameFile(now, info) {
		return false, errPageMoved
	}
	if info.Size() == 0 {
		return false, w.createFile(h, nil, true) // a page that a crash of the file system emptied
	}
	magic := make([]byte, len(pageMagic))
	if _, err := old.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if string(magic) != pageMagic {
		return false, fmt.Errorf("there is a file that is not a clockd page; remove it or choose another path: %w", reason.PageMagic)
	}
	if info.Size() != pageSize {
		return false, w.createFile(h, nil, true) // nobody can have it mapped as a page
	}
	mapped, words, err := mapPage(old, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return false, err
	}
	found, err := parseHeader(words)
	if err == nil {
		var k content
		words.decode(&k)
		w.lastEpoch = max(w.lastEpoch, k.Epoch)
	}
	if err == nil && found.boot == h.boot && found.sameCounter(w.page.counter) && words.load(wordSequence) != pageRetired {
		w.takeOver(old, mapped, words)
		return true, nil
	}
	return false, errors.Join(w.createFile(h, words, true), unix.Munmap(mapped))
}

// takeOver goes on with a page that a dead writer left behind. What it published last stays as it is: it is good until it
// expires. If the writer died while it wrote, that is lost.
func (w *PageWriter) takeOver(file *os.File, mapped []byte, words *pageWords) {
	w.file, w.mapped, w.page.words, w.tookOver = file, mapped, words, true
	sequence := words.load(wordSequence)
	w.page.sequence = sequence
	if sequence&1 != 0 {
		w.page.sequence = sequence + 1
		w.publishVoid(reason.NeverSynchronised)
	}
}

// publishVoid makes the page unsynchronised.
func (w *PageWriter) publishVoid(why reason.Code) {
	k := w.page.last
	k.Epoch = max(k.Epoch, w.lastEpoch)
	k.Status = Unsynchronised
	_ = w.page.publish(&k, why) // fails only for coefficients that claim to be sound
}

// createFile puts a new page at the path. If it replaces a file, the caller holds the lock of that one; if that was a page, old,
// its readers are told first.
func (w *PageWriter) createFile(h *header, old *pageWords, replaces bool) (err error) {
	file, err := os.CreateTemp(filepath.Dir(w.path), ".clockd-page-*")
	if err != nil {
		return fmt.Errorf("creating it (does its directory exist, may this user write there?): %w", err)
	}
	temporary := file.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, w.abandon(file, temporary))
		}
	}()
	if err := errors.Join(lockPage(file), file.Chmod(0o644), file.Truncate(pageSize)); err != nil {
		return fmt.Errorf("creating it: %w", err)
	}
	mapped, words, err := mapPage(file, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return err
	}
	w.file, w.mapped, w.page.words, w.page.sequence = file, mapped, words, 0
	h.store(words)
	w.publishVoid(reason.NeverSynchronised)
	if !replaces {
		// Unlike a rename, a link fails if somebody was faster.
		if err := os.Link(temporary, w.path); errors.Is(err, fs.ErrExist) {
			return errPageMoved
		} else if err != nil {
			return err
		}
		return os.Remove(temporary)
	}
	if old != nil {
		old.store(wordSequence, pageRetired)
	}
	return os.Rename(temporary, w.path)
}

// abandon undoes what createFile began.
func (w *PageWriter) abandon(file *os.File, temporary string) error {
	err := os.Remove(temporary)
	if w.mapped != nil {
		err = errors.Join(err, unix.Munmap(w.mapped))
	}
	w.file, w.mapped, w.page.words, w.page.published = nil, nil, nil, false
	return errors.Join(err, file.Close())
}

// lockPage takes the writer's lock without waiting.
func lockPage(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrPageBusy
	}
	if err != nil {
		return fmt.Errorf("locking it: %w", err)
	}
	return nil
}

// Publish makes readers see k from now on. It takes effect whole or not at all. Where k's virtual clock differs from what readers
// saw last, because they followed the old rate until now, it is led over without a jump (10 ppm), unless the epoch is new.
//
// It allocates nothing. An error means that the page is void now: k contradicts itself (bounds the wrong way round, no rate), or
// the writer is closed.
func (w *PageWriter) Publish(k *Coefficients) error { return w.PublishReason(k, reason.OK) }

// PublishReason is Publish with the reason why the status is not Synchronised, which readers are told.
func (w *PageWriter) PublishReason(k *Coefficients, why reason.Code) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mapped == nil {
		return ErrPageClosed
	}
	return w.page.publish(k, why)
}

// Mark tells readers, from the next publication on, which disruptions of the virtual machine it takes account of: marker is
// hw.VMClock's. Readers that see another marker there know at once that what they read is void.
func (w *PageWriter) Mark(marker uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.page.marked, w.page.marker = true, marker
}

// SetLeap says what readers are told of TAI and of leap seconds from the next publication on.
func (w *PageWriter) SetLeap(l LeapState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.page.leap = l
}

// LastEpoch returns the epoch in the page that was there before, 0 if there was none. A new clock must step above it
// (Clock.SetEpoch), since readers take an unchanged epoch for an undisturbed clock.
func (w *PageWriter) LastEpoch() Epoch { return w.lastEpoch }

// TookOver reports whether the page was there before and goes on in place.
func (w *PageWriter) TookOver() bool { return w.tookOver }

// Path returns the page's path.
func (w *PageWriter) Path() string { return w.path }

// Close makes the page void at once, with reason PageVoid, and gives it up; the file stays for readers and for the next writer.
func (w *PageWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mapped == nil {
		return nil
	}
	w.publishVoid(reason.PageVoid)
	mapped := w.mapped
	w.mapped, w.page.words = nil, nil
	return errors.Join(unix.Munmap(mapped), w.file.Close())
}
