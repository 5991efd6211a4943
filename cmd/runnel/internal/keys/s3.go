package keys

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/s3"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

const s3Long = `Print the access key and the secret by which tools use an API key over the protocol of S3
([s3] of the configuration), as lines for a shell.

The access key is the id of the API key. The secret is derived from auth.secret_file and the id; it is stored nowhere,
and is valid as long as the API key is, also after a rotation.`

func newS3(o Options) *cobra.Command {
	return &cobra.Command{
		Use:     "s3 ID|NAME",
		Short:   "Print the S3 secret of an API key",
		Long:    s3Long,
		Example: "  eval $(runnel key s3 backups --config /etc/runnel.toml) && restic -r s3:https://files.example.org:9000/backups init",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.Config(false)
			if err != nil {
				return err
			}
			if c.Auth.SecretFile == "" {
				return console.UsageError("auth.secret_file is missing: S3 secrets are derived from it")
			}
			cluster, err := config.ReadSecret(c.Auth.SecretFile)
			if err != nil {
				return fmt.Errorf("auth.secret_file: %w", err)
			}
			id, err := o.idOf(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			secret, err := s3.SecretOf([]byte(cluster.Reveal()), id)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.Out, "export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s\n", id, secret)
			return err
		},
	}
}

// idOf returns the id of a key of the configuration or of the store.
func (o Options) idOf(ctx context.Context, c *config.Config, idOrName string) (id string, err error) {
	for _, k := range c.Keys {
		if k.ID == idOrName || k.Name == idOrName {
			return k.ID, nil
		}
	}
	err = o.withStore(ctx, c, func(ctx context.Context, s *store.Store) error {
		stored, err := access.List(ctx, s)
		for _, k := range stored {
			if k.ID == idOrName || k.Name == idOrName {
				id = k.ID
			}
		}
		return err
	})
	if err == nil && id == "" {
		err = access.ErrUnknownKey
	}
	return id, err
}
