package orderbench

import (
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/virtualclock"
)

// Row is what one measurement gave. Durations are in seconds; null: there was nothing to measure.
type Row struct {
	Engine      string `json:"engine"`
	Link        string `json:"link"`
	Durability  string `json:"durability"`
	Nodes       int    `json:"nodes"`
	Size        int    `json:"size_bytes"`
	Outstanding int    `json:"outstanding"` // of each origin
	Origin      string `json:"origin"`
	Transport   string `json:"transport"` // tcp+tls or tcp
	// MessagesPerS is the mean over the members of what they delivered.
	MessagesPerS result.Number `json:"messages_per_s"`
	// At the origin: from the call of Broadcast to its return.
	P50 result.Number `json:"latency_p50_s"`
	P99 result.Number `json:"latency_p99_s"`
	Max result.Number `json:"latency_max_s"`
	// At the other members: from the call to the delivery there, of all members but the origin.
	ReceiverP50 result.Number `json:"receiver_latency_p50_s"`
	ReceiverP99 result.Number `json:"receiver_latency_p99_s"`
	ReceiverMax result.Number `json:"receiver_latency_max_s"`
	// WriteS is w: how long a durable write took in the members' directory just before; 0 in memory mode.
	WriteS result.Number `json:"write_s"`
	Paths  []Path        `json:"paths"`
	// Steadiness and tightness on the true timeline; BoundS is π_v, known for time-triggered delivery.
	SteadinessS     result.Number `json:"steadiness_s"`
	TightnessS      result.Number `json:"tightness_s"`
	TightnessP50S   result.Number `json:"tightness_p50_s"`
	TightnessP99S   result.Number `json:"tightness_p99_s"`
	TightnessBoundS result.Number `json:"tightness_bound_s"`
	// CPUSeconds is the processor time of all members per second, CPUPerMessage per message that the group delivered.
	CPUSeconds    result.Number `json:"cpu_cores"`
	CPUPerMessage result.Number `json:"cpu_per_message_s"`
	MeasuredS     result.Number `json:"measured_s"`
	Failed        uint64        `json:"failed"`
	Failure       string        `json:"failure"`
	// Error says why there is no measurement; "" if there is.
	Error string `json:"error"`
}

// Path is from an origin to a member; the formula is that of theory 6.6 for a message without load, null where nothing is emulated.
type Path struct {
	From    int           `json:"from"`
	To      int           `json:"to"`
	P50     result.Number `json:"latency_p50_s"`
	Formula result.Number `json:"formula_s"`
}

func number(x float64, ok bool) result.Number {
	if !ok {
		return result.Number{}
	}
	return result.Of(x)
}

// fill computes a row from what the members report.
func (r *Row) fill(reports []*report, leader int, length float64, link *Link, f *Formula) {
	var origin, receiver Histogram
	var delivered, sent uint64
	cpu := 0.0
	for i, x := range reports {
		origin.Merge(&x.Origin)
		delivered += x.Delivered
		sent += x.Sent
		cpu += x.CPUSeconds
		r.Failed += x.Failed
		if x.Failure != "" {
			r.Failure = x.Failure
		}
		for from := 1; from <= len(reports); from++ {
			h := x.Paths[from]
			if h == nil {
				continue
			}
			p := Path{From: from, To: i + 1, P50: number(h.Quantile(0.5))}
			if link.Delays != nil {
				p.Formula = result.Of(f.of(r.Engine, link.Delays, from-1, leader-1, i))
			}
			r.Paths = append(r.Paths, p)
			if from != i+1 {
				receiver.Merge(h)
			}
		}
	}
	perMember := float64(delivered) / float64(len(reports))
	r.MessagesPerS = result.Of(perMember / length)
	r.P50, r.P99, r.Max = number(origin.Quantile(0.5)), number(origin.Quantile(0.99)), number(origin.Quantile(1))
	r.ReceiverP50, r.ReceiverP99, r.ReceiverMax = number(receiver.Quantile(0.5)), number(receiver.Quantile(0.99)), number(receiver.Quantile(1))
	r.CPUSeconds = result.Of(cpu / length)
	r.CPUPerMessage = number(cpu/perMember, perMember > 0)
	r.MeasuredS = result.Of(length)
}

// of is the formula of an engine.
func (f *Formula) of(engine string, d Delays, q, leader, p int) float64 {
	switch {
	case engine == TSAB && f.DeltaS > 0:
		return max(f.TSAB(d, q, p), f.DeltaS+f.OffsetsS[q]-f.OffsetsS[p])
	case engine == TSAB || leader < 0:
		return f.TSAB(d, q, p)
	case engine == Sequencer:
		return f.Sequencer(d, q, leader, p)
	}
	return f.Leader(d, q, leader, p)
}

// timely measures steadiness and tightness of the sampled messages, exactly: the stamps are of one counter.
func (r *Row) timely(reports []*report) error {
	d, err := metrics.NewDeliveries(metrics.DeliveryOptions{Receivers: len(reports), Window: 1 << 18})
	if err != nil {
		return err
	}
	sent := map[metrics.MessageID]bool{}
	for i, x := range reports {
		for _, s := range x.Samples {
			id := metrics.MessageID{Sender: uint64(s.Origin), Sequence: s.Sequence}
			if !sent[id] {
				sent[id] = true
				if err := d.Send(id, stamp(s.SentNS), len(reports)); err != nil {
					return err
				}
			}
			if err := d.Deliver(id, i, stamp(s.AtNS)); err != nil {
				return err
			}
		}
	}
	x := d.Result()
	r.SteadinessS = number(x.SteadinessSeconds.Value, x.SteadinessSeconds.Known)
	r.TightnessS = number(x.TightnessSeconds.Value, x.TightnessSeconds.Known)
	r.TightnessP50S = number(x.SpreadSeconds.P50.Value, x.SpreadSeconds.P50.Known)
	r.TightnessP99S = number(x.SpreadSeconds.P99.Value, x.SpreadSeconds.P99.Known)
	return nil
}

func stamp(ns int64) metrics.Stamp { return metrics.Stamp{At: virtualclock.Unix(ns, 0)} }
