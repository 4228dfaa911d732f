package observe

import (
	"net/netip"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
)

// server is what is known of one server.
type server struct {
	host    string
	address netip.AddrPort
	every   int64
	stopped bool
	filter  *roundtrip.Filter

	asked, answered uint64
	rejections      reason.Counts
	contradictions  uint64
	// failures is how many requests in a row gave no sample.
	failures uint64
	// code is why the last exchange gave no sample, or the sample's own oddity; message tells more.
	code    reason.Code
	message string

	said *said
	last *Measured
	// lastRound is the round of the last sample.
	lastRound int64

	stats serverStats
	// falseRounds and roundsJudged count the comparisons in which it was a falseticker, and in which it took part.
	falseRounds, roundsJudged int64
	worst                     *Distance
	wasFalse                  bool
}

// said is what a server says of itself.
type said struct {
	stratum, leap, version int
	reference              string
	rootDelay, dispersion  float64
	distance               float64
}

func newServer(host string, poll float64) *server {
	return &server{
		host: host, every: 1, code: reason.SourceWaiting,
		stats: serverStats{phases: phases{poll: poll, overlap: serverOverlap}},
	}
}

// cut says that what comes has nothing to do with what was.
func (v *server) cut() {
	v.last = nil
	v.stats.cut()
}

func (v *server) strays(m map[string]uint64) {
	for name, n := range m {
		var c reason.Code
		if c.UnmarshalText([]byte(name)) == nil && c < reason.Count {
			v.rejections[c] += n
		}
	}
}

func (v *server) describe(s *Sample) {
	v.said = &said{
		stratum: int(s.Stratum), leap: int(s.Leap), version: int(s.Version), reference: ntp.ReferenceText(s.ReferenceID, s.Stratum),
		rootDelay: s.RootDelay, dispersion: s.RootDispersion, distance: s.serverError(),
	}
}

func (v *server) reject(code reason.Code, message string) {
	v.code, v.message = code, message
	v.rejections.Add(code)
}

// take counts a good sample; code is OK or says that it contradicts earlier ones.
func (v *server) take(round int64, m *Measured, code reason.Code) {
	v.answered++
	v.code, v.message = code, ""
	if code != reason.OK {
		v.rejections.Add(code)
	}
	v.last, v.lastRound = m, round
	v.stats.add(round, m)
}
