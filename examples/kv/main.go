// Kv is a replicated key-value store: each member is a process with a copy of everything, kept the same by timestamp-ordered atomic broadcast
// (package abcast). It is served over HTTP, and survives the crash of a minority without losing an acknowledged write. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/clockd/clockd/order/abcast"
	"github.com/clockd/clockd/order/abcast/transport"
	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/virtualclock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK     = 0
	exitNo     = 1 // no such key, or the comparison failed
	exitUsage  = 2
	exitFailed = 3
	exitMaybe  = 4 // the write may still happen
)

const usage = `kv is a replicated key-value store.

  kv certs  --dir DIR --group N --ids 1,2,3          make an authority and a certificate for each member
  kv serve  --id N --members 1=HOST:PORT,... --dir DIR --certs DIR --http HOST:PORT
  kv get    --at HOST:PORT KEY                       a linearizable read
  kv put    --at HOST:PORT KEY VALUE
  kv cas    --at HOST:PORT KEY OLD NEW               put NEW if there is OLD
  kv delete --at HOST:PORT KEY
  kv status --at HOST:PORT                           the member's state, as JSON
  kv add    --at HOST:PORT ID ADDRESS                let a new process into the group
  kv remove --at HOST:PORT ID                        take one out for ever

Each command has --help. Exit codes: 0 done, 1 no such key or another value, 2 usage, 3 not done, 4 not known: the write may still happen.
`

// run is the program.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" {
		fmt.Fprint(out, usage)
		return exitOK
	}
	var err error
	switch name, rest := args[0], args[1:]; name {
	case "certs":
		err = runCerts(rest, out, errs)
	case "serve":
		err = runServe(ctx, rest, out, errs)
	case "get", "put", "cas", "delete", "status", "add", "remove":
		return runClient(ctx, name, rest, out, errs)
	default:
		err = fmt.Errorf("%w: there is no command %q", errUsage, name)
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(errs, "kv: %v; see kv help\n", err)
		return exitUsage
	}
	fmt.Fprintf(errs, "kv: %v\n", err)
	return exitFailed
}

var errUsage = errors.New("usage")

func newFlags(name string, errs io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("kv "+name, flag.ContinueOnError)
	f.SetOutput(errs)
	return f
}

// parse parses flags; what is wrong with them was printed.
func parse(f *flag.FlagSet, args []string, words int) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() != words {
		return fmt.Errorf("%w: %s takes %d words after the flags, not %d", errUsage, f.Name(), words, f.NArg())
	}
	return nil
}

// runCerts makes files: ca.pem, and ID.pem and ID.key for each member.
func runCerts(args []string, out, errs io.Writer) error {
	f := newFlags("certs", errs)
	dir := f.String("dir", "certs", "where the files go")
	group := f.Uint64("group", 1, "the group's number")
	ids := f.String("ids", "1,2,3", "the members; give those that may join later too, for the authority's key is not kept")
	valid := f.Duration("valid", 365*24*time.Hour, "how long the certificates are valid")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	authority, err := transport.NewAuthority(*group, time.Now(), *valid)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	files := map[string][]byte{"ca.pem": authority.PEM()}
	for word := range strings.SplitSeq(*ids, ",") {
		id, err := strconv.ParseUint(word, 10, 64)
		if err != nil || id == 0 {
			return fmt.Errorf("%w: %q is no member's number", errUsage, word)
		}
		c, err := authority.Issue(*group, id, time.Now(), *valid)
		if err != nil {
			return err
		}
		if files[word+".pem"], files[word+".key"], err = transport.EncodeCertificate(c); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(*dir, name), text, 0o600); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d certificates of group %d in %s; give each host ca.pem and its own two files\n", len(files)/2, *group, *dir)
	return nil
}

// serveOptions is what a member was told.
type serveOptions struct {
	group       uint64
	id          uint64
	members     string
	join        bool
	dir, certs  string
	http        string
	durability  wal.Mode
	page        string
	shift       time.Duration
	slow        time.Duration
	suspect     time.Duration
	snapshot    int
	segment     int64
	retain      int
	verbose     bool
	leaveWithin time.Duration
}

