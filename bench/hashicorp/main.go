// Command hashicorp-raft-member is a member of a group of github.com/hashicorp/raft, as its users run it, for clockbench order: TCP transport, raft-boltdb with fsync
// behind a log cache (or raft's in-memory store), default timeouts and batches, an FSM that takes batches. What a follower is given it hands on to the leader over a TCP
// connection of its own, since raft does not: many at a time, as the RPC of Consul and Nomad does. It is a module of its own so that clockd depends on none of it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/clockd/clockd/internal/lab/orderbench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := orderbench.RunMember(ctx, os.Stdin, os.Stdout, map[string]orderbench.Open{orderbench.Hashicorp: open})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}
