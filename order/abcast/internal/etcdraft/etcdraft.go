// Package etcdraft is what the engines that have etcd's raft inside do alike with it.
package etcdraft

import (
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Guard calls f and turns a panic of raft, which is how it says that its log contradicts itself, into an error. id is this process.
func Guard(id uint64, f func()) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("the raft log of process %d contradicts the group's (was its disk lost and its ID kept?): %v", id, x)
		}
	}()
	f()
	return nil
}

// Change decodes an entry that changes the group: one of the type EntryConfChange or EntryConfChangeV2.
func Change(e *pb.Entry) (pb.ConfChangeI, error) {
	var change interface {
		proto.Message
		pb.ConfChangeI
	} = &pb.ConfChange{}
	if e.GetType() == pb.EntryConfChangeV2 {
		change = &pb.ConfChangeV2{}
	}
	if err := proto.Unmarshal(e.GetData(), change); err != nil {
		return nil, fmt.Errorf("a change of the group: %w", err)
	}
	return change, nil
}

// Added is the change that brings a process into a group, which has the processes of universe and may have most.
func Added[ID ~uint64](universe []ID, id ID, most int) (*pb.ConfChange, error) {
	switch {
	case slices.Contains(universe, id):
		return nil, fmt.Errorf("process %d is in the group already", id)
	case id == 0 || len(universe) >= most:
		return nil, fmt.Errorf("process %d cannot be added: IDs are not 0, and a group has %d processes at the most", id, most)
	}
	return &pb.ConfChange{NodeId: proto.Uint64(uint64(id)), Type: pb.ConfChangeAddNode.Enum()}, nil
}

// Removed is the change that takes a process out of a group.
func Removed[ID ~uint64](universe []ID, id ID) (*pb.ConfChange, error) {
	if !slices.Contains(universe, id) || len(universe) == 1 {
		return nil, fmt.Errorf("process %d cannot be removed: it is not in the group, or is the last one", id)
	}
	return &pb.ConfChange{NodeId: proto.Uint64(uint64(id)), Type: pb.ConfChangeRemoveNode.Enum()}, nil
}
