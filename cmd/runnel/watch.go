package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// saveInterval is the least time between two writes of a token file.
const saveInterval = time.Second

type watchOptions struct {
	since  string
	token  string
	json   bool
	values bool
}

func newWatch(p *program) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch [PREFIX]",
		Short: "Print keys as they change",
		Long: `Print each change of the keys that begin with PREFIX, or of all keys, without end:
the revision, + or - for a deletion, and the key. Of a key that changes often, some
states may be left out, but never the last. After a lost connection the command
reconnects, however often, and continues where it stopped; a change may then be
printed again.

Changes are printed from now on. --since beginning first prints every key that
exists. --since TOKEN continues behind a token. --token FILE keeps the token of the
last printed change in FILE, and continues from there next time.

--json prints a JSON object on each line. --values adds the values.`,
		Example: `  runnel watch
  runnel watch orders/ --json --values --token orders.token
  runnel watch config/ --since beginning`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client("", client.Options{})
			if err != nil {
				return err
			}
			w := &watcher{streams: &p.Streams, o: o}
			if len(args) > 0 {
				w.prefix = args[0]
			}
			if err := w.readToken(); err != nil {
				return err
			}
			return w.watch(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "now", "start behind `TOKEN`, now, or at the beginning")
	f.StringVar(&o.token, "token", "", "keep the token in `FILE`, and continue from there next time")
	f.BoolVar(&o.json, "json", false, "print a JSON object on each line")
	f.BoolVar(&o.values, "values", false, "add the values (implies --json)")
	return cmd
}

// watcher prints changes and writes the token of the last change to a file.
type watcher struct {
	streams *console.Streams
	o       watchOptions
	prefix  string
	since   string // the token of the last change printed
	kept    string // the token in the file
	saved   time.Time
}

// readToken sets since from the flags, or from the token file.
func (w *watcher) readToken() error {
	if w.since = w.o.since; w.since == "beginning" {
		w.since = ""
	}
	if w.o.token == "" {
		return nil
	}
	text, err := os.ReadFile(w.o.token)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if token := strings.TrimSpace(string(text)); token != "" {
		w.since, w.kept = token, token
	}
	return err
}

// watch prints changes until ctx ends, or the watch fails permanently.
func (w *watcher) watch(ctx context.Context, c *client.Client) error {
	var unkept error // the token file could not be written
	reconnecting := func(err error) {
		unkept = w.keepToken()
		if err != nil {
			fmt.Fprintf(w.streams.Err, "runnel: %s; trying again\n", console.Line(err.Error()))
		}
	}
	for change, err := range c.Watch(ctx, client.WatchOptions{Prefix: w.prefix, Since: w.since, Values: w.o.values, OnReconnect: reconnecting}) {
		if err == nil {
			err = cmp.Or(unkept, w.print(change))
		} else if ctx.Err() != nil {
			err = nil // an interrupt is the ordinary end
		}
		if err != nil {
			return cmp.Or(w.keepToken(), w.explain(err))
		}
	}
	return w.keepToken()
}

// explain adds advice to the error for a token that is too old.
func (w *watcher) explain(err error) error {
	if !errors.Is(err, client.ErrResync) {
		return err
	}
	how := "use --since beginning"
	if w.kept != "" {
		how = fmt.Sprintf("remove %s and %s", w.o.token, how)
	}
	return fmt.Errorf("%w; %s, and drop every key that the command does not print", err, how)
}

// print prints a change and then takes its token: after a restart a change may be printed again, but none is lost.
func (w *watcher) print(c client.Change) error {
	line := append(c.Raw, '\n')
	if !w.o.json && !w.o.values {
		sign := '+'
		if c.Deleted {
			sign = '-'
		}
		line = fmt.Appendf(nil, "%d %c %s\n", c.Revision, sign, w.streams.Name(c.Key))
	}
	if c.Key != "" {
		if _, err := w.streams.Out.Write(line); err != nil {
			return err
		}
	}
	if c.Token != "" {
		w.since = c.Token
	}
	if c.Key != "" && time.Since(w.saved) < saveInterval {
		return nil
	}
	return w.keepToken() // at most once in saveInterval, and when no change is pending
}

// keepToken replaces the token file as a whole.
func (w *watcher) keepToken() error {
	if w.o.token == "" || w.since == w.kept || w.since == client.Now || w.since == "" {
		return nil
	}
	w.saved = time.Now()
	if err := console.ReplaceFile(w.o.token, strings.NewReader(w.since+"\n")); err != nil {
		return fmt.Errorf("keep the token: %w", err)
	}
	w.kept = w.since
	return nil
}
