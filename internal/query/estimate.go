package query

import (
	"math"
	"slices"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// MaxLocalRate is the largest rate error of this machine's clock that the error bounds allow for: 500 ppm by which the kernel
// slews at the most, and 100 ppm of a bad oscillator. A clock that is being slewed faster (chronyd's maxslewrate) breaks the bound.
const MaxLocalRate = 600e-6

// roundingError covers the conversions of stamps to whole nanoseconds, in seconds.
const roundingError = 2e-9

// sample is one good exchange.
type sample struct {
	// at is when it ended, on the monotonic clock.
	at time.Duration
	// offset is remote − local, delay the round trip without the server's part, both in seconds; the truth is in
	// offset ± halfWidth if the server's clock is as good as it says.
	offset, delay, halfWidth float64
}

// rootDistance is how wrong the server says its time can be, in seconds: half the delay to the reference and the dispersion.
func rootDistance(p *ntp.Packet) float64 { return p.RootDelay.Seconds()/2 + p.RootDispersion.Seconds() }

// precision is the resolution of the server's clock in seconds.
func precision(p *ntp.Packet) float64 { return math.Ldexp(1, int(p.Precision)) }

// newSample makes a sample of an exchange that took elapsed on this machine's clock and served at the server.
func newSample(p *ntp.Packet, offset, elapsed, served, disturbance time.Duration) (sample, reason.Code) {
	if served < 0 {
		// The order of the stamps was right as numbers, but beevik/ntp puts them into different eras.
		return sample{}, reason.ServerOrder
	}
	s := sample{offset: offset.Seconds(), delay: (elapsed - served).Seconds()}
	// Half the round trip, since the asymmetry is unknown (RFC 5905 section 8); what the server says of itself; what the
	// local clock may have drifted meanwhile.
	s.halfWidth = s.delay/2 + rootDistance(p) + precision(p) + elapsed.Seconds()*MaxLocalRate + disturbance.Seconds() + roundingError
	if s.halfWidth < 0 || s.delay < -2*(precision(p)+disturbance.Seconds()+roundingError) {
		return sample{}, reason.SampleNegativeDelay
	}
	s.delay = max(s.delay, 0)
	return s, reason.OK
}

// combine returns the offset at the end of the last sample and its largest possible error, in seconds.
//
// The guaranteed interval is the intersection of all samples' intervals, each widened by what the local clock may have drifted
// since (theory 2.3). The offset is the median of the half of the samples with the least delay, moved into that interval.
// An empty intersection means that an assumption was broken: the reason is SampleEmptyInterval.
func combine(samples []sample) (offset, halfWidth float64, code reason.Code) {
	if len(samples) == 0 {
		return 0, 0, reason.SourceWaiting
	}
	last := samples[0].at
	for _, s := range samples {
		last = max(last, s.at)
	}
	low, high := math.Inf(-1), math.Inf(1)
	for _, s := range samples {
		h := s.halfWidth + (last-s.at).Seconds()*MaxLocalRate
		low, high = max(low, s.offset-h), min(high, s.offset+h)
	}
	if low > high {
		return 0, 0, reason.SampleEmptyInterval
	}
	best := slices.Clone(samples)
	slices.SortStableFunc(best, func(a, b sample) int { return compare(a.delay, b.delay) })
	offsets := make([]float64, (len(best)+1)/2)
	for i := range offsets {
		offsets[i] = best[i].offset
	}
	offset = min(max(median(offsets), low), high)
	return offset, max(high-offset, offset-low), reason.OK
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// median returns the middle value, or the mean of the two middle ones; values must not be empty. It sorts them.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
