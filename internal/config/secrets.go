package config

import (
	"fmt"
	"strings"

	hostkeys "github.com/clockd/clockd/internal/keys" // keys is the name of a function here
)

// KeyID is the identifier of a symmetric key, 0 for none.
type KeyID uint32

func (k *KeyID) setTOML(v any) error {
	n, ok := v.(int64)
	if !ok || n < 0 || n > 1<<32-1 {
		return fmt.Errorf("%s is not the identifier of a key; write a number from 1 to 4294967295, without quotes (0: none)", written(v))
	}
	*k = KeyID(n)
	return nil
}

// PublicKey is a host's identity as clockd keygen prints it; the zero value is none.
type PublicKey hostkeys.PublicKey

// String returns the line, "" for none.
func (p PublicKey) String() string {
	if p == (PublicKey{}) {
		return ""
	}
	return hostkeys.PublicKey(p).String()
}

func (p *PublicKey) setTOML(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%s is not a public key; write the line that clockd keygen prints on the other host, in quotes", written(v))
	}
	if s == "" {
		*p = PublicKey{}
		return nil
	}
	key, err := hostkeys.ParsePublicKey(s)
	if err != nil {
		return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "keys: "))
	}
	*p = PublicKey(key)
	return nil
}

// validateSecrets checks what can be seen without the key files.
func (d *decoder) validateSecrets(c *Config) {
	for _, f := range []struct{ key, path string }{{"keys.file", c.Keys.File}, {"identity.key_file", c.Identity.KeyFile}} {
		if f.path != "" {
			d.path(f.key, f.path)
		}
	}
	followed := map[KeyID]int{}
	known := map[PublicKey]int{}
	for i := range c.Source {
		s, path := &c.Source[i], fmt.Sprintf("source[%d]", i)
		if s.Key != 0 {
			d.needsFile(path+".key", c)
			if _, seen := followed[s.Key]; !seen {
				followed[s.Key] = i
			}
		}
		if s.PublicKey == (PublicKey{}) {
			continue
		}
		d.needsIdentity(path+".public_key", c)
		if j, seen := known[s.PublicKey]; seen {
			d.complain(path+".public_key", "this is the key of source[%d] already: a server must not vote twice", j)
		}
		known[s.PublicKey] = i
		if s.Key != 0 {
			d.complain(path+".public_key", "the source has a key of [keys] already; remove one of the two")
		}
		if s.Pool {
			d.complain(path+".public_key", "the servers of a pool have no identity in common; give each its own [[source]]")
		}
	}
	if c.Server != nil {
		d.validateClients(c, followed)
	}
}

func (d *decoder) needsFile(path string, c *Config) {
	if c.Keys.File == "" && !d.bad["keys.file"] {
		d.complain(path, `there is no file to take the key from; write [keys] with file = "/etc/clockd/keys"`)
	}
}

func (d *decoder) needsIdentity(path string, c *Config) {
	if c.Identity.KeyFile == "" && !d.bad["identity.key_file"] {
		d.complain(path, `this host has no identity of its own; run clockd keygen and write [identity] with key_file = "/etc/clockd/identity"`)
	}
}

// validateClients checks the keys of the server's clients. A symmetric key is good in both directions, so one that this host also
// asks with would let an attacker send its own requests back to it, and have them answered as if by the source.
func (d *decoder) validateClients(c *Config, followed map[KeyID]int) {
	s := c.Server
	ids := map[KeyID]bool{}
	for i, id := range s.Keys {
		path := fmt.Sprintf("server.keys[%d]", i)
		d.needsFile(path, c)
		switch source, both := followed[id]; {
		case id == 0:
			d.complain(path, "0 is no key; write a number from 1 to 4294967295")
		case ids[id]:
			d.complain(path, "key %d is in the list already", id)
		case both:
			d.complain(path, "source[%d] has key %d too: an attacker could send this host's requests back to it as if they were a client's; "+
				"give clients and sources different keys", source, id)
		}
		ids[id] = true
	}
	clients := map[PublicKey]bool{}
	for i, p := range s.PublicKeys {
		path := fmt.Sprintf("server.public_keys[%d]", i)
		d.needsIdentity(path, c)
		switch {
		case p == PublicKey{}:
			if !d.bad[path] {
				d.complain(path, "the key is empty; write the line that clockd keygen prints on the client")
			}
		case clients[p]:
			d.complain(path, "this key is in the list already")
		}
		clients[p] = true
	}
	if len(s.Require) > 0 && len(s.Keys)+len(s.PublicKeys) == 0 && c.NTSServer == nil && !d.bad["server.keys"] && !d.bad["server.public_keys"] {
		d.complain("server.require", "no client has a key, so none of these could be answered; list their keys in keys or public_keys, or use deny")
	}
}
