package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// runClient asks a member for something.
func runClient(ctx context.Context, name string, args []string, out, errs io.Writer) int {
	f := newFlags(name, errs)
	at := f.String("at", "127.0.0.1:8080", "the member to ask")
	limit := f.Duration("within", 10*time.Second, "how long to wait")
	words := map[string]int{"get": 1, "put": 2, "cas": 3, "delete": 1, "status": 0, "add": 2, "remove": 1}
	if err := parse(f, args, words[name]); err != nil {
		if strings.HasPrefix(err.Error(), errUsage.Error()) {
			fmt.Fprintf(errs, "kv: %v\n", err)
			return exitUsage
		}
		return exitOK
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	key := func(i int) string { return "/kv/" + url.PathEscape(f.Arg(i)) }
	var method, path, body string
	switch name {
	case "get":
		method, path = http.MethodGet, key(0)
	case "put":
		method, path, body = http.MethodPut, key(0), f.Arg(1)
	case "cas":
		method, path, body = http.MethodPost, key(0)+"?old="+url.QueryEscape(f.Arg(1)), f.Arg(2)
	case "delete":
		method, path = http.MethodDelete, key(0)
	case "status":
		method, path = http.MethodGet, "/status"
	case "add":
		method, path = http.MethodPost, "/members?add="+url.QueryEscape(f.Arg(0))+"&address="+url.QueryEscape(f.Arg(1))
	case "remove":
		method, path = http.MethodPost, "/members?remove="+url.QueryEscape(f.Arg(0))
	}
	code, text, err := ask(ctx, http.DefaultClient, method, "http://"+*at+path, body)
	switch {
	case err != nil:
		fmt.Fprintf(errs, "kv: %v\n", err)
		if method == http.MethodGet || notSent(err) {
			return exitFailed
		}
		return exitMaybe
	case code == http.StatusOK:
		fmt.Fprintln(out, strings.TrimSuffix(text, "\n"))
		return exitOK
	case code == http.StatusNoContent:
		return exitOK
	}
	fmt.Fprintf(errs, "kv: %s\n", strings.TrimSpace(text))
	switch code {
	case http.StatusNotFound, http.StatusConflict:
		return exitNo
	case http.StatusGatewayTimeout:
		return exitMaybe
	}
	return exitFailed
}

// ask makes one request and never repeats it: a write that was repeated could happen twice.
func ask(ctx context.Context, c *http.Client, method, address, body string) (int, string, error) {
	// A body that cannot be read again keeps the client from sending it again by itself.
	r, err := http.NewRequestWithContext(ctx, method, address, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		return 0, "", err
	}
	if method == http.MethodGet {
		r.Body = http.NoBody
	} else {
		r.ContentLength = int64(len(body))
	}
	a, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(io.LimitReader(a.Body, 2*maxValue))
	return a.StatusCode, string(text), errors.Join(err, a.Body.Close())
}

// notSent reports whether an error means that the request did not reach anybody.
func notSent(err error) bool {
	var e *url.Error
	return errors.As(err, &e) && strings.Contains(e.Err.Error(), "connect:")
}
