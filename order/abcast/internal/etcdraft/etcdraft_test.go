package etcdraft

import (
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

type id uint64

// TestGuard: whatever way raft stops is an error, and nothing else is.
func TestGuard(t *testing.T) {
	l := Quiet()
	for _, f := range []func(){func() { l.Panicf("term %d", 3) }, func() { l.Fatal("gone") }} {
		if err := Guard(7, f); err == nil || !strings.Contains(err.Error(), "process 7 contradicts") {
			t.Errorf("%v", err)
		}
	}
	if err := Guard(7, func() { l.Warning("a warning") }); err != nil {
		t.Error(err)
	}
}

// TestChanges: what is proposed is what is decoded, and what cannot be is refused with its reason.
func TestChanges(t *testing.T) {
	group := []id{1, 2, 3}
	for _, x := range []change{ok(Added(group, 4, 5)), ok(Removed(group, 2))} {
		if x.err != nil {
			t.Fatal(x.err)
		}
		b, err := proto.Marshal(x.change)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Change(&pb.Entry{Type: pb.EntryConfChange.Enum(), Data: b})
		if err != nil || !proto.Equal(again.(*pb.ConfChange), x.change) {
			t.Errorf("%v became %v, %v", x.change, again, err)
		}
	}
	if _, err := Change(&pb.Entry{Type: pb.EntryConfChangeV2.Enum(), Data: []byte{0xff}}); err == nil {
		t.Error("no change was decoded")
	}
	for want, x := range map[string]change{
		"already":     ok(Added(group, 3, 5)),
		"not 0":       ok(Added(group, 0, 5)),
		"3 processes": ok(Added(group, 4, 3)),
		"not in":      ok(Removed(group, 4)),
		"last one":    ok(Removed(group[:1], 1)),
	} {
		if x.err == nil || !strings.Contains(x.err.Error(), want) {
			t.Errorf("%v, want %q", x.err, want)
		}
	}
}

type change struct {
	change *pb.ConfChange
	err    error
}

func ok(c *pb.ConfChange, err error) change { return change{c, err} }
