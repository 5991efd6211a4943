package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// readFlags choose the replicas that may answer a read.
type readFlags struct {
	consistency  string
	maxStaleness time.Duration
	r            string // always empty for lists: a single partition answers them
	session      string

	allowed []string // values of consistency
}

// addToKeyRead adds the flags to a command that reads a single key.
func (o *readFlags) addToKeyRead(cmd *cobra.Command) {
	o.define(cmd, "any", "session", "bounded", "quorum", "master")
	cmd.Flags().StringVarP(&o.r, "r", "r", "", "read from `N` partitions, quorum or all, and take the newest entry (implies --consistency quorum)")
	complete(cmd, "r", "2", "quorum", "all")
}

// addToList adds the flags to a command that reads many keys.
func (o *readFlags) addToList(cmd *cobra.Command) {
	o.define(cmd, "any", "session", "bounded", "master")
}

func (o *readFlags) define(cmd *cobra.Command, allowed ...string) {
	o.allowed = allowed
	f := cmd.Flags()
	sessionFlag(f, &o.session)
	f.StringVar(&o.consistency, "consistency", "", "the consistency level: `"+strings.Join(allowed, "|")+"` (default any)")
	f.DurationVar(&o.maxStaleness, "max-staleness", 0, "read from a partition at most this far behind, such as 5s (implies --consistency bounded)")
	complete(cmd, "consistency", allowed...)
}

// complete makes the shell offer the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	offer := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // the flag does not exist, or has a completion already
	}
}

// validate rejects flags that contradict each other, or that the server would reject.
func (o *readFlags) validate(cmd *cobra.Command) error {
	stale, copies := cmd.Flags().Changed("max-staleness"), o.r != "" || cmd.Flags().Lookup("r") != nil && cmd.Flags().Changed("r")
	switch {
	case o.consistency != "" && !slices.Contains(o.allowed, o.consistency):
		return console.UsageError("--consistency is %s, not %q", strings.Join(o.allowed, ", "), o.consistency)
	case stale && copies:
		return console.UsageError("--max-staleness and --r exclude each other: the newest of several entries has no bound on its staleness")
	case stale && o.consistency != "" && o.consistency != "bounded":
		return console.UsageError("--max-staleness goes with --consistency bounded, not with %s", o.consistency)
	case stale && o.maxStaleness < time.Millisecond:
		return console.UsageError("--max-staleness %v is less than 1ms", o.maxStaleness)
	case !stale && o.consistency == "bounded":
		return console.UsageError("--consistency bounded needs --max-staleness, such as 5s")
	case copies && o.consistency != "" && o.consistency != "quorum":
		return console.UsageError("--r goes with --consistency quorum, not with %s", o.consistency)
	case copies && !isCopies(o.r):
		return console.UsageError("--r is a number of partitions from 1, quorum or all, not %q", o.r)
	case o.consistency == "session" && o.session == "":
		return console.UsageError("--consistency session needs --session FILE")
	}
	return nil
}

func isCopies(r string) bool {
	n, err := strconv.Atoi(r)
	return r == "quorum" || r == "all" || err == nil && n >= 1
}

// options returns the options of the reads.
func (o *readFlags) options() client.ReadOptions {
	return client.ReadOptions{Consistency: client.Consistency(o.consistency), MaxStaleness: o.maxStaleness, Replicas: o.r}
}
