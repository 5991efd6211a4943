package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func newDelete(p *program) *cobra.Command {
	var ifMatch, session string
	d := &prefixDeletion{p: p}
	cmd := &cobra.Command{
		Use:     "delete KEY | --prefix PREFIX | --all",
		Aliases: []string{"rm"},
		Short:   "Delete a key, or all keys that begin with a prefix",
		Long: `Delete KEY. On exit status 0 the deletion is durable at the master, and is copied to
every partition.

If the key does not exist, the exit status is 1. With --if-match the key is deleted
only if it has this ETag.

--prefix deletes every key that begins with PREFIX, 1,000 at a time; --all deletes
every key. Both ask first, unless --yes is given. A key that is written meanwhile may
be deleted or not. An interrupted command does not restore deleted keys.`,
		Example: `  runnel delete greeting
  runnel delete counter --if-match "$etag"
  runnel delete --prefix sessions/ --yes`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			many := cmd.Flags().Changed("prefix") || d.all
			if !many && len(args) == 0 {
				return console.UsageError("give KEY, --prefix or --all")
			}
			if many {
				if err := d.checkArguments(args, ifMatch); err != nil {
					return err
				}
			} else if d.yes {
				return console.UsageError("--yes needs --prefix or --all: a single KEY is deleted without asking")
			}
			var err error
			if d.c, err = p.client(session, client.Options{FinishWrites: many, Majority: d.majority}); err != nil {
				return err
			}
			if many {
				return d.confirmAndDelete(cmd.Context())
			}
			return withKey(args[0], d.c.Delete(cmd.Context(), args[0], conditions(ifMatch, "")))
		},
	}
	f := cmd.Flags()
	writeFlags(f, &session, &d.majority)
	f.StringVar(&ifMatch, "if-match", "", "delete only if the key has this `ETAG`")
	f.StringVar(&d.prefix, "prefix", "", "delete every key that begins with `PREFIX`")
	p.completePrefix(cmd)
	f.BoolVar(&d.all, "all", false, "delete every key")
	f.BoolVar(&d.yes, "yes", false, "do not ask before deleting many keys")
	return cmd
}

// prefixDeletion deletes the keys that begin with a prefix, in steps.
type prefixDeletion struct {
	p        *program
	c        *client.Client
	prefix   string
	all      bool
	yes      bool
	majority bool // of a single KEY
}

// checkArguments rejects ambiguous command lines.
func (d *prefixDeletion) checkArguments(args []string, ifMatch string) error {
	switch {
	case d.majority:
		return console.UsageError("--majority needs a single KEY")
	case len(args) > 0:
		return console.UsageError("give only one of KEY, --prefix and --all")
	case d.prefix == "" && !d.all:
		return console.UsageError("an empty --prefix would delete every key; use --all for that")
	case d.prefix != "" && d.all:
		return console.UsageError("give only one of --prefix and --all")
	case ifMatch != "":
		return console.UsageError("--if-match needs a single KEY")
	case !d.yes && !d.p.IsTerminal(d.p.In):
		return console.UsageError("the deletion of many keys needs a confirmation, and standard input is no terminal: add --yes")
	}
	return nil
}

func (d *prefixDeletion) confirmAndDelete(ctx context.Context) error {
	if !d.yes {
		keys, err := d.firstKeys(ctx)
		if err != nil {
			return fmt.Errorf("list the keys to delete: %w", err)
		}
		if len(keys) == 0 {
			fmt.Fprintln(d.p.Err, "deleted 0 keys")
			return nil
		}
		if !d.p.ConfirmKeys(keys, d.question(keys)) {
			return errors.New("nothing was deleted")
		}
	}
	steps := d.c.DeleteAll(ctx)
	if d.prefix != "" {
		steps = d.c.DeletePrefix(ctx, d.prefix)
	}
	progress := d.p.NewProgress("delete", -1, console.UnitEntries)
	deleted := int64(0)
	var err error
	for n, failure := range steps {
		err = failure
		deleted += n
		progress.Add(n)
	}
	progress.Finish()
	fmt.Fprintf(d.p.Err, "deleted %d keys\n", deleted)
	if err != nil {
		return fmt.Errorf("%w; repeat the command to continue", err)
	}
	return nil
}

// firstKeys returns the first keys to delete: console.KeysShown, and one more if there are more.
func (d *prefixDeletion) firstKeys(ctx context.Context) (keys []string, err error) {
	q := client.ListOptions{Prefix: d.prefix, Limit: console.KeysShown + 1, Read: client.ReadOptions{Consistency: client.Master}}
	for item, err := range d.c.List(ctx, q) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, item.Key)
	}
	return keys, nil
}

// question returns the question before a deletion. keys are the result of firstKeys.
func (d *prefixDeletion) question(keys []string) string {
	switch {
	case len(keys) <= console.KeysShown:
		return fmt.Sprintf("delete these %d keys?", len(keys))
	case d.all:
		return "delete every key?"
	}
	return fmt.Sprintf("delete every key that begins with %q?", d.prefix)
}
