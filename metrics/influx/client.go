package influx

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"

	"github.com/clockd/clockd/reason"
)

// Target is where points go.
type Target struct {
	// URL is the server's, such as "https://influx.example:8086".
	URL string
	// Org is the organisation of InfluxDB 2.x, "" for 1.8. Bucket is the bucket of 2.x, the data base of 1.8, or DATABASE/RETENTION.
	Org, Bucket string
	// TokenFile holds the token of 2.x, or USER:PASSWORD of 1.8; "" for none. CAFile holds the certificates, as PEM, that the server's
	// is checked against; "": the system's.
	TokenFile, CAFile string
}

const (
	requestTimeout = 20 * time.Second
	maxToken       = 4096
	maxCAs         = 1 << 20
	// maxAnswer is how much of an answer is read: it is a reason in words.
	maxAnswer = 16 << 10
	// maxRefusals is how often a batch is taken apart to find the points that are refused, before the rest is given up.
	maxRefusals = 64
	// maxRetryAfter is how long a server can make us wait.
	maxRetryAfter = 10 * time.Minute
)

// client writes batches.
type client struct {
	target Target
	http   *http.Client
	token  string
	api    api.WriteAPIBlocking
	handle influxdb2.Client
}

// newClient reads the files. transport is nil but in tests.
func newClient(t Target, transport http.RoundTripper) (*client, error) {
	token, err := readToken(t.TokenFile)
	if err != nil {
		return nil, err
	}
	if transport == nil {
		pool, err := readCAs(t.CAFile)
		if err != nil {
			return nil, err
		}
		transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			MaxIdleConns:          2,
			IdleConnTimeout:       90 * time.Second,
			ResponseHeaderTimeout: requestTimeout,
			TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		}
	}
	c := &client{target: t, token: token, http: &http.Client{
		Transport: limited{transport}, Timeout: requestTimeout,
		// A token goes where the configuration says, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.connect()
	return c, nil
}

// connect makes the library's client, with the present token.
func (c *client) connect() {
	o := influxdb2.DefaultOptions().SetHTTPClient(c.http).SetPrecision(time.Nanosecond).SetUseGZip(!loopback(c.target.URL)).SetApplicationName("clockd")
	c.handle = influxdb2.NewClientWithOptions(c.target.URL, c.token, o)
	c.api = c.handle.WriteAPIBlocking(c.target.Org, c.target.Bucket)
}

// renew reads the token again, and reports whether it is another one.
func (c *client) renew() (bool, error) {
	token, err := readToken(c.target.TokenFile)
	if err != nil || token == c.token {
		return false, err
	}
	c.token = token
	c.connect()
	return true, nil
}

func (c *client) close() {
	c.handle.Close()
	c.http.CloseIdleConnections()
}

// loopback: what stays on this host needs no compression.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// limited cuts what a server answers: what it is may be anything.
type limited struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := l.next.RoundTrip(r)
	if err == nil {
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(a.Body, maxAnswer), a.Body}
	}
	return a, err
}

// CloseIdleConnections is called by http.Client.
func (l limited) CloseIdleConnections() {
	if c, ok := l.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("influx: token_file: %w", err)
	}
	if mode := info.Mode().Perm(); !info.Mode().IsRegular() || mode&0o027 != 0 {
		return "", fmt.Errorf("influx: %s holds a secret, and with mode %04o others may read or change it: chmod 600 %s (640 if a group must read it)", path, mode, path)
	}
	b, err := readFile(path, maxToken)
	if err != nil {
		return "", fmt.Errorf("influx: token_file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("influx: %s must hold one line: a token of InfluxDB 2.x, or USER:PASSWORD of 1.8", path)
	}
	return token, nil
}

func readCAs(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := readFile(path, maxCAs)
	if err != nil {
		return nil, fmt.Errorf("influx: ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("influx: ca_file: there is no certificate in %s", path)
	}
	return pool, nil
}

func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return b, err
}

// Check reads the files of a target and reports whether they can be used.
func (t Target) Check() error {
	_, err := readToken(t.TokenFile)
	_, cas := readCAs(t.CAFile)
	return errors.Join(err, cas)
}

