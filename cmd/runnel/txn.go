package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func newTxn(p *program) *cobra.Command {
	var session string
	cmd := &cobra.Command{
		Use:   "txn FILE|-",
		Short: "Do several operations on one master, all or none",
		Long: `Send the transaction in FILE, or from standard input for -, and print what came of it
as JSON: an object with if (conditions), then and else (operations).

Exit status 1, after the results, where the conditions did not hold, so that else was
done. A transaction whose outcome is unknown is not repeated.`,
		Example: `  runnel txn move.json
  echo '{"if":[{"key":"a","exists":true}],"then":[{"op":"delete","key":"a"}]}' | runnel txn -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := p.txnSource(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c, err := p.clientIn(session)
			if err != nil {
				return err
			}
			return p.txn(cmd.Context(), c, source)
		},
	}
	sessionFlag(cmd.Flags(), &session)
	return cmd
}

func (p *program) txnSource(ctx context.Context, file string) (value, error) {
	if file != "-" {
		return fileValue(file)
	}
	b, err := p.readStdin(ctx)
	return bytesValue(b, ""), err
}

func (p *program) txn(ctx context.Context, c *client, v value) error {
	resp, err := c.do(ctx, request{
		method: http.MethodPost, path: "/v1/txn", header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		body: v.open, size: v.size, proof: "application/json",
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	var answer struct {
		Succeeded bool `json:"succeeded"`
	}
	_, err = text.ReadFrom(resp.Body)
	if err = cmp.Or(err, json.Unmarshal(text.Bytes(), &answer)); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	pretty, err := indent(text.Bytes())
	if err == nil {
		_, err = io.WriteString(p.shown(), pretty)
	}
	if err == nil && !answer.Succeeded {
		err = errors.New("the conditions did not hold")
	}
	return err
}
