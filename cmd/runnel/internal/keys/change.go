package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// listedKey is a key in the output of list, without any hash.
type listedKey struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	Roles         []access.Role   `json:"roles"`
	Rights        []access.Right  `json:"rights"`
	Prefixes      []access.Prefix `json:"prefixes"`
	CreatedAt     time.Time       `json:"created_at,omitzero"`
	CreatedBy     string          `json:"created_by,omitempty"`
	ExpiresAt     time.Time       `json:"expires_at,omitzero"`
	PreviousUntil time.Time       `json:"previous_until,omitzero"` // when the secret before the last rotation ends
	Source        string          `json:"source"`                  // "store" or "config"
}

func newList(o Options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the API keys, without their secrets",
		Long: `List the API keys that are stored in the partitions, as their masters hold them, and those of the configuration file.
A secret cannot be listed, because only its hash is stored.`,
		Example: "  runnel key list --config /etc/runnel.toml\n  runnel key list --json | jq -r '.[].name'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.Config(false)
			if err != nil {
				return err
			}
			var keys []listedKey
			for _, k := range c.Static().Keys {
				keys = append(keys, listed(k, "config"))
			}
			err = o.withStore(cmd.Context(), c, func(ctx context.Context, s *store.Store) error {
				stored, err := access.List(ctx, s)
				for _, k := range stored {
					keys = append(keys, listed(k, "store"))
				}
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return o.printJSON(keys)
			}
			return o.printTable(keys)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listed(k access.Key, source string) listedKey {
	return listedKey{
		ID: k.ID, Name: k.Name, Roles: k.Grants.Roles, Rights: k.Grants.Rights, Prefixes: k.Grants.Prefixes,
		CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, ExpiresAt: k.ExpiresAt, PreviousUntil: k.PreviousUntil, Source: source,
	}
}

func (o Options) printJSON(keys []listedKey) error {
	e := json.NewEncoder(o.Out)
	e.SetIndent("", "  ")
	if keys == nil {
		keys = []listedKey{}
	}
	return e.Encode(keys)
}

func (o Options) printTable(keys []listedKey) error {
	t := tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tCREATED\tEXPIRES\tFROM\tGRANTS")
	for _, k := range keys {
		expires := "never"
		switch {
		case k.Name == "":
			k.Name, expires = "(not readable)", "-"
		case !k.ExpiresAt.IsZero() && !o.Now().Before(k.ExpiresAt):
			expires = "expired"
		case !k.ExpiresAt.IsZero():
			expires = k.ExpiresAt.Format(time.RFC3339)
		}
		created := "-"
		if !k.CreatedAt.IsZero() {
			created = k.CreatedAt.Format(time.DateOnly)
		}
		grants := describe(access.Spec{Roles: k.Roles, Rights: k.Rights, Prefixes: k.Prefixes})
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, console.Line(k.Name), created, expires, k.Source, console.Line(grants))
	}
	return t.Flush()
}

func newRevoke(o Options) *cobra.Command {
	var last bool
	cmd := &cobra.Command{
		Use:   "revoke ID|NAME",
		Short: "Revoke an API key",
		Long: `Delete a stored API key. Every server refuses the key within five seconds, and ends its streams.

The last key is deleted with --last only, because a server on a loopback address allows everything while there is no key.`,
		Example: "  runnel key revoke shop --config /etc/runnel.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.changeStored(cmd.Context(), args[0], func(ctx context.Context, s *store.Store, c *config.Config) error {
				if keys, err := access.List(ctx, s); err == nil && len(keys) == 1 && len(c.Keys) == 0 && !last {
					return errLastKey // if the keys cannot be listed, the revocation is more urgent
				}
				k, err := access.Revoke(ctx, s, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(o.Out, "revoked %s %s\n", k.ID, console.Line(k.Name))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&last, "last", false, "delete the last key too")
	return cmd
}

var errLastKey = errors.New("this is the last key, and without a key a server on a loopback address allows everything: create a key for yourself before, or add --last")

func newRotate(o Options) *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "rotate ID|NAME",
		Short: "Give a new secret to an API key",
		Long: `Give a new secret to a stored API key, and print the key on standard output. This is the only time that the secret is
shown. The old secret is valid for the time of --overlap; the secret of an earlier rotation ends at once.`,
		Example: "  runnel key rotate shop --overlap 24h --config /etc/runnel.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return console.UsageError("--overlap must not be negative")
			}
			return o.changeStored(cmd.Context(), args[0], func(ctx context.Context, s *store.Store, _ *config.Config) error {
				k, token, err := access.Rotate(ctx, s, args[0], overlap)
				if err != nil {
					return err
				}
				return o.printToken(k, token)
			})
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old secret stays valid")
	return cmd
}

// changeStored calls f with the store, unless the key is one of the configuration.
func (o Options) changeStored(ctx context.Context, idOrName string, f func(context.Context, *store.Store, *config.Config) error) error {
	c, err := o.Config(false)
	if err == nil {
		err = checkStored(c, idOrName)
	}
	if err != nil {
		return err
	}
	return o.withStore(ctx, c, func(ctx context.Context, s *store.Store) error { return f(ctx, s, c) })
}
