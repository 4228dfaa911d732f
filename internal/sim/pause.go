package sim

import (
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
)

// Pause stops the host for a length of time from now on: nothing runs on it and packets wait at its wire. With counter true its
// counter stands still as well, as when a virtual machine is saved and restored. If code is not OK it is reported to the node
// as a disruption, told so long after the end.
func (h *Host) Pause(length Instant, counter bool, code reason.Code, told Instant) {
	if h.paused {
		return
	}
	w := h.world
	h.paused, h.resumeAt = true, w.now+length
	w.At(h.resumeAt, func() error {
		h.paused = false
		if counter {
			h.stopped += length
			h.scheduleWake()
		}
		if code == reason.OK {
			return nil
		}
		if told <= 0 {
			return h.Disrupt(code)
		}
		w.At(w.now+told, func() error { return h.Disrupt(code) })
		return nil
	})
}

// Disrupt tells the node of a disruption.
func (h *Host) Disrupt(code reason.Code) error {
	if h.down {
		return nil
	}
	return h.Step(node.Event{Kind: node.EventDisruption, Reason: code})
}

// Jump adds a number of seconds to the counter's reading, as a broken or migrated counter does.
func (h *Host) Jump(seconds float64) {
	h.jump += int64(seconds * h.hertz)
	h.scheduleWake()
}

// postpone moves an event to the end of the pause.
func (h *Host) postpone(e *event) {
	moved := *e
	moved.at = h.resumeAt
	h.world.queue.push(moved)
}

// StepFrequency changes the frequency of the counter for good, from the next whole second on.
func (h *Host) StepFrequency(ppm float64) {
	h.oscillator.AddStep(h.world.now-h.stopped, ppm)
	h.scheduleWake()
}