func runServe(ctx context.Context, args []string, out, errs io.Writer) error {
	var o serveOptions
	f := newFlags("serve", errs)
	f.Uint64Var(&o.group, "group", 1, "the group's number")
	f.Uint64Var(&o.id, "id", 0, "this member's number; never use one again whose directory is lost")
	f.StringVar(&o.members, "members", "", "all members that are known, this one too: 1=HOST:PORT,2=HOST:PORT,...")
	f.BoolVar(&o.join, "join", false, "join a group that is there already (kv add), instead of being among its first members")
	f.StringVar(&o.dir, "dir", "", "this member's directory")
	f.StringVar(&o.certs, "certs", "", "where ca.pem, ID.pem and ID.key are")
	f.StringVar(&o.http, "http", "127.0.0.1:0", "where clients are served")
	f.TextVar(&o.durability, "durability", wal.Fsync, "what an acknowledged write survives: fsync, os or memory")
	f.StringVar(&o.page, "page", "", "clockd's page, such as /run/clockd/page; without it the system's clock is used")
	f.DurationVar(&o.shift, "shift-clock", 0, "make this member's clock wrong by so much, to see what comes of it")
	f.DurationVar(&o.slow, "slow-disk", 0, "make this member's disk slower by so much for each sync, to see what comes of it")
	f.DurationVar(&o.suspect, "suspect-after", 0, "the silence after which a member is put out of the view (500ms)")
	f.IntVar(&o.snapshot, "snapshot-every", 0, "take a snapshot after so many bytes of writes (64 MiB)")
	f.Int64Var(&o.segment, "segment-size", 0, "the size of the log's files in bytes (64 MiB)")
	f.IntVar(&o.retain, "retain", 0, "how many bytes of writes are kept in memory for members that lag (64 MiB)")
	f.BoolVar(&o.verbose, "v", false, "log sessions and views")
	f.DurationVar(&o.leaveWithin, "leave-within", 2*time.Second, "how long leaving the view may take when the program is ended in order")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	c, err := o.config(errs)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.http)
	if err != nil {
		return err
	}
	s := newServer(c.ID, newStore())
	c.Snapshot, c.Restore = s.store.snapshot, s.store.restore
	if s.group, err = abcast.Open(*c); err != nil {
		return errors.Join(err, listener.Close())
	}
	fmt.Fprintf(out, "member %d: http://%s\n", o.id, listener.Addr())
	err = s.serve(ctx, listener)
	if ctx.Err() != nil && s.group.Err() == nil {
		leaving, cancel := context.WithTimeout(context.Background(), o.leaveWithin)
		defer cancel()
		if e := s.group.Leave(leaving); e != nil {
			fmt.Fprintf(errs, "kv: %v\n", e)
		}
	}
	return errors.Join(err, s.group.Err(), s.group.Close())
}

func (o *serveOptions) config(errs io.Writer) (*abcast.Config, error) {
	members, err := parseMembers(o.members)
	if err != nil {
		return nil, err
	}
	if o.id == 0 || o.dir == "" || o.certs == "" || members[abcast.ID(o.id)] == "" {
		return nil, fmt.Errorf("%w: serve needs --id, --dir, --certs, and --members with this member's own address", errUsage)
	}
	file := func(name string) string { return filepath.Join(o.certs, name) }
	security, err := transport.LoadSecurity(file("ca.pem"), file(fmt.Sprintf("%d.pem", o.id)), file(fmt.Sprintf("%d.key", o.id)))
	if err != nil {
		return nil, err
	}
	c := &abcast.Config{Group: o.group, ID: abcast.ID(o.id), Members: members, Dir: o.dir, Durability: o.durability, Security: security}
	if !o.join {
		for id := range members {
			c.Bootstrap = append(c.Bootstrap, id)
		}
	}
	c.Tuning.Seed = o.id
	c.Tuning.SuspectAfter, c.Tuning.SnapshotEvery = o.suspect, o.snapshot
	c.Tuning.Retain = o.retain
	c.Wal.SegmentSize = o.segment
	if o.slow > 0 {
		c.Wal.FS = wal.Slow{FS: wal.Disk{}, By: o.slow}
	}
	if o.verbose {
		c.Log = slog.New(slog.NewTextHandler(errs, nil))
	}
	if o.page != "" {
		if c.Clock, err = virtualclock.OpenPage(o.page); err != nil {
			return nil, err
		}
	}
	if o.shift != 0 {
		c.Clock = shifted(o.shift)
	}
	return c, nil
}

// shifted is the system's clock, wrong by so much.
type shifted time.Duration

// Now implements virtualclock.Source.
func (s shifted) Now() virtualclock.Interval {
	t := virtualclock.FromTime(time.Now().Add(time.Duration(s)))
	return virtualclock.Interval{Earliest: t, Latest: t, Standing: virtualclock.Standing{Status: virtualclock.Synchronised, Kind: virtualclock.External}}
}

func parseMembers(text string) (map[abcast.ID]string, error) {
	members := map[abcast.ID]string{}
	for word := range strings.SplitSeq(text, ",") {
		number, address, ok := strings.Cut(word, "=")
		id, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || id == 0 || address == "" {
			return nil, fmt.Errorf("%w: --members has %q where ID=HOST:PORT is expected", errUsage, word)
		}
		members[abcast.ID(id)] = address
	}
	return members, nil
}
