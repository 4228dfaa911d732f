package core

import (
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func Describe(r Record) string {
	switch r.Data[0] {
	case recordHardState:
		h := &pb.HardState{}
		proto.Unmarshal(r.Data[1:], h)
		return fmt.Sprint(r.LSN, " hard ", h)
	case recordEntry:
		h := &pb.Entry{}
		proto.Unmarshal(r.Data[1:], h)
		return fmt.Sprint(r.LSN, " entry ", h.GetIndex(), " t", h.GetTerm())
	case recordRaftSnapshot:
		h := &pb.Snapshot{}
		proto.Unmarshal(r.Data[1:], h)
		return fmt.Sprint(r.LSN, " snapshot ", h.GetMetadata())
	}
	return ""
}