// delivery is what became of a batch.
type delivery struct {
	written  uint64
	dropped  reason.Counts
	lost     uint64
	refusals int
	// why says in the server's words why something was refused.
	why string
}

func (d *delivery) drop(code reason.Code, n uint64) {
	d.lost += n
	for range n {
		d.dropped.Add(code)
	}
}

// waitError is a failure that will pass, or that somebody must mend: the batch is to be kept.
type waitError struct {
	err   error
	after time.Duration
	// token: the server does not accept it; lasting: somebody must mend something first.
	token, lasting bool
}

// Error implements error.
func (e *waitError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *waitError) Unwrap() error { return e.err }

// deliver writes a batch. With an error nothing is to be counted and the whole batch is to be written again, which harms nothing: what
// the server has already it takes again as the same.
func (c *client) deliver(ctx context.Context, lines []byte) (delivery, error) {
	var d delivery
	err := c.part(ctx, lines, &d)
	return d, err
}

// part writes some lines, in halves where they are too many or some of them are refused.
func (c *client) part(ctx context.Context, lines []byte, d *delivery) error {
	n := uint64(bytes.Count(lines, []byte("\n")))
	if n == 0 {
		return nil
	}
	if d.refusals > maxRefusals {
		d.drop(reason.ExportRefused, n)
		return nil
	}
	err := c.api.WriteRecord(ctx, string(lines))
	if err == nil {
		d.written += n
		return nil
	}
	var e *influxhttp.Error
	if !errors.As(err, &e) || e.StatusCode == 0 {
		return &waitError{err: plain(err)}
	}
	code := reason.ExportRefused
	switch e.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		d.refusals++
		d.why = words(e)
		if k := partial(e.Message); k > 0 {
			k = min(k, n)
			d.written += n - k
			d.drop(code, k)
			return nil
		}
	case http.StatusRequestEntityTooLarge:
		code = reason.ExportTooLarge
		d.why = words(e)
	default:
		return &waitError{
			err: errors.New(words(e)), after: min(time.Duration(e.RetryAfter)*time.Second, maxRetryAfter),
			token:   e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden,
			lasting: e.StatusCode < 500 && e.StatusCode != http.StatusTooManyRequests && e.StatusCode != http.StatusRequestTimeout,
		}
	}
	if n == 1 {
		d.drop(code, 1)
		return nil
	}
	middle := half(lines)
	if err := c.part(ctx, lines[:middle], d); err != nil {
		return err
	}
	return c.part(ctx, lines[middle:], d)
}

// half returns where the second half of the lines begins.
func half(lines []byte) int {
	n := bytes.Count(lines, []byte("\n")) / 2
	at := 0
	for range n {
		at += bytes.IndexByte(lines[at:], '\n') + 1
	}
	return at
}

// dropped is how InfluxDB says how many points of a batch it did not take, when it took the others.
var dropped = regexp.MustCompile(`partial write: .*dropped=([0-9]{1,9})`)

func partial(message string) uint64 {
	if m := dropped.FindStringSubmatch(message); m != nil {
		n, _ := strconv.ParseUint(m[1], 10, 64)
		return n
	}
	return 0
}

// hints say what to do about an answer.
func hint(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "the token, or user and password, is missing or wrong"
	case http.StatusForbidden:
		return "the token, or user, may not write there"
	case http.StatusNotFound:
		return "there is no such bucket, data base, organisation or path: make it, or mend the configuration"
	case http.StatusTooManyRequests:
		return "the server is asked too much"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return "the server is elsewhere, and a token is not sent there unasked: mend the URL"
	}
	return ""
}

// words are what a server says, cut to what a person reads.
func words(e *influxhttp.Error) string {
	text := fmt.Sprintf("HTTP %d", e.StatusCode)
	if h := hint(e.StatusCode); h != "" {
		text += ": " + h
	}
	m := strings.TrimSpace(clean(e.Message))
	if m == "" && e.Err != nil {
		m = clean(e.Err.Error())
	}
	if r := []rune(m); len(r) > 300 {
		m = string(r[:300]) + "…"
	}
	if m != "" {
		text += " (" + m + ")"
	}
	return text
}

// plain leaves out the address with all its parameters, which net/http puts before every error.
func plain(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}
