// Package web is what a daemon says over HTTP: /metrics for Prometheus, /healthz (the daemon lives) and /readyz (its clock may be
// used). It reads snapshots of the loop, as the control socket does, and never more than a few a second, however many ask; it can
// change nothing.
//
// Main type: Server, made from the [http] section. Invariants: only GET and HEAD; every connection, header and answer has a limit in size
// and time; an address that cannot be had, or a certificate that cannot be read, is said and tried again, and harms nothing else; what
// is not known is said to be so, never an old value.
package web
