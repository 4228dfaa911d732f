package promexport

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many may be under way at a time.
const maxScrapes = 4

// Registry returns a registry of its own with all that a daemon shows: its clock, its process, its Go runtime.
func Registry(read Read, version string) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{NewCollector(read, version), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Handler serves the metrics in the text format, or in OpenMetrics to who asks for it. A scrape whose snapshot cannot be had fails
// as a whole, so that nobody takes half of the truth for all of it.
func Handler(read Read, version string, log promhttp.Logger) http.Handler {
	r, err := Registry(read, version)
	if err != nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the metrics cannot be made: "+err.Error(), http.StatusInternalServerError)
		})
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: log, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
	})
}
