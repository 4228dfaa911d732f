package roundtrip

import "github.com/clockd/clockd/hw"

// Departed returns the departure stamp of the request that was made last, as well as it is known by now. With Extensions it makes
// a sample of an exchange whose times are not in the NTP header but in an extension field.
func (x *Exchanger) Departed() hw.Stamp { return x.current.depart }
