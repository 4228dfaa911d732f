package promexport

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// maxScrapes is how many may be under way at a time.
const maxScrapes = 4

// gatherer joins a daemon's clock with its process and its Go runtime, which have a registry of their own.
type gatherer struct {
	clock   *Collector
	process *prometheus.Registry
}

func newGatherer(read Read, version string) (*gatherer, error) {
	g := &gatherer{NewCollector(read, version), prometheus.NewRegistry()}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := g.process.Register(c); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Gather implements prometheus.TransactionalGatherer. The names of the clock's families come before the others' in the alphabet.
func (g *gatherer) Gather() ([]*dto.MetricFamily, func(), error) {
	clock, done, err := g.clock.Gather()
	if err != nil {
		return nil, done, err
	}
	process, err := g.process.Gather()
	return slices.Concat(clock, process), done, err
}

// Handler serves the metrics in the text format, or in OpenMetrics to who asks for it. A scrape whose snapshot cannot be had fails
// as a whole, so that nobody takes half of the truth for all of it.
func Handler(read Read, version string, log promhttp.Logger) http.Handler {
	r, err := newGatherer(read, version)
	if err != nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the metrics cannot be made: "+err.Error(), http.StatusInternalServerError)
		})
	}
	return promhttp.HandlerForTransactional(r, promhttp.HandlerOpts{
		ErrorLog: log, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
	})
}
