package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

type listOptions struct {
	delimiter string
	limit     int
	json      bool
	values    bool
	long      bool

	read readFlags
}

const listLong = `List the keys that begin with PREFIX, or all keys, in byte order, one a line. The
list is streamed and may be of any length.

With --delimiter / keys that continue behind the next / are printed once, as their
common prefix, like a directory.

Any partition answers, so the list can be slightly old. --consistency master reads
from the masters. --max-staleness 5s reads from a partition that is provably at most
5 seconds behind. --session FILE, which can be combined with each of these, shows
nothing older than commands with the same FILE have read or written.

--long adds size, time, expiry, media type and ETag. --json prints a JSON object on
each line, {"prefix":…} for a common prefix. --values adds the values.`

func newList(p *program) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "list [PREFIX]",
		Aliases: []string{"ls"},
		Short:   "List keys",
		Long:    listLong,
		Example: `  runnel list
  runnel list photos/ --long
  runnel list photos/ --delimiter /
  runnel list --limit 10 --json | jq -r .key
  runnel list config/ --values`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.limit < 0 {
				return console.UsageError("--limit %d is negative", o.limit)
			}
			if err := o.read.validate(cmd); err != nil {
				return err
			}
			c, err := p.client(o.read.session, client.Options{})
			if err != nil {
				return err
			}
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			return p.printList(cmd.Context(), c, prefix, o)
		},
	}
	f := cmd.Flags()
	o.read.addToList(cmd)
	f.StringVarP(&o.delimiter, "delimiter", "d", "", "print keys that continue behind the next `DELIMITER` once, as a prefix")
	f.IntVarP(&o.limit, "limit", "n", 0, "print at most this many keys and prefixes; 0 for all")
	f.BoolVar(&o.json, "json", false, "print a JSON object on each line")
	f.BoolVar(&o.values, "values", false, "add the values (implies --json)")
	f.BoolVarP(&o.long, "long", "l", false, "print a table of size, time, expiry, type, ETag and key")
	return cmd
}

func (p *program) printList(ctx context.Context, c *client.Client, prefix string, o listOptions) error {
	out := newLinePrinter(&p.Streams, o)
	q := client.ListOptions{Prefix: prefix, Delimiter: o.delimiter, Values: o.values, Limit: o.limit, Read: o.read.options()}
	for item, err := range c.List(ctx, q) {
		if err == nil {
			err = out.print(item)
		}
		if err != nil {
			return cmp.Or(out.writeBuffer(), err)
		}
	}
	return out.writeBuffer()
}

// linePrinter prints the items of a list in one of the output formats.
type linePrinter struct {
	w     io.Writer
	buf   bytes.Buffer
	print func(client.Item) error
}

// printBytes is the size of the output buffer of a list.
const printBytes = 32 << 10

func newLinePrinter(s *console.Streams, o listOptions) *linePrinter {
	l := &linePrinter{w: s.Out}
	form := func(b *bytes.Buffer, k client.Item) error { return plainLine(b, s.Name(k.Key)) }
	switch {
	case o.json || o.values:
		form = jsonLine
	case o.long:
		form = longLine
		fmt.Fprintf(&l.buf, longFormat, "SIZE", "MODIFIED", "EXPIRES", "TYPE", "ETAG", "KEY")
	}
	l.print = func(k client.Item) error {
		if err := form(&l.buf, k); err != nil || l.buf.Len() < printBytes {
			return err
		}
		return l.writeBuffer()
	}
	return l
}

func (l *linePrinter) writeBuffer() error {
	_, err := l.buf.WriteTo(l.w)
	return err
}

func plainLine(b *bytes.Buffer, name string) error {
	b.WriteString(name)
	return b.WriteByte('\n')
}

func jsonLine(b *bytes.Buffer, k client.Item) error {
	text := k.Raw
	if k.IsPrefix() {
		var err error
		if text, err = json.Marshal(map[string]string{"prefix": k.Key}); err != nil {
			return err
		}
	}
	if err := json.Compact(b, text); err != nil {
		return err
	}
	return b.WriteByte('\n')
}

const longFormat = "%9s  %-20s  %-20s  %-28s  %-18s  %s\n"

func longLine(b *bytes.Buffer, k client.Item) error {
	if k.IsPrefix() {
		_, err := fmt.Fprintf(b, longFormat, "-", "-", "-", "prefix", "-", console.Line(k.Key))
		return err
	}
	e, err := k.Entry()
	if err != nil {
		return err
	}
	size := humanize.IBytes(uint64(max(0, e.Size)))
	_, err = fmt.Fprintf(b, longFormat, size, instant(e.ModifiedAt), instant(e.ExpiresAt), console.Line(e.ContentType), console.Line(e.ETag), console.Line(e.Key))
	return err
}

func instant(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}
