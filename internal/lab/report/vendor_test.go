package report

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// TestTheLibraryIsWhatItWas: the files of uPlot are those that VERSION tells of, and the page names that version and its licence.
func TestTheLibraryIsWhatItWas(t *testing.T) {
	version, err := files.ReadFile("assets/uplot/VERSION")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"} {
		b, err := files.ReadFile("assets/uplot/" + name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if !strings.Contains(string(version), hex.EncodeToString(sum[:])+"  "+name) {
			t.Errorf("%s is not the file that VERSION tells of", name)
		}
	}
	words := strings.Fields(string(version))
	text, err := files.ReadFile("page.html")
	if err != nil || !strings.Contains(string(text), "uPlot "+strings.TrimSuffix(words[1], ",")+" (MIT licence, © 2022 Leon Sorokin)") {
		t.Errorf("the page does not name uPlot %s and its licence: %v", words[1], err)
	}
}
