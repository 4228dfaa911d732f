package uplot

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// TestTheLibraryIsWhatItWas: the files of uPlot are those that VERSION tells of, and what is said of them is its version.
func TestTheLibraryIsWhatItWas(t *testing.T) {
	version, err := os.ReadFile("VERSION")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"uPlot.iife.min.js": script, "uPlot.min.css": style, "LICENSE": licence} {
		sum := sha256.Sum256([]byte(text))
		if !strings.Contains(string(version), hex.EncodeToString(sum[:])+"  "+name) {
			t.Errorf("%s is not the file that VERSION tells of", name)
		}
	}
	if words := strings.Fields(string(version)); strings.TrimSuffix(words[1], ",") != Version {
		t.Errorf("VERSION says %s, the pages %s", words[1], Version)
	}
	if !strings.Contains(licence, "The MIT License") || !strings.Contains(licence, "2022 Leon Sorokin") || !strings.Contains(Script(), licence) {
		t.Error("the library comes without its licence")
	}
}
