package core

// API OF Core (this file is a placeholder with the signatures until core.go is committed).

// Core is one process of a group. One goroutine at a time may use it.
type Core struct{}

// New makes the core of a process from what it finds on its disk. It takes the next incarnation, and its first Ready contains the record that says so.
func New(config Config, restart Restart) (*Core, error) { return nil, nil }

// Step takes an event. An error says why a frame, a snapshot or a change was refused (reason codes); the core goes on in any case, unless Status().Broken says otherwise.
func (c *Core) Step(now Now, e Event) error { return nil }

// Broadcast accepts a payload for broadcast, and returns its number. The error wraps BroadcastUnsynchronised, BroadcastWindow, BroadcastTooLong or BroadcastRemoved:
// then it will not be delivered. Otherwise, unless this process crashes, it will be: an upcall with Origin == Status().Member and this Number says where.
// Broadcasts of one step become one frame in the next Ready. While the view changes they wait. The core keeps payload.
func (c *Core) Broadcast(now Now, payload []byte, key Key) (number uint64, err error) { return 0, nil }

// Cancel gives up a broadcast. nil: it was not sent yet and will never be delivered. reason.BroadcastMaybe: it was sent, and may still be delivered (or was).
func (c *Core) Cancel(number uint64) error { return nil }

// Read begins a linearizable read. ReadResult comes with a later Ready. It takes one round trip to a quorum, during which any number of reads share one.
func (c *Core) Read(now Now) (id uint64, err error) { return 0, nil }

// CancelRead forgets a read.
func (c *Core) CancelRead(id uint64) {}

// Consumed says that the application is done with so many payload bytes of UpcallMessage and UpcallDuplicate.
func (c *Core) Consumed(bytes int) {}

// Ready returns what is to be done, and forgets it. It must be called after every step or group of steps.
func (c *Core) Ready(now Now) Ready { return Ready{} }

// Status returns the state.
func (c *Core) Status() Status { return Status{} }

// Counters returns a copy of the counters.
func (c *Core) Counters() Counters { return Counters{} }
