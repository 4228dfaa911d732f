package agreement

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Map is a target clock as an affine map of its host's raw time: V(H) = Base + (H − Ref)·(1 + Rate).
type Map struct {
	Ref  virtualclock.Time `json:"ref"`
	Base virtualclock.Time `json:"base"`
	Rate float64           `json:"rate"`
}

// At returns the clock at raw time h of the clock's own host.
func (m *Map) At(h virtualclock.Time) virtualclock.Time {
	d := h.Seconds(m.Ref)
	return m.Base.AddSeconds(d + d*m.Rate)
}

// When returns the raw time at which the clock reads v.
func (m *Map) When(v virtualclock.Time) virtualclock.Time {
	return m.Ref.AddSeconds(v.Seconds(m.Base) / (1 + m.Rate))
}

// Status is a member's own standing in its group.
type Status uint8

// The statuses, as they are published.
const (
	// Init: no agreed time exists; the member takes part in forming one.
	Init Status = iota
	// Join: the member has found a group and enters it, or has been thrown off and comes back. Nobody uses its clock.
	Join
	// Sync: its last round was good.
	Sync
	// Holdover: it was in, and has missed a round. Its clock is still used: it may have missed one only.
	Holdover
	statuses
)

var statusNames = [statuses]string{"init", "join", "sync", "holdover"}

// String returns init, join, sync or holdover.
func (s Status) String() string {
	if s >= statuses {
		return fmt.Sprintf("status_%d", uint8(s))
	}
	return statusNames[s]
}

// MarshalText writes the name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *Status) UnmarshalText(b []byte) error {
	for i, name := range statusNames {
		if name == string(b) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("agreement: no status is called %q", b)
}

// member reports whether rounds are at multiples of the period.
func (s Status) member() bool { return s == Sync || s == Holdover }

// External is what a member knows of UTC from its own masters: at raw time At of its host UTC was Base + x, with x in [Low, High]
// if its masters are right; x = 0 is the best estimate, and UTC gains Rate on the raw timeline. Known false: it knows nothing.
type External struct {
	Known bool              `json:"known"`
	At    virtualclock.Time `json:"at"`
	Base  virtualclock.Time `json:"base"`
	Low   float64           `json:"low"`
	High  float64           `json:"high"`
	Rate  float64           `json:"rate"`
}

// valid reports whether e can be a correct member's.
func (e *External) valid() bool {
	return !e.Known || e.Low <= 0 && e.High >= 0 && e.Low >= -timeline && e.High <= timeline && math.Abs(e.Rate) <= 0.02
}

// at returns UTC − h at raw time h as an interval and a point in it, both relative to v; rho is the host's drift bound. The edges
// spread from the raw timeline (theory 2.3); the point goes with the rate.
func (e *External) at(h, v virtualclock.Time, rho float64) (i Interval, point float64) {
	dt := h.Seconds(e.At)
	x := e.Base.AddSeconds(dt).Seconds(v)
	low, high := math.Abs(dt)*rho/(1+rho), math.Abs(dt)*rho/(1-rho)
	if dt < 0 {
		low, high = high, low
	}
	slack := rounding(x) + rounding(dt)
	i = Interval{x + e.Low - low - slack, x + e.High + high + slack}
	return i, min(max(x+dt*e.Rate, i.Low), i.High)
}

// State is what a member publishes of itself in every packet to its peers.
type State struct {
	// Era is random for each start of the member: raw times of different eras have nothing in common.
	Era uint64 `json:"era"`
	// Version counts the changes of all that follows, from 1. What has the same version is the same.
	Version uint64 `json:"version"`
	// Epoch counts the steps of the target clock outside the rounds. Within an epoch maps are never rewritten.
	Epoch  uint32 `json:"epoch"`
	Status Status `json:"status"`
	// Round is the number of Current: the target clock read Round·P when it was made, give or take an adjustment; while Status is
	// Init, a count from 0. Previous is the map of Round−1.
	Round    int64 `json:"round"`
	Current  Map   `json:"current"`
	Previous Map   `json:"previous"`
	// External and ExternalPrevious are what its masters said when Current and Previous were made: so all peers work with the same.
	External         External `json:"external"`
	ExternalPrevious External `json:"external_previous"`
}

