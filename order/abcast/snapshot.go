package abcast

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/reason"
)

// A snapshot's description on disk, and on the wire, is the book of addresses and then what the engine needs.

// keepSnapshots is how many are on disk: the newest, the one before, and one that was received and may be refused.
const keepSnapshots = 3

// openSnapshots finds the newest snapshot on disk, from which the engine and the first consumer begin.
func (g *Group) openSnapshots(restart *core.Restart) (err error) {
	c := &g.config
	if g.snapshots, err = wal.OpenSnapshots(c.Wal.FS, filepath.Join(c.Dir, "snapshots"), keepSnapshots); err != nil {
		return err
	}
	s, err := g.snapshots.Newest()
	if err != nil || s == nil {
		return err
	}
	book, meta, ok := decodeBook(s.Meta)
	if err := s.Close(); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("abcast: snapshot %d: %w", s.Sequence, reason.SnapshotUnusable)
	}
	if c.Restore == nil {
		return fmt.Errorf("abcast: there is a snapshot %d on the disk, and the application cannot read any", s.Sequence)
	}
	maps.Copy(g.loop.book, book)
	restart.Snapshot = meta
	g.begin = &startState{s.Sequence}
	return nil
}

// restoreStart gives the first consumer the state on the disk.
func (g *Group) restoreStart() error {
	if g.begin == nil {
		return nil
	}
	if err := g.restore(g.begin.sequence); err != nil {
		return err
	}
	g.begin = nil
	return nil
}

// restore lets the application replace its state by that of a snapshot.
func (g *Group) restore(sequence uint64) error {
	if g.config.Restore == nil {
		return fmt.Errorf("abcast: the group has sent a snapshot, and the application cannot read any")
	}
	s, err := g.snapshots.Open(sequence)
	if err != nil {
		return err
	}
	err = g.config.Restore(s)
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("abcast: the application's state could not be restored from snapshot %d: %w", sequence, err)
	}
	return nil
}

// saveSnapshot lets the application write its state. A failure costs only room: the engine asks again.
func (g *Group) saveSnapshot(x item) {
	if g.config.Snapshot == nil {
		return
	}
	g.storing.Lock()
	err := g.snapshots.Save(x.snapshot.Index, append(encodeBook(nil, x.book), x.snapshot.Meta...), g.config.Snapshot)
	g.storing.Unlock()
	if err != nil {
		g.config.Log.Warn("no snapshot was taken", "index", x.snapshot.Index, "err", err)
		return
	}
	g.config.Log.Info("snapshot taken", "index", x.snapshot.Index)
	meta := x.snapshot.Meta
	g.box.call(func(now core.Now) { g.step(now, core.Event{Kind: core.EventSnapshotSaved, Meta: meta}) })
}

// sendSnapshot streams the newest snapshot to a peer.
func (g *Group) sendSnapshot(to core.ID) {
	g.beside.Go(func() {
		err := g.streamSnapshot(to)
		if g.ctx.Err() == nil {
			g.config.Log.Info("snapshot sent", "peer", uint64(to), "err", err)
		}
	})
}

func (g *Group) streamSnapshot(to core.ID) (err error) {
	s, err := g.snapshots.Newest()
	if err != nil {
		return err
	}
	if s == nil {
		return errors.New("abcast: there is no snapshot")
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return g.transport.Stream(g.ctx, uint64(to), func(w io.Writer) error {
		head := binary.AppendUvarint(nil, s.Sequence)
		head = binary.AppendUvarint(head, uint64(len(s.Meta)))
		if _, err := w.Write(append(head, s.Meta...)); err != nil {
			return err
		}
		_, err := io.Copy(w, s)
		return err
	})
}

// receiveSnapshot stores a snapshot that a peer sends, and offers it to the engine.
func (g *Group) receiveSnapshot(ctx context.Context, peer uint64, r io.Reader) error {
	b := bufio.NewReaderSize(r, 64<<10)
	sequence, description, err := readSnapshotHead(b)
	if err != nil {
		return err
	}
	book, meta, ok := decodeBook(description)
	if !ok {
		return fmt.Errorf("abcast: the snapshot of %d: %w", peer, reason.SnapshotUnusable)
	}
	g.storing.Lock()
	defer g.storing.Unlock()
	list, err := g.snapshots.List()
	if err != nil {
		return err
	}
	if len(list) > 0 && list[len(list)-1] >= sequence {
		return fmt.Errorf("abcast: snapshot %d of %d is not newer than %d: %w", sequence, peer, list[len(list)-1], reason.SnapshotUnusable)
	}
	err = g.snapshots.Save(sequence, description, func(w io.Writer) error {
		_, err := io.Copy(w, b)
		return err
	})
	if err != nil {
		return err
	}
	taken := make(chan error, 1)
	if !g.box.call(func(now core.Now) {
		err := g.engine.Step(now, core.Event{Kind: core.EventSnapshotReceived, Peer: core.ID(peer), Meta: meta})
		if err == nil {
			maps.Copy(g.loop.book, book)
			g.setPeers()
		}
		taken <- err
	}) {
		return ErrClosed
	}
	if err := <-taken; err != nil {
		return errors.Join(err, g.snapshots.Remove(sequence))
	}
	g.config.Log.Info("snapshot received", "peer", peer, "index", sequence)
	return ctx.Err()
}

// readSnapshotHead reads a snapshot's number and description from a peer's stream.
func readSnapshotHead(b *bufio.Reader) (uint64, []byte, error) {
	sequence, err := binary.ReadUvarint(b)
	if err != nil {
		return 0, nil, err
	}
	length, err := binary.ReadUvarint(b)
	if err != nil {
		return 0, nil, err
	}
	if length > wal.MaxMeta {
		return 0, nil, fmt.Errorf("abcast: a snapshot's description of %d bytes: %w", length, reason.SnapshotUnusable)
	}
	description := make([]byte, length)
	_, err = io.ReadFull(b, description)
	return sequence, description, err
}
