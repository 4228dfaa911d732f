package sim

// event is one entry of the queue. It is a small value: what does not fit stands in a slot of the world's messages.
type event struct {
	at     Instant
	serial uint64 // order among events of one instant: first in, first out
	kind   eventKind
	host   int32
	slot   int32 // of a message or an action, −1 without
	// generation makes timers void that were replaced.
	generation uint32
}

type eventKind uint8

const (
	// eventWake: the timer of a host's node.
	eventWake eventKind = iota + 1
	// eventArrive: a packet reaches a host's wire.
	eventArrive
	// eventHandle: a packet that arrived is handed to the program.
	eventHandle
	// eventDepart: an answer leaves a host.
	eventDepart
	// eventSent: the stamp of a request's departure is reported.
	eventSent
	// eventSample: the regular look at all clocks.
	eventSample
	// eventLook: the clock of a group's member ends a slew.
	eventLook
	// eventTick: a second begins, and with it new rates of the oscillators of a group's members.
	eventTick
	// eventDo: an entry of the timeline.
	eventDo
)

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.serial < o.serial }

// queue is a 4-ary heap of values: shallower than a binary one, and its children share cache lines. It does not allocate once
// it has grown to its largest size.
type queue struct {
	heap   []event
	serial uint64
}

func (q *queue) len() int { return len(q.heap) }

// push adds e behind all events of the same instant.
func (q *queue) push(e event) {
	q.serial++
	e.serial = q.serial
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = e
}

// next returns when the first event is, Never if there is none.
func (q *queue) next() Instant {
	if len(q.heap) == 0 {
		return Never
	}
	return q.heap[0].at
}

// pop removes and returns the first event of a queue that is not empty.
func (q *queue) pop() event {
	first := q.heap[0]
	last := q.heap[len(q.heap)-1]
	q.heap = q.heap[:len(q.heap)-1]
	n := len(q.heap)
	if n == 0 {
		return first
	}
	i := 0
	for {
		child := 4*i + 1
		if child >= n {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, n); c++ {
			if q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if !q.heap[least].before(&last) {
			break
		}
		q.heap[i] = q.heap[least]
		i = least
	}
	q.heap[i] = last
	return first
}
