package main

import (
	"crypto/rand"
	"errors"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/keys"
)

// defaultIdentity is where the documentation puts a host's private key.
const defaultIdentity = "/etc/clockd/identity"

// keygenResult is what keygen --json prints.
type keygenResult struct {
	PublicKey string `json:"public_key"`
	File      string `json:"file"`
}

func newKeygen(a *app) *cobra.Command {
	var out, show string
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make this host's identity and print the line that others put into their configuration",
		Long: `Make a private key for this host and print its public line. The private key goes into a new file
that only its owner can read, and never leaves the host; an existing file is never overwritten.

The configuration of this host names the file: [identity] key_file. The configurations of others
have the line: as public_key of the [[source]] that this host is to them, or in public_keys of
[server] if this host is their client.`,
		Example: "  clockd keygen                               # " + defaultIdentity + "\n  clockd keygen --out /etc/clockd/identity\n" +
			"  clockd keygen --show /etc/clockd/identity   # the line of a key that is there",
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("out") && show != "" {
				return cli.UsageError(errors.New("--out makes a key and --show shows one: give one of the two"))
			}
			return a.keygen(out, show)
		},
	}
	c.Flags().StringVar(&out, "out", defaultIdentity, "the file to make")
	c.Flags().StringVar(&show, "show", "", "print the line of the private key in this file, and make nothing")
	return a.asJSON(c)
}

func (a *app) keygen(out, show string) error {
	var identity *keys.Identity
	var err error
	path := out
	if show != "" {
		path = show
		identity, err = keys.LoadIdentity(path)
	} else if identity, err = keys.Generate(rand.Reader); err == nil {
		err = identity.Create(path)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(keygenResult{PublicKey: identity.Public().String(), File: path})
	}
	a.print("%s\n", identity.Public())
	return nil
}
