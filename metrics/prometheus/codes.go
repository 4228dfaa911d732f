package promexport

import "github.com/clockd/clockd/reason"

// codes are the names of the reason codes whose counters are there before they first occur: those that a packet, a sample, a request
// or a clock can meet with. Prometheus cannot see the first increase of a counter that begins at 1. Other codes have a series once
// they have occurred.
type codes struct{ source, nts, peer, request, exchange, clock, export []string }

func newCodes() *codes {
	return &codes{
		source: names(
			reason.PacketTooShort, reason.PacketTooLong, reason.PacketMalformed, reason.PacketVersion, reason.PacketMode, reason.PacketOrigin,
			reason.PacketDuplicate, reason.PacketUnsolicited, reason.PacketLate, reason.PacketZeroTimestamp, reason.PacketAuthentication,
			reason.ServerUnsynchronised, reason.ServerStratum, reason.ServerRootDistance, reason.ServerOrder, reason.ServerLoop,
			reason.KissRate, reason.KissDeny, reason.KissOther,
			reason.SampleNegativeDelay, reason.SampleEmptyInterval, reason.SampleStamp, reason.SourceUnreachable, reason.SourceSend,
		),
		peer: names(
			reason.PacketMalformed, reason.PacketOrigin, reason.PacketDuplicate, reason.PacketUnsolicited, reason.PacketLate, reason.PacketAuthentication,
			reason.SampleNegativeDelay, reason.SampleEmptyInterval, reason.SampleStamp, reason.SourceUnreachable, reason.SourceSend,
			reason.PeerSilent, reason.PeerMalformed, reason.PeerEquivocates,
		),
		request: names(
			reason.RequestShort, reason.RequestLong, reason.RequestMalformed, reason.RequestMode, reason.RequestVersion, reason.RequestDenied,
			reason.RequestRate, reason.RequestSend, reason.RequestAuthentication, reason.RequestUnauthenticated,
			reason.RequestNTSMalformed, reason.RequestNTSCookie, reason.RequestNTSAuthenticator,
		),
		// What a source under NTS can meet with beside the others.
		nts: names(
			reason.NTSMalformed, reason.NTSMissing, reason.NTSUniqueID, reason.NTSAuthenticator, reason.KissNTSN, reason.KeyExchangeConnect,
			reason.KeyExchangeCertificate, reason.KeyExchangeCertificateTime, reason.KeyExchangeMalformed, reason.KeyExchangeNegotiation,
			reason.KeyExchangeRefused,
		),
		exchange: names(
			reason.KeyExchangeConnect, reason.KeyExchangeMalformed, reason.KeyExchangeNegotiation, reason.KeyExchangeRefused, reason.KeyExchangeDenied,
			reason.KeyExchangeRate,
		),
		export: names(
			reason.ExportBuffer, reason.ExportSpool, reason.ExportRefused, reason.ExportTooLarge, reason.ExportCorrupt, reason.ExportEnded, reason.ExportBehind,
			reason.ExportMalformed,
		),
		clock: names(
			reason.TooFewSources, reason.NoMajority, reason.BoundTooWide, reason.Contradiction, reason.Stale, reason.ConfigRefused, reason.AssumptionsWeakened,
			reason.LeapSecond, reason.DriftExceeded, reason.WanderExceeded, reason.CounterBackwards, reason.CounterStopped, reason.HostSuspended,
			reason.HostPaused, reason.ClockStepped, reason.SourceFalseticker, reason.SourceUnreachable,
		),
	}
}

func names(list ...reason.Code) []string {
	var out []string
	for _, c := range list {
		out = append(out, c.String())
	}
	return out
}
