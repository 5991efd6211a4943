package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/transfer"
)

type putOptions struct {
	file        string
	contentType string
	ttl         time.Duration
	copies      string
	majority    bool
	ifMatch     string
	ifNoneMatch string
	meta        map[string]string
	session     string
}

func newPut(p *program) *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE|-]",
		Short: "Store a value under a key, and print its ETag",
		Long: `Store VALUE under KEY and print the new ETag.

Without VALUE, or with -, the value is read from standard input, with --file from
a file. On exit status 0 the value is durable at the master.

The default media type is text/plain for an argument, the type of the extension
for a file, and otherwise application/octet-stream.

--copies 2, or all, waits until 2 or all partitions hold the value; --majority waits
until a majority of the voters holds it in order, so that no loss of a master can undo
it. If that takes too long, the value is stored anyway and the exit status is 1.

--if-match stores only if the key has this ETag, --if-none-match '*' only if the
key does not exist. Otherwise nothing is changed, and the error is "412
precondition-failed". After a lost connection a put without conditions is
repeated; a conditional put with an unknown outcome is not, because it could fail
on its own success. Get the key to see whether the value was stored.`,
		Example: `  runnel put greeting 'hello world'
  runnel put photos/cat.jpg --file cat.jpg
  date | runnel put now --ttl 1m
  runnel put greeting hello --if-none-match '*'
  etag=$(runnel put counter 1) && runnel put counter 2 --if-match "$etag"`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := p.putSource(cmd.Context(), args[1:], o)
			if err != nil {
				return err
			}
			c, err := p.client(o.session, client.Options{Majority: o.majority})
			if err != nil {
				return err
			}
			return p.putValue(cmd.Context(), c, args[0], source, o)
		},
	}
	f := cmd.Flags()
	writeFlags(f, &o.session, &o.majority)
	f.StringVarP(&o.file, "file", "f", "", "read the value from `FILE`")
	f.StringVarP(&o.contentType, "content-type", "t", "", "the media `TYPE` of the value")
	f.DurationVar(&o.ttl, "ttl", 0, "expire after this time, on every partition (such as 30s or 24h)")
	f.StringVar(&o.copies, "copies", "", "wait until `N` partitions, or all, hold the value")
	complete(cmd, "copies", "2", "all")
	f.StringVar(&o.ifMatch, "if-match", "", "store only if the key has this `ETAG`; * if the key exists")
	f.StringVar(&o.ifNoneMatch, "if-none-match", "", "store only if the key does not have this `ETAG`; * if the key does not exist")
	f.StringToStringVar(&o.meta, "meta", nil, "metadata to store with the value, as `NAME=TEXT`; may be repeated")
	return cmd
}

// value is a value to store, with its media type; an empty type is unknown.
type value struct {
	client.Body
	contentType string
}

// maxStdinBytes bounds a value from standard input, which is held in memory.
const maxStdinBytes = 1 << 30

// putSource returns the value that the arguments and flags of a put name.
func (p *program) putSource(ctx context.Context, args []string, o putOptions) (value, error) {
	for name, text := range o.meta {
		if err := wire.CheckMetadata(name, text); err != nil {
			return value{}, console.UsageError("--meta %q: %v", name+"="+text, err)
		}
	}
	if o.ttl < 0 {
		return value{}, console.UsageError("--ttl %v is negative", o.ttl)
	}
	if o.file != "" {
		if len(args) > 0 {
			return value{}, console.UsageError("a value is given both as an argument and with --file")
		}
		return fileValue(o.file)
	}
	if len(args) == 1 && args[0] != "-" {
		return value{client.Bytes([]byte(args[0])), "text/plain; charset=utf-8"}, nil
	}
	b, err := p.readStdin(ctx)
	if err == nil && len(b) == 0 && len(args) == 0 {
		err = console.UsageError("standard input is empty and there is no VALUE; to store an empty value give '' or -")
	}
	return value{Body: client.Bytes(b)}, err
}

// readStdin reads standard input to its end, or until ctx ends.
func (p *program) readStdin(ctx context.Context) ([]byte, error) {
	stdin := p.Input(ctx)
	defer stdin.Close()
	b, err := io.ReadAll(io.LimitReader(stdin, maxStdinBytes+1))
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("interrupted")
	case err != nil:
		return nil, fmt.Errorf("read standard input: %w", err)
	case len(b) > maxStdinBytes:
		return nil, fmt.Errorf("standard input is longer than %s", humanize.IBytes(maxStdinBytes))
	}
	return b, nil
}

// fileValue returns the content of a regular file. The file is read while it is sent.
func fileValue(name string) (value, error) {
	info, err := os.Stat(name)
	if err != nil {
		return value{}, err
	}
	if !info.Mode().IsRegular() {
		return value{}, fmt.Errorf("%s is not a regular file", name)
	}
	open := func() (io.ReadCloser, error) { return os.Open(name) }
	return value{Body: client.Body{Open: open, Size: info.Size()}, contentType: transfer.MediaType(name)}, nil
}

func (p *program) putValue(ctx context.Context, c *client.Client, key string, v value, o putOptions) error {
	put, err := c.PutBody(ctx, key, v.Body, client.PutOptions{
		ContentType: cmp.Or(o.contentType, v.contentType), TTL: o.ttl, Copies: o.copies, Metadata: o.meta,
		If: conditions(o.ifMatch, o.ifNoneMatch),
	})
	if err != nil && !errors.Is(err, client.ErrNotSecured) {
		return withKey(key, err)
	}
	if _, writeErr := fmt.Fprintln(p.Out, put.ETag); writeErr != nil || !put.Incomplete {
		return writeErr
	}
	if err != nil {
		return withKey(key, err)
	}
	return fmt.Errorf("key %q is stored, but %d partitions hold the value so far instead of %s; the sync process copies it to the rest", key, put.Copies, o.copies)
}

func newTouch(p *program) *cobra.Command {
	var ttl time.Duration
	var ifMatch, session string
	var majority bool
	cmd := &cobra.Command{
		Use:   "touch KEY --ttl DURATION",
		Short: "Renew when a key expires, and print its new ETag",
		Long: `Let KEY expire after --ttl from now. Value, media type and metadata stay, and are not
sent. If the key does not exist, the exit status is 1.`,
		Example:           "  runnel touch sessions/7 --ttl 30m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if ttl <= 0 {
				return console.UsageError("--ttl is required: a duration like 30s or 12h")
			}
			c, err := p.client(session, client.Options{Majority: majority})
			if err != nil {
				return err
			}
			touched, err := c.Touch(cmd.Context(), args[0], ttl, conditions(ifMatch, ""))
			if err != nil {
				return withKey(args[0], err)
			}
			_, err = fmt.Fprintln(p.Out, touched.ETag)
			return err
		},
	}
	f := cmd.Flags()
	writeFlags(f, &session, &majority)
	f.DurationVar(&ttl, "ttl", 0, "expire after this time, on every partition (such as 30s or 24h)")
	f.StringVar(&ifMatch, "if-match", "", "renew only if the key has this `ETAG`")
	return cmd
}

// writeFlags adds the flags of writes: the session, and whether to wait for a majority of the voters.
func writeFlags(f *pflag.FlagSet, session *string, majority *bool) {
	sessionFlag(f, session)
	f.BoolVar(majority, "majority", false, "wait until a majority of the voters holds the write in order")
}
