// Package report makes what people look at of results (internal/lab/result): report.html, one file that needs no network, and its
// pictures as SVG and PNG. Several results side by side make a comparison.
//
// Main functions: Write (all files of one run, in its directory), HTML (one page of one run or of several), Figures (the pictures).
//
// Invariants: a result may come from anybody, so no text of it becomes markup or script: html/template escapes by context, and the
// page's own policy (Content-Security-Policy) allows no script, no style and no address but its own. All pictures are drawn from one
// description (Chart), by uPlot in the browser (internal/uplot) and by gonum's plot beside it. Colours are those of Okabe and Ito
// (2008), and never the only difference: dashes are another.
package report
