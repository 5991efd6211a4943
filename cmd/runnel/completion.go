package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
)

const (
	completeMost    = 100
	completeTimeout = 2 * time.Second
)

// completePrefix has the shell offer keys for --prefix.
func (p *program) completePrefix(cmd *cobra.Command) {
	offer := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return p.completeKey(cmd, nil, typed)
	}
	if err := cmd.RegisterFlagCompletionFunc("prefix", offer); err != nil {
		panic(err) // there is no such flag, or it is completed already
	}
}

// completeKey offers the keys and key directories that begin with what has been typed: for shell completion, which
// gets nothing rather than an error when the server does not answer at once.
func (p *program) completeKey(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	c, err := p.client("", client.Options{RetryFor: -1})
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	var found []string
	for k, err := range c.List(ctx, client.ListOptions{Prefix: typed, Delimiter: "/", Limit: completeMost}) {
		if err != nil {
			break
		}
		found = append(found, k.Key)
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
