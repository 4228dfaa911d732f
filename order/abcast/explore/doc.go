// Package explore looks for schedules in which TSAB breaks its promises: it runs the real core (order/abcast/core) of three to seven processes in one thread against
// a simulated network, simulated disks and simulated clocks, all driven by one seed, and checks every property of theory 7.1 on what happens.
//
//	result := explore.Run(seed, explore.Options{})
//	result.Violation // nil, or what was broken and the last events before it
//
// Faults: crashes and restarts, torn tails of the log, loss of a disk with replacement of the process, partitions (also one-way and flapping), lost, repeated and
// reordered frames, slow disks, clocks that jump, drift and lose synchronisation, view changes forced at any process at any time, processes added and
// removed, snapshots and short logs. At the end everything is healed, and the group must agree and deliver all.
//
// It is bounded random testing, not a proof. What keeps it honest are core's mutations: each must be found.
package explore
