package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
)

func newTxn(p *program) *cobra.Command {
	var session string
	var majority bool
	cmd := &cobra.Command{
		Use:   "txn FILE|-",
		Short: "Do several operations on one master, all or none",
		Long: `Run the transaction in FILE, or on standard input for -, and print the results as JSON.
A transaction is a JSON object with if (conditions), then and else (operations).

If the conditions did not hold, and else was done, the exit status is 1. A transaction
with an unknown outcome is not repeated.`,
		Example: `  runnel txn move.json
  echo '{"if":[{"key":"a","exists":true}],"then":[{"op":"delete","key":"a"}]}' | runnel txn -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := p.txnSource(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c, err := p.client(session, client.Options{Majority: majority})
			if err != nil {
				return err
			}
			return p.runTxn(cmd.Context(), c, source)
		},
	}
	writeFlags(cmd.Flags(), &session, &majority)
	return cmd
}

func (p *program) txnSource(ctx context.Context, file string) (value, error) {
	if file != "-" {
		return fileValue(file)
	}
	b, err := p.readStdin(ctx)
	return value{Body: client.Bytes(b)}, err
}

func (p *program) runTxn(ctx context.Context, c *client.Client, document value) error {
	result, err := c.TxnJSON(ctx, document.Body)
	if result == nil {
		return err
	}
	if _, writeErr := io.WriteString(p.Out, indent(result.Raw)); writeErr != nil || result.Succeeded {
		return errors.Join(writeErr, err)
	}
	return errors.New("the conditions did not hold")
}
