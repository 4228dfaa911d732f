package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/lab/network"
	"github.com/clockd/clockd/virtualclock"
)

// NetworkOptions is what a Network is told.
type NetworkOptions struct {
	// Hosts is their number, 1 to MaxHosts; 0: DefaultHosts.
	Hosts int
	// Seed makes the hosts' oscillators.
	Seed uint64
	// Delay, if set, is how long packets of host i are under way to the master and back, besides what they need on this machine. If
	// the two differ, the host's clock is wrong by half of the difference, and cannot know it: that is what its bound is for.
	Delay func(i int) (there, back time.Duration)
}

// Network is clocks to play with, for the programs under examples: one master and some hosts on this machine, each with a daemon
// and a page of its own, and a counter that is wrong by tens of parts per million. It knows true time.
type Network struct {
	base  hw.Counter
	fleet *fleet
	// lines is nil if all are fast.
	lines *network.Loopback
}

// networkPoll is how often the hosts ask the master.
const networkPoll = 250 * time.Millisecond

// StartNetwork starts it, and returns when all hosts are synchronised. It must be closed.
func StartNetwork(ctx context.Context, o NetworkOptions) (*Network, error) {
	choice, err := hw.Choose("auto")
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	n := &Network{base: choice.Counter}
	options := Options{Hosts: o.Hosts, Seed: o.Seed, Poll: networkPoll}
	if o.Delay != nil {
		if err := n.lay(&options, o.Delay); err != nil {
			return nil, err
		}
	}
	if n.fleet, err = newFleet(options.WithDefaults(), n.base); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := n.begin(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// lay lays slow lines from the hosts to the master, which is the network's last host.
func (n *Network) lay(o *Options, delay func(i int) (there, back time.Duration)) error {
	hosts := o.WithDefaults().Hosts
	var err error
	if n.lines, err = network.NewLoopback(hosts+1, network.Options{Seed: o.Seed}); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	o.through = func(i int, master netip.AddrPort) (netip.AddrPort, error) {
		there, back := delay(i)
		if err := errors.Join(n.lines.Set(i, hosts, network.Law{Added: there}), n.lines.Set(hosts, i, network.Law{Added: back})); err != nil {
			return master, err
		}
		return n.lines.Relay(i, hosts, master)
	}
	return nil
}

// begin starts the daemons and waits until all clocks are good.
func (n *Network) begin(ctx context.Context) error {
	if err := n.fleet.start(ctx); err != nil {
		return err
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for _, h := range slices.Concat(n.fleet.masters, n.fleet.hosts) {
		for h.page.Now().Status != virtualclock.Synchronised {
			select {
			case <-ctx.Done():
				return fmt.Errorf("demo: %s is not synchronised yet: %w", h.name, context.Cause(ctx))
			case err := <-n.fleet.ended:
				return err
			case <-look.C:
			}
		}
	}
	return nil
}

// Page returns the path of host i's page.
func (n *Network) Page(i int) string { return n.fleet.hosts[i].config.Page.Path }

// Hosts returns their number.
func (n *Network) Hosts() int { return len(n.fleet.hosts) }

// Ended returns the channel on which a daemon that ends by itself says why.
func (n *Network) Ended() <-chan error { return n.fleet.ended }

// True returns true time: what the master shows, whose counter is the true one. No host knows it.
func (n *Network) True() virtualclock.Time {
	k, _ := n.fleet.truth().Coefficients()
	return k.Time(n.base.Read())
}

// Close ends everything and waits for it.
func (n *Network) Close() error {
	var err error
	if n.fleet != nil {
		err = n.fleet.close(false)
	}
	if n.lines != nil {
		err = errors.Join(err, n.lines.Close())
	}
	return err
}
