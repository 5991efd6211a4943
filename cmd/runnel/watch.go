package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

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
		Long: `Print each key that begins with PREFIX, or any, when it changes, for ever: its
revision, + or - for a deletion, and the key. Of a key that changes often, some
states may be left out, the last never. A lost connection is taken up again where
it was, as often as it takes; after that a change may be printed again.

It begins now. --since beginning prints first every key there is; --since TOKEN
goes on where another reader was. --token FILE keeps the token of what was printed
in FILE, and goes on with it the next time.

--json prints one JSON object a line; --values adds the values to it.`,
		Example: `  runnel watch
  runnel watch orders/ --json --values --token orders.token
  runnel watch config/ --since beginning`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			c.timeout = max(c.timeout, watchSilence)
			w := &watcher{c: c, out: p.shown(), errs: p.stderr, o: o}
			if len(args) > 0 {
				w.prefix = args[0]
			}
			if err := w.begin(); err != nil {
				return err
			}
			return w.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "now", "begin after `TOKEN`, now, or at the beginning")
	f.StringVar(&o.token, "token", "", "keep the token in `FILE`, and go on with what it holds")
	f.BoolVar(&o.json, "json", false, "print one JSON object a line")
	f.BoolVar(&o.values, "values", false, "with the values (implies --json)")
	return cmd
}

// watchSilence is the least time without a line after which a stream counts as lost: twice as long as a server is silent.
const watchSilence = 30 * time.Second

// watcher prints changes, across broken connections.
type watcher struct {
	c         *client
	out, errs io.Writer
	o         watchOptions
	prefix    string
	since     string // where to go on
	kept      string // what the token file holds
	saved     time.Time
	moved     bool // in this attempt something came
}

// begin finds out where to go on.
func (w *watcher) begin() error {
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

// run watches until ctx ends, or the server refuses for a reason that no
// repetition mends.
func (w *watcher) run(ctx context.Context) error {
	pause := newPause()
	for {
		w.moved = false
		err := w.read(ctx)
		if keepErr := w.keep(); keepErr != nil {
			return keepErr
		}
		if ctx.Err() != nil {
			return nil // it was told to stop
		}
		if err != nil && !w.passes(err) {
			return w.explain(err)
		}
		if w.moved {
			pause.Reset()
		}
		if err != nil {
			fmt.Fprintf(w.errs, "runnel: %s; trying again\n", visible(err.Error()))
		}
		if w.c.wait(ctx, pause.NextBackOff()) != nil {
			return nil
		}
	}
}

// passes reports whether an error may pass by itself.
func (w *watcher) passes(err error) bool {
	_, stranger := errors.AsType[*strangerError](err)
	return serverAway(err) && !stranger && !hasStatus(err, http.StatusUnauthorized)
}

// explain says how to go on where a token is too old.
func (w *watcher) explain(err error) error {
	if !hasStatus(err, http.StatusGone) {
		return err
	}
	how := "use --since beginning"
	if w.kept != "" {
		how = fmt.Sprintf("remove %s and %s", w.o.token, how)
	}
	return fmt.Errorf("%w; %s, and forget the keys that this does not print", err, how)
}

// read prints one stream to its end.
func (w *watcher) read(ctx context.Context) error {
	q := url.Values{"since": {w.since}}
	if w.prefix != "" {
		q.Set("prefix", w.prefix)
	}
	if w.o.values {
		q.Set("values", "true")
	}
	resp, err := w.c.attempt(ctx, request{
		method: http.MethodGet, path: "/v1/changes", query: q, repeatable: true, proof: "application/x-ndjson",
		header: http.Header{"Accept": {"application/x-ndjson"}},
	})
	if err != nil {
		return err
	}
	for line, err := range answerLines(resp) {
		if err == nil {
			err = w.print(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeLine is a line of the stream: a change, a token alone, or a problem.
type changeLine struct {
	Key      string `json:"key"`
	Deleted  bool   `json:"deleted"`
	Revision int64  `json:"revision"`
	Next     string `json:"next"`
	problem
}

// print prints one line, and then remembers its token: what is printed may be
// printed again, but nothing is left out.
func (w *watcher) print(line []byte) error {
	var c changeLine
	if err := json.Unmarshal(line, &c); err != nil {
		return &lostError{err: fmt.Errorf("a line of the changes is not what it should be: %w", err)}
	}
	switch {
	case c.Key == "" && c.Status != 0:
		return &c.problem
	case c.Key != "":
		if err := w.write(line, &c); err != nil {
			return err
		}
	}
	w.moved = true
	if c.Next != "" {
		w.since = c.Next
	}
	return w.keepSometimes(c.Key == "")
}

func (w *watcher) write(line []byte, c *changeLine) error {
	var b bytes.Buffer
	switch {
	case w.o.json || w.o.values:
		b.Write(line)
		b.WriteByte('\n')
	default:
		sign := '+'
		if c.Deleted {
			sign = '-'
		}
		fmt.Fprintf(&b, "%d %c %s\n", c.Revision, sign, c.Key)
	}
	_, err := w.out.Write(b.Bytes())
	return err
}

// keepSometimes writes the token file when nothing follows for now, and else now
// and then.
func (w *watcher) keepSometimes(idle bool) error {
	if !idle && w.c.now().Sub(w.saved) < saveInterval {
		return nil
	}
	return w.keep()
}

// keep writes the token file, as a whole or not at all.
func (w *watcher) keep() error {
	if w.o.token == "" || w.since == w.kept || w.since == "now" || w.since == "" {
		return nil
	}
	w.saved = w.c.now()
	if err := writeFile(w.o.token, strings.NewReader(w.since+"\n")); err != nil {
		return fmt.Errorf("keep the token: %w", err)
	}
	w.kept = w.since
	return nil
}
