package config

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Influx is where measurements are sent: an InfluxDB, 2.x or 1.8.
type Influx struct {
	URL string `toml:"url"`
	// Org is the organisation of 2.x; Bucket its bucket, or the data base of 1.8.
	Org    string `toml:"org"`
	Bucket string `toml:"bucket"`
	// TokenFile holds a token, or USER:PASSWORD; CAFile what the server's certificate is checked against; "" for none.
	TokenFile string `toml:"token_file"`
	CAFile    string `toml:"ca_file"`
	// Insecure allows a token to be sent without TLS where others may see it.
	Insecure bool `toml:"insecure"`
	// Host is the tag of that name; "": the host's name.
	Host string `toml:"host"`
	// Exchanges: every exchange is sent; Every is how often the state is.
	Exchanges bool     `toml:"exchanges"`
	Every     Duration `toml:"every"`
	// Batch is how many points are sent at once, Flush how long they wait for each other.
	Batch int      `toml:"batch"`
	Flush Duration `toml:"flush"`
	// Buffer is kept in memory while the server is away, or in the directory Spool, which may have SpoolLimit.
	Buffer     Size   `toml:"buffer"`
	Spool      string `toml:"spool"`
	SpoolLimit Size   `toml:"spool_limit"`
}

// DefaultInflux has the default of every value of [influx].
func DefaultInflux() Influx {
	return Influx{
		Exchanges: true, Every: Duration(10 * time.Second), Batch: 1000, Flush: Duration(time.Second), Buffer: 8 << 20, SpoolLimit: 256 << 20,
	}
}

func (d *decoder) validateInflux(x *Influx) {
	d.influxURL(x)
	if x.Bucket == "" && !d.bad["influx.bucket"] {
		d.complain("influx", `points need a place; write bucket = "NAME": a bucket of InfluxDB 2.x, or a data base of 1.8`)
	}
	for _, f := range []struct{ key, path string }{
		{"influx.token_file", x.TokenFile}, {"influx.ca_file", x.CAFile}, {"influx.spool", x.Spool},
	} {
		if f.path != "" {
			d.path(f.key, f.path)
		}
	}
	within(d, "influx.every", x.Every, Duration(time.Second), Duration(time.Hour), showDuration)
	within(d, "influx.batch", x.Batch, 1, 10_000, showInt)
	within(d, "influx.flush", x.Flush, Duration(10*time.Millisecond), Duration(time.Minute), showDuration)
	within(d, "influx.buffer", x.Buffer, 64<<10, 1<<30, showSize)
	within(d, "influx.spool_limit", x.SpoolLimit, 4<<20, 1<<40, showSize)
	if d.has["influx.spool_limit"] && x.Spool == "" && !d.bad["influx.spool"] {
		d.complain("influx.spool_limit", `there is no spool; write spool = "/var/lib/clockd/influx" as well`)
	}
}

// influxURL checks the address. A token that others can read is worth nothing, so it needs TLS unless it stays on this host.
func (d *decoder) influxURL(x *Influx) {
	if d.bad["influx.url"] {
		return
	}
	if x.URL == "" {
		d.complain("influx", `there is no server; write url = "http://127.0.0.1:8086"`)
		return
	}
	u, err := url.Parse(x.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		d.complain("influx.url", `%s is not the address of a server; write one such as "https://influx.example.org:8086"`, written(x.URL))
		return
	case u.User != nil:
		d.complain("influx.url", "user and password must not stand here; write USER:PASSWORD into a file that only clockd may read, and its path into token_file")
		return
	case u.RawQuery != "" || u.Fragment != "":
		d.complain("influx.url", "%s has more than an address; remove what begins with ? or #: organisation and bucket have their own keys", written(x.URL))
		return
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.Unmap().IsLoopback()
	exposed := u.Scheme == "http" && !local
	switch {
	case exposed && x.TokenFile != "" && !x.Insecure && !d.bad["influx.insecure"]:
		d.complain("influx.url", "the token would be sent to %s for everybody on the way to read; write https, or insecure = true if the network keeps others out", u.Host)
	case x.Insecure && !exposed:
		d.complain("influx.insecure", "the way to the server is safe, so there is nothing to allow; remove it")
	}
	if x.CAFile != "" && u.Scheme == "http" {
		d.complain("influx.ca_file", "there is no TLS to a server at http:, so no certificate is checked; write https, or remove it")
	}
}
