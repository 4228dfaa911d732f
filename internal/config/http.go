package config

import (
	"fmt"
	"net/netip"
)

// validateHTTP checks what can be seen without the files. What others can reach must not be open by a slip: it needs TLS and a
// token, or somebody who says that the network keeps others out.
func (d *decoder) validateHTTP(h *HTTP) {
	for _, f := range []struct{ key, path string }{{"http.cert_file", h.CertFile}, {"http.key_file", h.KeyFile}, {"http.token_file", h.TokenFile}} {
		if f.path != "" {
			d.path(f.key, f.path)
		}
	}
	switch {
	case h.CertFile == "" && h.KeyFile != "" && !d.bad["http.cert_file"]:
		d.complain("http.key_file", "TLS needs the certificate too; write cert_file as well")
	case h.CertFile != "" && h.KeyFile == "" && !d.bad["http.key_file"]:
		d.complain("http.cert_file", "TLS needs the private key too; write key_file as well")
	}
	if len(h.Listen) == 0 && !d.bad["http.listen"] {
		d.complain("http.listen", `the list is empty; write at least one address, such as "127.0.0.1:9123", or leave out [http]`)
	}
	reachable := false
	seen := map[Listen]bool{}
	for i, l := range h.Listen {
		a, path := netip.AddrPort(l), fmt.Sprintf("http.listen[%d]", i)
		if seen[l] && a.Port() != 0 {
			d.complain(path, "%s is in the list already", a)
		}
		seen[l] = true
		if !a.IsValid() || a.Addr().Unmap().IsLoopback() {
			continue
		}
		reachable = true
		if !h.Insecure && (h.CertFile == "" || h.TokenFile == "") && !d.bad["http.insecure"] {
			d.complain(path, "%s can be reached by others; write cert_file, key_file and token_file as well, or a loopback address, "+
				"or insecure = true if the network keeps others out", a)
		}
	}
	if h.Insecure && !reachable && len(h.Listen) > 0 && !d.bad["http.listen"] {
		d.complain("http.insecure", "all addresses are loopback, so there is nothing to allow; remove it")
	}
}
