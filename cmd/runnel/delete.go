package main

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"
)

func newDelete(p *program) *cobra.Command {
	var ifMatch string
	cmd := &cobra.Command{
		Use:     "delete KEY",
		Aliases: []string{"rm"},
		Short:   "Delete a key",
		Long: `Delete KEY. When the command returns 0 the deletion is durable at the master, and
travels to every partition.

A key that does not exist is an error: exit status 1. With --if-match the key is
deleted only while it still has that ETag.`,
		Example: `  runnel delete greeting
  runnel delete counter --if-match "$etag"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			return c.delete(cmd.Context(), args[0], ifMatch)
		},
	}
	cmd.Flags().StringVar(&ifMatch, "if-match", "", "delete only if the key has this `ETAG`; * for any")
	return cmd
}

// delete deletes key, if it has the ETag ifMatch where that is not empty.
func (c *client) delete(ctx context.Context, key, ifMatch string) error {
	header := http.Header{}
	setConditions(header, ifMatch, "")
	resp, err := c.do(ctx, request{
		method: http.MethodDelete, path: keyPath(key), header: header, repeatable: ifMatch == "",
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
