package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
)

type exportOptions struct {
	prefix string
	resume bool
	read   readFlags
}

func newExport(p *program) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export [FILE|-]",
		Short: "Write all entries as NDJSON",
		Long: `Write all entries, or those whose key begins with --prefix, as NDJSON in the order
of their keys: an object a line, as 'runnel import' reads it. Without FILE, or
with -, it goes to standard output.

FILE appears, and replaces an older one, only once the export is whole: until then
it grows as FILE.partial. An interrupted export goes on with --resume behind the
last whole line of FILE.partial, if that comes from the same server and query. A
connection that breaks is taken up again by itself.

An export is not of one moment: each entry is as it was when it was read. Any
partition may answer; --consistency master misses nothing that was written before
the export began, and --session FILE nothing that commands with that file have
written. --max-staleness 5s reads from who is proven to be at most so far behind.`,
		Example: `  runnel export backup.ndjson
  runnel export backup.ndjson --resume
  runnel export --prefix photos/ - | gzip > photos.ndjson.gz`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.read.check(cmd); err != nil {
				return err
			}
			toFile := len(args) == 1 && args[0] != "-"
			if o.resume && !toFile {
				return usageError("--resume goes on with a file, and none is given")
			}
			if !cmd.Flags().Changed("retry") {
				p.flags.retry = importRetry
			}
			c, err := p.client(o.read.session, client.Options{})
			if err != nil {
				return err
			}
			if !toFile {
				return p.exportTo(cmd.Context(), c, p.stdout, o.query(""))
			}
			return p.exportToFile(cmd.Context(), c, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.prefix, "prefix", "", "only the keys that begin with `PREFIX`")
	p.completePrefix(cmd)
	o.read.defineList(cmd)
	f.BoolVar(&o.resume, "resume", false, "go on with what an interrupted export has left")
	return cmd
}

// query chooses the entries of the export behind the key from.
func (o exportOptions) query(from string) client.ListOptions {
	return client.ListOptions{Prefix: o.prefix, Values: true, After: from, Read: o.read.options()}
}

// exportToFile writes name by way of name.partial, which stays if it does not come to the end.
func (p *program) exportToFile(ctx context.Context, c *client.Client, name string, o exportOptions) error {
	q := exportQuery{Format: exportFormat, Server: c.Server(), Prefix: o.prefix, Consistency: o.read.consistency}
	if o.read.maxStaleness > 0 {
		q.MaxStaleness = o.read.maxStaleness.String()
	}
	f, err := openExport(name, q, o.resume)
	if err != nil {
		return err
	}
	before, _ := countLines(name) // 0 when there is none
	if err = f.end(p.exportTo(ctx, c, f, o.query(f.last))); err != nil {
		return fmt.Errorf("%w; to go on from where it stopped, repeat the command with --resume", err)
	}
	p.warnIfShrunk(name, before)
	return nil
}

// warnIfShrunk says on standard error that an export has less than half the lines of the file that it replaced.
func (p *program) warnIfShrunk(name string, before int) {
	if n, err := countLines(name); err == nil && n < before/2 {
		fmt.Fprintf(p.stderr, "warning: %s held %d entries before this export, and holds %d now\n", name, before, n)
	}
}

func countLines(name string) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() // it was only read
	buf := make([]byte, 256<<10)
	for {
		m, err := f.Read(buf)
		n += bytes.Count(buf[:m], []byte{'\n'})
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// exportTo writes the entries of q to w, a line each, and a summary to standard error.
func (p *program) exportTo(ctx context.Context, c *client.Client, w io.Writer, q client.ListOptions) error {
	bar := p.newProgress("export", -1, unitEntries)
	out := bufio.NewWriterSize(w, 256<<10)
	began, n, size := p.now(), 0, uint64(0)
	var err error
	for k, failure := range c.List(ctx, q) {
		if err = failure; err == nil {
			err = writeLine(out, k)
		}
		if err != nil {
			break
		}
		n, size = n+1, size+uint64(len(k.Raw))+1
		bar.add(1)
	}
	err = errors.Join(err, out.Flush())
	bar.finish()
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(p.stderr, "exported %d entries, %s in %v\n", n, humanize.IBytes(size), p.now().Sub(began).Round(time.Millisecond))
	return err
}

// writeLine writes the entry as the server gave it. One without a value would be imported as something else, or not at
// all, so it is an error.
func writeLine(w *bufio.Writer, k client.Item) error {
	if !bytes.Contains(k.Raw, []byte(`"value"`)) && !bytes.Contains(k.Raw, []byte(`"value_base64"`)) {
		return fmt.Errorf("the server lists key %q without its value", k.Key)
	}
	if _, err := w.Write(k.Raw); err != nil {
		return err
	}
	return w.WriteByte('\n')
}

// cutToLastLine truncates f to its last whole line, places it behind that and returns the line's key: empty when there
// is no whole line.
func cutToLastLine(f *os.File) (string, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	end, err := lineEndBefore(f, size)
	if err != nil {
		return "", err
	}
	if err := f.Truncate(end); err != nil {
		return "", err
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil || end == 0 {
		return "", err
	}
	start, err := lineEndBefore(f, end-1)
	if err != nil {
		return "", err
	}
	line := make([]byte, end-start)
	if _, err := f.ReadAt(line, start); err != nil {
		return "", err
	}
	var e client.Entry
	if err := json.Unmarshal(line, &e); err != nil || e.Key == "" {
		return "", fmt.Errorf("its last line is no entry: %w", cmp.Or(err, errors.New("it has no key")))
	}
	return e.Key, nil
}

// lineEndBefore returns the offset behind the last newline before offset end: 0 when there is none.
func lineEndBefore(f io.ReaderAt, end int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end > 0 {
		part := buf[:min(int64(len(buf)), end)]
		if _, err := f.ReadAt(part, end-int64(len(part))); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return end - int64(len(part)) + int64(i) + 1, nil
		}
		end -= int64(len(part))
	}
	return 0, nil
}
