// Package uplot holds uPlot, the library that draws the pictures of clockd's pages: the status page (internal/daemon/web) and the
// reports of clockbench (internal/lab/report). It is kept once, with its licence (MIT), as it comes from npm; scripts/vendor-uplot renews
// it, and VERSION says what it is. It needs no inline style and no eval, so a page may forbid both.
package uplot

import _ "embed"

// Version is the version of the library, as pages name it.
const Version = "1.6.32"

// Credit names the library and its licence, for people.
const Credit = "uPlot " + Version + " (MIT licence, © 2022 Leon Sorokin)"

//go:embed uPlot.iife.min.js
var script string

//go:embed uPlot.min.css
var style string

//go:embed LICENSE
var licence string

// Script returns the library, which defines uPlot, with its licence in front.
func Script() string { return "/* uPlot\n" + licence + "*/\n" + script }

// Style returns its style sheet.
func Style() string { return style }
