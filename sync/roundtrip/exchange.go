package roundtrip

import (
	"math/rand/v2"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// Exchanger is one source's side of the NTP on-wire protocol: it makes requests and turns answers into samples.
type Exchanger struct {
	_ int
}

// Request appends the next request to buf[:0] and returns it with its sequence number.
//
// followUp asks for an interleaved answer that tells when the answer to the previous request really left.
func (x *Exchanger) Request(rng *rand.ChaCha8, now hw.Ticks, followUp bool, buf []byte) (packet []byte, sequence uint32) {
	return nil, 0
}

// Sent records the departure of request sequence; a stamp of a better kind replaces an earlier one.
func (x *Exchanger) Sent(sequence uint32, s hw.Stamp) {}

// Receive takes a datagram that arrived with stamp s. It returns up to two samples: of the exchange that it completes and, in
// interleaved mode, half of the one that it belongs to; or the reason why it was rejected.
func (x *Exchanger) Receive(packet []byte, s hw.Stamp) (samples []Sample, code reason.Code) {
	return nil, reason.PacketUnsolicited
}

// Outstanding reports whether a request waits for its answer, and its sequence number.
func (x *Exchanger) Outstanding() (sequence uint32, waiting bool) { return 0, false }

// Expire gives up the outstanding request: an answer that comes later is rejected as PacketLate.
func (x *Exchanger) Expire() {}

// Reset forgets everything, as after a disruption of the counter or a change of the address.
func (x *Exchanger) Reset() {}

// Interleaved reports whether the server has been seen to answer in interleaved mode.
func (x *Exchanger) Interleaved() bool { return false }
