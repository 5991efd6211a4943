package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// Options connect the commands with the program.
type Options struct {
	console.Streams
	AddFlags func(*cobra.Command)                         // adds the flags that name a configuration
	Config   func(mayCreate bool) (*config.Config, error) // reads the configuration; mayCreate: its data may not exist yet
}

const long = `Create, list, revoke and rotate API keys. The commands open the partitions of a configuration themselves, beside running
servers or without any. Every server knows a change within five seconds. As soon as there is a key, every request needs a
key, unless the section [auth] of the configuration grants something to requests without.

A key has the form rnl_<id>_<secret>. Only a hash of the secret is stored.`

// New returns the command key.
func New(o Options) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Create, list, revoke and rotate API keys", Long: long}
	cmd.AddCommand(newCreate(o), newList(o), newRevoke(o), newRotate(o), newS3(o))
	for _, c := range cmd.Commands() {
		o.AddFlags(c)
	}
	return cmd
}

// withStore calls f with a running store over the partitions of the configuration.
func (o Options) withStore(ctx context.Context, c *config.Config, f func(context.Context, *store.Store) error) (err error) {
	c.Log.Level = max(c.Log.Level, slog.LevelWarn)
	s, err := node.OpenStore(c, node.NewLogger(o.Err, c.Log), store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Connect(ctx); err != nil && len(s.Origins()) == 0 {
		return fmt.Errorf("no partition can be used:\n%w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	err = f(ctx, s)
	stop()
	return errors.Join(err, <-ended)
}

// checkStored rejects a key of the configuration file, which only an editor can change.
func checkStored(c *config.Config, idOrName string) error {
	for _, k := range c.Keys {
		if k.ID == idOrName || k.Name == idOrName {
			return console.UsageError("the key %q is a section [[key]] of the configuration: change the file, and send SIGHUP to the servers", idOrName)
		}
	}
	return nil
}

// usage makes an error about a faulty key a usage error.
func usage(err error) error {
	if fault, ok := errors.AsType[*access.FieldError](err); ok {
		return console.UsageError("%w", fault)
	}
	return err
}
