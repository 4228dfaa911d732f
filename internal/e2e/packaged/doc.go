// Package packaged has the tests of what hosts are given: the packages are built, held against each other byte by byte, and installed on a
// Debian with systemd as its first process, where the daemon is used, broken, upgraded and removed as an administrator would.
//
// Invariant: the machine's clock is not touched; the system may not set it, and chronyd runs with -x.
package packaged
