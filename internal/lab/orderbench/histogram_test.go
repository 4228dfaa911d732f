package orderbench

import (
	"encoding/json"
	"testing"
)

func FuzzHistogram(f *testing.F) {
	f.Add([]byte(`{"buckets":[[3,4],[70,1]],"max_ns":100}`))
	f.Add([]byte(`{"buckets":[[99999999999,1]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Histogram
		if err := json.Unmarshal(b, &h); err != nil {
			return
		}
		h.Quantile(0.5)
		if _, err := json.Marshal(h); err != nil {
			t.Error(err)
		}
	})
}
