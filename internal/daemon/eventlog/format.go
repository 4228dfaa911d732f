package eventlog

import (
	"encoding/json"
	"math"

	"github.com/clockd/clockd/internal/node"
)

// Format is the version of the format that this package writes and reads.
const Format = 1

// Header is the first line.
type Header struct {
	Clockd  string      `json:"clockd"`
	Format  int         `json:"format"`
	Counter string      `json:"counter"`
	Config  node.Config `json:"config"`
}

// line is any line after the first.
type line struct {
	Event  *node.Event  `json:"event,omitempty"`
	Action *node.Action `json:"action,omitempty"`
	End    string       `json:"end,omitempty"`
}

// The reasons for which a record ends.
const (
	EndClosed = "closed"
	EndSize   = "size limit reached"
	EndSlow   = "the disk is too slow"
)

// encodeEvent returns the line of an event, without its end.
func encodeEvent(e *node.Event) ([]byte, error) { return json.Marshal(line{Event: e}) }

// encodeAction returns the line of an action. JSON has no infinity: a figure that is infinite or not a number is written as the
// largest number of its sign, or as 0.
func encodeAction(a *node.Action) ([]byte, error) {
	safe := *a
	safe.Report.Value = finite(a.Report.Value)
	return json.Marshal(line{Action: &safe})
}

func finite(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return 0
	case math.IsInf(x, 0):
		return math.Copysign(math.MaxFloat64, x)
	}
	return x
}
