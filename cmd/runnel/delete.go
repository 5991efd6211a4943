package main

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/wire"
)

func newDelete(p *program) *cobra.Command {
	var ifMatch, session string
	d := &deletion{p: p}
	cmd := &cobra.Command{
		Use:     "delete KEY | --prefix PREFIX | --all",
		Aliases: []string{"rm"},
		Short:   "Delete a key, or all that begin with a prefix",
		Long: `Delete KEY. When the command returns 0 the deletion is durable at the master, and
travels to every partition.

A key that does not exist is an error: exit status 1. With --if-match the key is
deleted only while it still has that ETag.

With --prefix every key that begins with PREFIX is deleted, 1,000 at a time; with
--all every key. It asks first, unless --yes. A key that is written meanwhile may be
deleted or not; one that was deleted stays so when the command is interrupted.`,
		Example: `  runnel delete greeting
  runnel delete counter --if-match "$etag"
  runnel delete --prefix sessions/ --yes`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			many := cmd.Flags().Changed("prefix") || d.all
			if !many && len(args) == 0 {
				return usageError("which KEY? or --prefix")
			}
			if many {
				if err := d.check(args, ifMatch); err != nil {
					return err
				}
			} else if d.yes {
				return usageError("--yes goes with --prefix or --all: one key is deleted without asking")
			}
			var err error
			if d.c, err = p.clientIn(session); err != nil {
				return err
			}
			if many {
				return d.run(cmd.Context())
			}
			return ofKey(args[0], d.c.delete(cmd.Context(), args[0], ifMatch))
		},
	}
	f := cmd.Flags()
	sessionFlag(f, &session)
	f.StringVar(&ifMatch, "if-match", "", "delete only if the key has this `ETAG`; * for any")
	f.StringVar(&d.prefix, "prefix", "", "delete every key that begins with `PREFIX`")
	p.completePrefix(cmd)
	f.BoolVar(&d.all, "all", false, "delete every key")
	f.BoolVar(&d.yes, "yes", false, "do not ask before deleting many keys")
	return cmd
}

// delete deletes key, if it has the ETag ifMatch where that is not empty.
func (c *client) delete(ctx context.Context, key, ifMatch string) error {
	header := http.Header{}
	setConditions(header, ifMatch, "")
	resp, err := c.do(ctx, request{
		method: http.MethodDelete, path: wire.Path(wire.KeysPath, key), header: header, repeatable: ifMatch == "",
		status: []int{http.StatusNoContent}, proof: "Runnel-Revision",
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
