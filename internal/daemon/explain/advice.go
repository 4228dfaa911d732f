package explain

import (
	"strings"

	"github.com/clockd/clockd/reason"
)

// Advice says what to do about a reason, "" if there is nothing but to wait. Commands stand between backquotes; name is the source's or
// the peer's, "" for none.
func Advice(c reason.Code, name string) string {
	if c >= reason.Count {
		return ""
	}
	if name == "" {
		name = "NAME"
	}
	return strings.ReplaceAll(advice[c], "%", name)
}

const (
	askIt      = "see what it answers: `clockd query %`"
	itsOwner   = "ask its operator, or use another server"
	lookThere  = "look at that host: it is broken, misconfigured or not in its owner's hands"
	counterBad = "use another counter (counter.source): `clockd doctor` lists them"
	checkKeys  = "check that both sides have the same key, and that it is named for this source"
	repairIt   = "have it repaired, or use another server"
	altered    = "somebody, or a device, on the way alters or holds back its answers; none of them was believed (docs/sources.md)"
)

var advice = [reason.Count]string{
	reason.PacketAuthentication: checkKeys,
	reason.NTSMalformed:         altered, reason.NTSMissing: altered, reason.NTSUniqueID: altered, reason.NTSAuthenticator: altered,
	reason.KeyExchangeConnect:         "check that TCP port 4460 is open on the way, and source.nts_port (docs/sources.md)",
	reason.KeyExchangeCertificate:     "check the name in source.address, and who may vouch for it (source.nts_ca)",
	reason.KeyExchangeCertificateTime: "if this clock should be right by now, ask the server's operator for a new certificate (docs/sources.md)",
	reason.KeyExchangeMalformed:       itsOwner,
	reason.KeyExchangeNegotiation:     itsOwner,
	reason.KeyExchangeRefused:         itsOwner,
	reason.KeyExchangeDenied:          "allow the client (server.allow), if it should be served",
	reason.KeyExchangeRate:            "raise the rate in [nts_server], if many clients share the address",
	reason.PacketTooShort:             askIt, reason.PacketTooLong: askIt, reason.PacketMalformed: askIt, reason.PacketVersion: askIt, reason.PacketMode: askIt,
	reason.PacketOrigin: "somebody on the way may be forging answers: use keys (docs/security.md), and " + askIt,
	reason.PacketSource: askIt, reason.PacketZeroTimestamp: repairIt,
	reason.PacketLate:           "its answers take longer than source.timeout: use a nearer server, or wait longer",
	reason.ServerUnsynchronised: "its own clock is not set: " + repairIt,
	reason.ServerStratum:        repairIt,
	reason.ServerRootDistance:   "use a better server, or raise source.max_error if its error is good enough for you",
	reason.ServerOrder:          repairIt,
	reason.ServerLoop:           "have the two hosts not follow each other: remove one of the two from the configurations",
	reason.KissRate:             "ask it less often (source.poll)",
	reason.KissDeny:             itsOwner,
	reason.KissOther:            itsOwner,
	reason.SampleNegativeDelay:  "if all sources are so, try without kernel stamps (stamps.kernel = false); if only this one is, use another server",
	reason.SampleEmptyInterval:  "if all sources are so, raise counter.drift_bound; if only this one is, use another server",
	reason.SampleStamp:          "try without kernel stamps (stamps.kernel = false)",
	reason.SourceUnreachable:    "check the network and firewalls (UDP port 123) on the way: `clockd query %`",
	reason.SourceResolve:        "check its name, and this host's DNS",
	reason.SourceSend:           "check this host's network: the request could not be sent",
	reason.ClockOwned:           "end the other program, or set system_clock.discipline to \"off\"",
	reason.ClockContested:       "find out what else sets the clock: `clockd doctor`",
	reason.ClockForbidden:       "give the daemon CAP_SYS_TIME, as the drop-in for the system clock does, and restart it",
	reason.ClockUnsupported:     "set system_clock.discipline to \"realtime\" or \"off\": auxiliary clocks need Linux 6.17",
	reason.LeapTableMissing:     "install the system's tzdata, or name a table by system_clock.leap_file",
	reason.LeapTableExpired:     "update the system's tzdata, or name a newer table by system_clock.leap_file",
	reason.SourceSmears:         "use sources that all smear alike, or none that does",
	reason.SourceFalseticker:    "find out why its time is wrong, then repair it or remove it: `clockd query %`",
	reason.SourceTooWide:        "use a nearer server",
	reason.SourceDuplicate:      "remove one of the two from the configuration",
	reason.TooFewSources:        "see why the sources do not answer, or add some: `clockd sources`",
	reason.NoMajority:           "find out which sources are wrong and remove them, or add independent ones: `clockd sources`",
	reason.BoundTooWide:         "use nearer sources, or raise clock.max_bound if such a bound is good enough: `clockd sources`",
	reason.Contradiction:        "check counter.drift_bound, sources.max_false and the sources: `clockd sources`",
	reason.NeverSynchronised:    "see what each source says: `clockd sources`",
	reason.ConfigRefused:        "check the file: `clockd check`",
	reason.DriftExceeded:        "raise counter.drift_bound above the measured rate, or use another counter: `clockd doctor`",
	reason.WanderExceeded:       "raise or remove counter.wander_bound",
	reason.Stale:                "see why the sources do not answer: `clockd sources`",
	reason.CounterBackwards:     counterBad,
	reason.CounterStopped:       counterBad,
	reason.PeerSilent:           "see whether clockd runs there, and whether UDP gets through",
	reason.PeerMalformed:        lookThere,
	reason.PeerEquivocates:      lookThere,
	reason.PeerOutlier:          lookThere,
	reason.PeerTooWide:          "use a faster network between the peers, or raise agreement.reading_error on all of them",
	reason.TooFewPeers:          "see why the peers are not heard, and start those that do not run: `clockd peers`",
	reason.ReadingsTooWide:      "use a faster network between the peers, or raise agreement.reading_error on all of them",
	reason.AdjustmentLimit:      "check that all members have the same [agreement], and their drift bounds: `clockd peers`",
	reason.TooManyLiars:         "compare this host with the others: it, or more of them than may, is wrong: `clockd peers`",
	reason.RoundLate:            "give this host more processor time, or a longer agreement.period",
	reason.GroupForming:         "see who is missing: `clockd peers`",
}
