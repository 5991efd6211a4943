package transfer

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

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// ExportOptions describe an export.
type ExportOptions struct {
	File   string // empty for standard output
	Prefix string // of the keys; empty for all
	Resume bool   // continue what an interrupted export to File has left
	Read   client.ReadOptions
}

// Export writes the entries as NDJSON and a summary to standard error.
func Export(ctx context.Context, streams *console.Streams, c *client.Client, o ExportOptions) error {
	e := &exporter{Streams: streams, c: c, o: o}
	if o.File == "" {
		return e.writeLines(ctx, e.Out, "")
	}
	return e.writeFile(ctx)
}

// exporter is one export.
type exporter struct {
	*console.Streams
	c *client.Client
	o ExportOptions
}

// writeFile writes FILE.partial and renames it at the end. After a failure FILE.partial stays.
func (e *exporter) writeFile(ctx context.Context) error {
	name := e.o.File
	q := exportQuery{Format: exportFormat, Server: e.c.Server(), Prefix: e.o.Prefix, Consistency: string(e.o.Read.Consistency)}
	if e.o.Read.MaxStaleness > 0 {
		q.MaxStaleness = e.o.Read.MaxStaleness.String()
	}
	f, err := openExport(name, q, e.o.Resume)
	if err != nil {
		return err
	}
	before, _ := countLines(name) // 0 if the file does not exist
	if err = f.complete(e.writeLines(ctx, f, f.last)); err != nil {
		return fmt.Errorf("%w; repeat the command with --resume to continue", err)
	}
	if n, err := countLines(name); err == nil && n < before/2 {
		fmt.Fprintf(e.Err, "warning: %s held %d entries before this export, and holds %d now\n", console.Line(name), before, n)
	}
	return nil
}

func countLines(name string) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() // read only
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

// writeLines writes the entries behind the key after, a line each, and a summary to standard error.
func (e *exporter) writeLines(ctx context.Context, w io.Writer, after string) error {
	bar := e.NewProgress("export", -1, console.UnitEntries)
	out := bufio.NewWriterSize(w, 256<<10)
	began, n, size := e.Now(), 0, uint64(0)
	var err error
	for item, failure := range e.c.List(ctx, client.ListOptions{Prefix: e.o.Prefix, Values: true, After: after, Read: e.o.Read}) {
		if err = failure; err == nil {
			err = writeLine(out, item)
		}
		if err != nil {
			break
		}
		n, size = n+1, size+uint64(len(item.Raw))+1
		bar.Add(1)
	}
	err = errors.Join(err, out.Flush())
	bar.Finish()
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(e.Err, "exported %d entries, %s in %v\n", n, humanize.IBytes(size), e.Now().Sub(began).Round(time.Millisecond))
	return err
}

// writeLine writes the entry as the server sent it. An entry without a value is an error: an import could not restore the
// entry.
func writeLine(w *bufio.Writer, k client.Item) error {
	if !bytes.Contains(k.Raw, []byte(`"value"`)) && !bytes.Contains(k.Raw, []byte(`"value_base64"`)) {
		return fmt.Errorf("the server lists key %q without its value", k.Key)
	}
	if _, err := w.Write(k.Raw); err != nil {
		return err
	}
	return w.WriteByte('\n')
}

// cutToLastLine truncates f behind the last whole line, seeks to the end and returns the key of that line; empty without a
// whole line.
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
		return "", fmt.Errorf("the last line is no entry: %w", cmp.Or(err, errors.New("it has no key")))
	}
	return e.Key, nil
}

// lineEndBefore returns the offset behind the last newline before offset end; 0 without a newline.
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
