// Package chrony starts and reads a chronyd that never touches a clock (-x): its configuration, its arguments, and what chronyc says of
// its tracking. It is used beside clockd by clockbench compare, and by tests.
//
// Main types: Config and Tracking. Invariants: no configuration that it writes has chronyd listen where it was not told to, or set a clock.
package chrony
