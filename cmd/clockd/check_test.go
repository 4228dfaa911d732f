package main

import (
	"testing"

	"github.com/clockd/clockd/internal/config"
)

// TestDescribe: what a configuration does, in a few words.
func TestDescribe(t *testing.T) {
	for want, c := range map[string]*config.Config{
		"follows one source, serves nobody":                             {Source: make([]config.Source, 1)},
		"follows 2 sources, answers NTP requests":                       {Source: make([]config.Source, 2), Server: &config.Server{}},
		"agrees with 6 peers, answers NTP requests":                     {Peer: make([]config.Peer, 6), Server: &config.Server{}},
		"follows one source, agrees with 3 peers, answers NTP requests": {Source: make([]config.Source, 1), Peer: make([]config.Peer, 3), Server: &config.Server{}},
		"follows one source, serves nobody, sends points to http://h:1": {Source: make([]config.Source, 1), Influx: &config.Influx{URL: "http://h:1"}},
		"is the reference at stratum 1, answers NTP requests":           {Local: &config.Local{Stratum: 1}, Server: &config.Server{}},
	} {
		if got := describe(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
