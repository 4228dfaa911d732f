package daemon

import (
	"errors"
	"fmt"
	"time"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/web"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/nts/ke"
	"github.com/clockd/clockd/reason"
)

// secrets is what the key files of a configuration hold, as far as the configuration uses it. The node knows nothing of it: the
// daemon seals what the node sends and verifies what it is given.
type secrets struct {
	// sources are the keys of the configuration's sources, in their order; nil where there is none.
	sources []*keys.Key
	// clients are the keys under which the server answers.
	clients []*keys.Key
	// peers are the keys with which peers are asked, in their order; asking those under which they are answered, which clients has
	// too. identities are the peers'.
	peers, asking []*keys.Key
	identities    []keys.PublicKey
	// groupName stands for the set of the group's members, "" without peers.
	groupName string
}

// CheckKeys reads the key files of a configuration and reports whether all that it names is there and good.
func CheckKeys(c *config.Config) error {
	if _, err := loadSecrets(c); err != nil {
		return err
	}
	if n := c.NTSServer; n != nil && n.CookieKeyFile != "" {
		if _, err := loadMasters(n.CookieKeyFile); err != nil {
			return fmt.Errorf("nts_server.cookie_key_file: %w", err)
		}
	}
	if c.Influx != nil {
		if err := influxTarget(c.Influx).Check(); err != nil {
			return err
		}
	}
	return web.Check(c.HTTP)
}

// loadSecrets reads the key files.
func loadSecrets(c *config.Config) (*secrets, error) {
	var file keys.Symmetrics
	var identity *keys.Identity
	var err error
	if c.Keys.File != "" {
		if file, err = keys.LoadSymmetrics(c.Keys.File); err != nil {
			return nil, err
		}
	}
	if c.Identity.KeyFile != "" {
		if identity, err = keys.LoadIdentity(c.Identity.KeyFile); err != nil {
			return nil, err
		}
	}
	s := &secrets{}
	if c.NTSServer != nil {
		if _, err := loadPair(c.NTSServer); err != nil {
			return nil, err
		}
	}
	for i := range c.Source {
		if c.Source[i].NTS {
			if _, err := ke.LoadCA(c.Source[i].NTSCA); err != nil {
				return nil, fmt.Errorf("source[%d].nts_ca: %w", i, err)
			}
		}
		k, err := sourceKey(&c.Source[i], file, identity, c.Keys.File)
		if err != nil {
			return nil, fmt.Errorf("source[%d]: %w", i, err)
		}
		s.sources = append(s.sources, k)
	}
	if err := s.loadPeers(c, identity); err != nil || c.Server == nil {
		return s, err
	}
	for i, id := range c.Server.Keys {
		k, err := symmetricKey(file, uint32(id), c.Keys.File)
		if err != nil {
			return nil, fmt.Errorf("server.keys[%d]: %w", i, err)
		}
		s.clients = append(s.clients, k)
	}
	for i, p := range c.Server.PublicKeys {
		k, err := identity.ServerKey(keys.PublicKey(p))
		if err != nil {
			return nil, fmt.Errorf("server.public_keys[%d]: %w", i, err)
		}
		s.clients = append(s.clients, k)
	}
	return s, nil
}

// sourceKey returns the key of one source, nil if it has none.
func sourceKey(c *config.Source, file keys.Symmetrics, identity *keys.Identity, path string) (*keys.Key, error) {
	switch {
	case c.Key != 0:
		return symmetricKey(file, uint32(c.Key), path)
	case c.PublicKey != config.PublicKey{}:
		return identity.ClientKey(keys.PublicKey(c.PublicKey))
	}
	return nil, nil
}

func symmetricKey(file keys.Symmetrics, id uint32, path string) (*keys.Key, error) {
	s, ok := file.Find(id)
	if !ok {
		return nil, fmt.Errorf("%s has no key %d; add a line such as: %d AES128 HEX:… (chronyc keygen %d AES128 makes one)", path, id, id, id)
	}
	return s.Key()
}

// sameKeys reports whether two lists are the same.
func sameKeys(a, b []*keys.Key) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// warnOfWeakKeys says which keys can be guessed.
func (d *daemon) warnOfWeakKeys() {
	for _, list := range [][]*keys.Key{d.secrets.sources, d.secrets.clients} {
		for _, k := range list {
			if k != nil && k.Weak() {
				d.log.Warn("a key has fewer than 80 bits and can be guessed by whoever sees its packets", "key", k.String())
			}
		}
	}
}

// lockSources gives each slot its source's key. A key that has changed gets another version, so that the node forgets what was
// measured under the old one.
func (d *daemon) lockSources() {
	for i, e := range d.roster.entries {
		for _, s := range e.slots {
			if next := d.secrets.sources[i]; !s.key.Equal(next) {
				d.roster.keyVersion++
				s.key, s.keyVersion = next, d.roster.keyVersion
			}
		}
	}
}

// nodeKey is what the node may know of a slot's key.
func (s *slot) nodeKey() node.SourceKey {
	if s.nts != nil {
		return node.SourceKey{NTS: true, Version: s.keyVersion}
	}
	if s.key == nil {
		return node.SourceKey{}
	}
	return node.SourceKey{ID: s.key.ID(), Length: s.key.Overhead(), Version: s.keyVersion}
}

// seal fills in the MAC that the node left room for. The packet itself is left as it is: the event log shows what the node said.
func (d *daemon) seal(s *slot, packet []byte) ([]byte, error) {
	if s.nts != nil {
		sealed, ok := s.nts.request(d.sealed[:0], packet)
		if !ok {
			return nil, errors.New("daemon: the request could not be put under NTS")
		}
		d.sealed = sealed
		return sealed, nil
	}
	if s.key == nil {
		return packet, nil
	}
	sealed, ok := s.key.Reseal(d.sealed[:0], packet)
	if !ok {
		return nil, fmt.Errorf("daemon: the request has no room for a MAC of %s", s.key)
	}
	d.sealed = sealed
	return sealed, nil
}

// authentic reports whether a datagram is its source's, as far as a key can tell, and under NTS what is wrong with it if not.
func (s *slot) authentic(datagram []byte) (bool, reason.Code) {
	if s.nts != nil {
		code := s.nts.judge(datagram, time.Now())
		return code == reason.OK, code
	}
	return s.key != nil && s.key.Open(datagram), reason.OK
}