// contradicts reports whether s and o, of one era, cannot both be told by a correct member.
func (s *State) contradicts(o *State) bool {
	if s.Version > o.Version {
		s, o = o, s
	}
	if s.Version == o.Version {
		return *s != *o
	}
	if o.Epoch != s.Epoch {
		return o.Epoch < s.Epoch
	}
	switch {
	case !s.Status.member() || !o.Status.member():
		return false
	case o.Round < s.Round:
		return true
	case o.Round == s.Round:
		return o.Current != s.Current || o.Previous != s.Previous || o.External != s.External
	case o.Round == s.Round+1:
		return o.Previous != s.Current || o.ExternalPrevious != s.External
	}
	return false
}

// Digest is a short fingerprint of what two honest observers of the same era and version must have seen alike: peers may
// exchange it to catch a member that tells each a different story (Group.Hear).
func (s *State) Digest() uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	add := func(x uint64) {
		for range 8 {
			h = (h ^ x&0xff) * 1099511628211
			x >>= 8
		}
	}
	for _, x := range []uint64{s.Era, s.Version, uint64(s.Epoch), uint64(s.Status), uint64(s.Round)} {
		add(x)
	}
	for _, m := range [2]*Map{&s.Current, &s.Previous} {
		for _, t := range []virtualclock.Time{m.Ref, m.Base} {
			add(uint64(t.UnixNano()))
			add(uint64(t.Fraction()))
		}
		add(math.Float64bits(m.Rate))
	}
	for _, e := range []*External{&s.External, &s.ExternalPrevious} {
		if !e.Known {
			add(0)
			continue
		}
		for _, t := range []virtualclock.Time{e.At, e.Base} {
			add(uint64(t.UnixNano()))
			add(uint64(t.Fraction()))
		}
		for _, x := range []float64{e.Low, e.High, e.Rate} {
			add(math.Float64bits(x))
		}
	}
	return h
}

// check says why a foreign state cannot be a correct member's, or OK. rateLimit bounds the rate of its maps.
func (s *State) check(rateLimit float64) reason.Code {
	for _, r := range []float64{s.Current.Rate, s.Previous.Rate} {
		if !(math.Abs(r) <= rateLimit+1e-12) {
			return reason.PeerMalformed
		}
	}
	if s.Status >= statuses || s.Version == 0 || !s.External.valid() || !s.ExternalPrevious.valid() {
		return reason.PeerMalformed
	}
	return reason.OK
}

// Reading is what is known of H_q − H_p, a peer's raw time less one's own, at the instant of a round: a roundtrip.Reading from a
// filter whose drift bound is RelativeDrift(ρ). The zero Reading knows nothing.
type Reading struct {
	Known bool `json:"known"`
	// Era is the peer's era in which it was measured.
	Era uint64 `json:"era"`
	// Low and High bound the offset in seconds; Offset is the point estimate in between.
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Offset float64 `json:"offset"`
	// Rate is d(H_q − H_p)/dH_p with standard deviation RateStd; not used where that is not below an eighth of the drift bound.
	Rate    float64 `json:"rate"`
	RateStd float64 `json:"rate_std"`
}

// usable reports whether r says anything.
func (r *Reading) usable() bool {
	return r.Known && r.Low <= r.Offset && r.Offset <= r.High && r.Low >= -timeline && r.High <= timeline
}

// timeline is longer than the virtual timeline, in seconds: no offset can be larger.
const timeline = 2e10

// rounding bounds what a few floating-point operations on x seconds may have cost, in seconds.
func rounding(x float64) float64 { return math.Abs(x)*8*0x1p-53 + 1e-15 }
