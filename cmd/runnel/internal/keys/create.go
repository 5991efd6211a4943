package keys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

const createLong = `Create an API key and print it on standard output. This is the only time that the secret is shown.

Roles: read and write are the access to every key of the store, admin allows everything, monitor allows metrics and status.
Rights: mint creates money in the ledger, force ends foreign locks.

--read, --write and --deny limit the access to keys that begin with a prefix. The longest prefix of a key decides, and keys
without a matching prefix are denied. A prefix should end in a separator such as "/".

The key is stored in the partitions. With --toml it is not stored; instead a section [[key]] is added to the end of a
configuration file. Such a key is valid even if every database is away, after SIGHUP or a restart of the server.`

// createFlags are the flags of create.
type createFlags struct {
	roles, rights     []string
	read, write, deny []string
	expires           time.Duration
	toml              string
}

func newCreate(o Options) *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an API key and print it",
		Long:  createLong,
		Example: "  runnel key create ops --role admin\n" +
			"  runnel key create shop --write orders/ --read catalogue/ --expires 720h --config /etc/runnel.toml\n" +
			"  runnel key create prometheus --role monitor --toml /etc/runnel.toml",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k := access.Key{Name: args[0], Grants: f.spec(), CreatedBy: userName()}
			if cmd.Flags().Changed("expires") {
				if f.expires <= 0 {
					return console.UsageError("--expires must be a time from now, such as 720h")
				}
				k.ExpiresAt = o.Now().Add(f.expires).UTC().Truncate(time.Second)
			}
			if f.toml != "" {
				return o.createInFile(k, f.toml)
			}
			return o.createStored(cmd.Context(), k)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.roles, "role", nil, "a `ROLE`: read, write, admin or monitor; repeatable")
	flags.StringSliceVar(&f.rights, "right", nil, "a `RIGHT`: mint or force; repeatable")
	flags.StringArrayVar(&f.read, "read", nil, "allow reading keys with the `PREFIX`; repeatable")
	flags.StringArrayVar(&f.write, "write", nil, "allow reading and writing keys with the `PREFIX`; repeatable")
	flags.StringArrayVar(&f.deny, "deny", nil, "deny keys with the `PREFIX`; repeatable")
	flags.DurationVar(&f.expires, "expires", 0, "how long the key is valid (default: until it is revoked)")
	flags.StringVar(&f.toml, "toml", "", "add a section [[key]] to `FILE` instead of storing the key")
	return cmd
}

func (f createFlags) spec() (s access.Spec) {
	for _, r := range f.roles {
		s.Roles = append(s.Roles, access.Role(r))
	}
	for _, r := range f.rights {
		s.Rights = append(s.Rights, access.Right(r))
	}
	for level, prefixes := range [...][]string{access.Deny: f.deny, access.Read: f.read, access.Write: f.write} {
		for _, p := range prefixes {
			s.Prefixes = append(s.Prefixes, access.Prefix{Prefix: p, Access: access.Level(level)})
		}
	}
	return s
}

// userName returns the account of this process; "" if it is unknown.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// createStored stores a key and prints the token.
func (o Options) createStored(ctx context.Context, k access.Key) error {
	c, err := o.Config(true)
	if err != nil {
		return err
	}
	if err := checkStored(c, k.Name); err != nil {
		return err
	}
	return o.withStore(ctx, c, func(ctx context.Context, s *store.Store) error {
		k, token, err := access.Create(ctx, s, k)
		if err != nil {
			return usage(err)
		}
		return o.printToken(k, token)
	})
}

// printToken prints the token alone on standard output.
func (o Options) printToken(k access.Key, token access.Token) error {
	expires := "never expires"
	if !k.ExpiresAt.IsZero() {
		expires = "expires at " + k.ExpiresAt.Format(time.RFC3339)
	}
	fmt.Fprintf(o.Err, "key %s (%s): %s; it %s. The secret is shown only now:\n", k.ID, console.Line(k.Name), console.Line(describe(k.Grants)), expires)
	_, err := fmt.Fprintln(o.Out, token.Reveal())
	return err
}

// createInFile adds a section to a file and prints the token.
func (o Options) createInFile(k access.Key, path string) (err error) {
	k, token, err := access.New(k, o.Now())
	if err != nil {
		return usage(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(config.KeySection(k))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return o.printToken(k, token)
}

// describe returns the grants as a short text, such as "write, monitor, deny \"private/\"".
func describe(s access.Spec) string {
	var parts []string
	for _, r := range s.Roles {
		parts = append(parts, string(r))
	}
	for _, r := range s.Rights {
		parts = append(parts, string(r))
	}
	for _, p := range s.Prefixes {
		parts = append(parts, fmt.Sprintf("%s %q", p.Access, p.Prefix))
	}
	return strings.Join(parts, ", ")
}
