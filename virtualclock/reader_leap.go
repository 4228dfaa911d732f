package virtualclock

import (
	"runtime"

	"github.com/clockd/clockd/reason"
)

// readLeap reads the clock, and what the page says of leap seconds, of one publication.
func (v *view) readLeap() (r Reading, l LeapState, why reason.Code) {
	for range 3 {
		before := v.words.load(wordSequence)
		r, why = v.read()
		l = v.words.decodeLeap()
		if v.words.load(wordSequence) == before && before&1 == 0 {
			runtime.KeepAlive(v)
			return r, l, why
		}
	}
	runtime.KeepAlive(v)
	return r, LeapState{}, why
}

// decodeLeap reads what the page says of leap seconds, whatever is in it. A page of an earlier clockd says nothing: zeros.
func (p *pageWords) decodeLeap() LeapState {
	meta := p.load(wordLeap)
	l := LeapState{TAI: int32(uint32(meta)), TAIKnown: meta>>32&0xff == 1, Sign: int8(uint8(meta >> 40)), At: int64(p.load(wordLeapAt)),
		Expires: int64(p.load(wordLeapExpires))}
	if l.Sign < -1 || l.Sign > 1 {
		l.Sign = 0 // of a later version, or not a page: as if there were none
	}
	return l
}

// Leap returns what is known of TAI and of the leap second that is near; the zero value if nothing is, or the clock is not sound.
func (r *Reader) Leap() LeapState {
	reading, l, _ := r.view.Load().readLeap()
	if !reading.Interval.Sound() {
		return LeapState{}
	}
	return l
}

// TAI returns the interval in which TAI was when the counter was read during this call; not ok if the clock is not sound or TAI − UTC is
// not known (the system's table of leap seconds is missing or has expired).
func (r *Reader) TAI() (Interval, bool) {
	reading, l, _ := r.view.Load().readLeap()
	return l.ToTAI(reading.Interval)
}

// Smeared returns the interval as a clock that smears leap seconds shows it: for programs that must not see a second twice, beside others
// that smear the same way. Away from leap seconds it is Now.
func (r *Reader) Smeared(how Smear) Interval {
	reading, l, _ := r.view.Load().readLeap()
	return l.SmearInterval(reading.Interval, how)
}
