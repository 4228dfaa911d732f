// Package web is what a daemon says over HTTP: the status page for people (docs/status-page.md), /metrics for Prometheus, /healthz (the
// daemon lives) and /readyz (its clock may be used). It reads snapshots of the loop, as the control socket does, and never more than a
// few a second, however many ask; it can change nothing.
//
// Main types: Server, made from the [http] section; History, what the page's pictures show of the past. Invariants: only GET and HEAD;
// every connection, header, answer and list has a limit in size and time; an address that cannot be had, or a certificate that cannot
// be read, is said and tried again, and harms nothing else; what is not known is said to be so, never an old value; the page is one
// document, loads nothing from anywhere, and runs no script but its own; texts are made in Go (package explain), and reach the page
// as text, never as markup.
package web
