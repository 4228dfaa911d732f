// Package clocktest gives the tests of programs that use virtualclock the clocks of many hosts, each with faults of its own: an
// oscillator that drifts, a counter that jumps or stands still, sources that lie, samples that stop, disruptions. What happens is
// written as a script (Host's events) or made from a seed (World.Random).
//
// A World knows true time. It follows the process' time, and in a bubble of testing/synctest that of the bubble (New); or moves only when
// the test says so (NewManual). A Host is a virtualclock.Source, and all that a virtualclock.Reader is to a program. A Checker fails the test when
// the program under test trusts a time that it must not trust.
//
// The clocks are real: each host has a counter, and a virtualclock.Clock that is disciplined at each of its polls with a reading
// that is wrong by no more than its ReadingError. So while a host has none of the faults that the package marks as lies, its intervals keep the
// promise of docs/bounds.md, and the same seed gives the same readings.
package clocktest
