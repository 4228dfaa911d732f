package control

// Influx is the state of the writer that sends points to InfluxDB.
type Influx struct {
	// URL, Org and Bucket are where the points go.
	URL    string `json:"url"`
	Org    string `json:"org"`
	Bucket string `json:"bucket"`
	// Written are the points that the server took, in Batches; Retries are the batches that had to be tried again. Dropped counts the
	// points that were given up, by reason.
	Written uint64            `json:"written"`
	Batches uint64            `json:"batches"`
	Retries uint64            `json:"retries"`
	Dropped map[string]uint64 `json:"dropped"`
	// What waits to be written, in memory and on disk.
	BufferedPoints uint64 `json:"buffered_points"`
	BufferedBytes  uint64 `json:"buffered_bytes"`
	SpooledPoints  uint64 `json:"spooled_points"`
	SpooledBytes   uint64 `json:"spooled_bytes"`
	// LastWriteAgeS is how long ago the server last took something, LastErrorAgeS how long ago it last did not; null: never.
	LastWriteAgeS *float64 `json:"last_write_age_s"`
	LastErrorAgeS *float64 `json:"last_error_age_s"`
	LastError     string   `json:"last_error,omitempty"`
	// Trouble says what is wrong now, "" if nothing is.
	Trouble string `json:"trouble,omitempty"`
}
