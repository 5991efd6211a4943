package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

type getOptions struct {
	json   bool
	output string
	read   readFlags
}

func newGet(p *program) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key",
		Long: `Print the value of KEY, byte for byte; on a terminal, characters that would control
the terminal are printed as codes.

With --json print the whole entry instead: value (value_base64 if the value is
not UTF-8), media type, ETag, revision, times and metadata.

By default any partition answers, so the value can be slightly old.
--consistency master reads from the key's master. --max-staleness 5s reads from a
partition that is provably at most 5 seconds behind. --r 2, quorum or all reads
from several partitions and prints the newest entry. --session FILE, which can be
combined with each of these, shows nothing older than commands with the same FILE
have read or written.

If the key does not exist, the exit status is 1 and nothing is printed.`,
		Example: `  runnel get greeting
  runnel get 'photos/cat 1.jpg' -o cat.jpg
  runnel get greeting --json | jq .etag
  runnel get balance --consistency master
  runnel get price --max-staleness 5s
  runnel get price --r quorum --session my.session`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.read.validate(cmd); err != nil {
				return err
			}
			c, err := p.client(o.read.session, client.Options{})
			if err != nil {
				return err
			}
			return p.printValue(cmd.Context(), c, args[0], o)
		},
	}
	f := cmd.Flags()
	o.read.addToKeyRead(cmd)
	f.BoolVar(&o.json, "json", false, "print the whole entry as JSON")
	f.StringVarP(&o.output, "output", "o", "", "write to `FILE`, which appears when it is complete")
	return cmd
}

func (p *program) printValue(ctx context.Context, c *client.Client, key string, o getOptions) error {
	var body io.Reader
	if o.json {
		e, err := c.Get(ctx, key, o.read.options())
		if err != nil {
			return withKey(key, err)
		}
		body = strings.NewReader(indent(e.Raw))
	} else {
		value, err := c.Open(ctx, key, o.read.options())
		if err != nil {
			return withKey(key, err)
		}
		defer value.Close()
		body = value
	}
	if o.output != "" {
		return console.ReplaceFile(o.output, body)
	}
	_, err := io.Copy(p.Out, body)
	return err
}
