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

// completePrefix makes the shell offer keys for --prefix.
func (p *program) completePrefix(cmd *cobra.Command) {
	offer := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return p.completeKey(cmd, nil, typed)
	}
	if err := cmd.RegisterFlagCompletionFunc("prefix", offer); err != nil {
		panic(err) // the flag does not exist, or has a completion already
	}
}

// completeKey returns the keys and common prefixes that begin with the typed text, for shell completion. A failure
// returns nothing.
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
