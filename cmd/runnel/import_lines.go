package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
)

// importLines imports NDJSON from a file, or from standard input for "-".
func (p *program) importLines(ctx context.Context, c *client.Client, path string, cp *checkpoint, o importOptions) error {
	src := &lineSource{from: cp.from(), prefix: o.prefix, now: p.now, size: -1}
	if path == "-" {
		src.open = func(ctx context.Context) (io.ReadCloser, error) {
			return skipTo(interruptible(ctx, p.stdin), src.from.Offset)
		}
	} else {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			src.size = info.Size() - src.from.Offset
		}
		src.open = func(context.Context) (io.ReadCloser, error) { return openAt(path, src.from.Offset) }
	}
	if err := p.transfer(ctx, c, src, cp, o); err != nil {
		return err
	}
	return cp.remove()
}

// errNotEntries ends the import of what does not even begin like NDJSON.
var errNotEntries = errors.New("not a JSON object; a file to import has an entry a line, as 'runnel export' writes it")

// lineSource is NDJSON, an entry a line.
type lineSource struct {
	open   func(context.Context) (io.ReadCloser, error) // at from.Offset
	from   mark
	size   int64 // bytes from there on; -1 if unknown
	prefix string
	now    func() time.Time
}

func (s *lineSource) total() (int64, string) { return s.size, unitBytes }

func (s *lineSource) items(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		r, err := s.open(ctx)
		if err != nil {
			yield(item{}, err)
			return
		}
		defer r.Close()
		lines := newLineReader(r, s.from.Offset, s.from.Line)
		first := s.from.Offset == 0
		for seq := int64(1); ; seq++ {
			began := lines.offset
			line, err := lines.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(item{}, fmt.Errorf("read the entries: %w", err))
				return
			}
			if text := bytes.TrimSpace(line); first && len(text) > 0 {
				if first = false; text[0] != '{' {
					yield(item{}, fmt.Errorf("line %d: %w", lines.line, errNotEntries))
					return
				}
			}
			it := item{
				where: fmt.Sprintf("line %d", lines.line), load: func() (loaded, error) { return s.decode(line) },
				weight: 2 * int64(len(line)), units: lines.offset - began, // the line, and its value decoded
				after: mark{seq: seq, Offset: lines.offset, Line: lines.line},
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

// decode reads one line. An empty one is as good as an entry that has expired: there is nothing to store.
func (s *lineSource) decode(line []byte) (loaded, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return loaded{expired: true}, nil
	}
	o, err := wire.NewDecoder().Entry(line)
	if err != nil {
		return loaded{}, fmt.Errorf("not an entry: %w", err)
	}
	put := client.PutOptions{
		ContentType: o.ContentType, ExpiresAt: o.ExpiresAt, Metadata: o.Metadata,
		If: client.Conditions{IfMatch: string(o.IfMatch), IfNoneMatch: string(o.IfNoneMatch)},
	}
	if text := string(o.TTL); text != "" {
		if put.TTL, err = time.ParseDuration(text); err != nil || put.TTL <= 0 {
			return loaded{}, fmt.Errorf("not an entry: the ttl is a duration like 30s or 12h, not %q", text)
		}
	}
	expired := !o.ExpiresAt.IsZero() && !o.ExpiresAt.After(s.now())
	return loaded{key: s.prefix + string(o.Key), value: bytesValue(o.Value, o.ContentType), put: put, expired: expired}, nil
}

// openAt opens a file at offset, which must be the start of a line.
func openAt(path string, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || offset == 0 {
		return f, err
	}
	before := make([]byte, 1)
	if _, err := f.ReadAt(before, offset-1); err != nil || before[0] != '\n' {
		f.Close()
		return nil, fmt.Errorf("%s is not the file that the checkpoint was made for: no line starts at byte %d", path, offset)
	}
	_, err = f.Seek(offset, io.SeekStart)
	return f, err
}

// skipTo reads r up to offset.
func skipTo(r io.ReadCloser, offset int64) (io.ReadCloser, error) {
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		r.Close()
		return nil, fmt.Errorf("standard input ends before byte %d, where the checkpoint goes on: %w", offset, err)
	}
	return r, nil
}

// interruptible is r, but a Read ends with ctx, which one of a terminal or a pipe does not. The goroutine that reads r
// may outlive ctx by the one Read it is in, and then ends with the process.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	pr, pw := io.Pipe()
	stop := context.AfterFunc(ctx, func() { pr.CloseWithError(ctx.Err()); pw.CloseWithError(ctx.Err()) })
	go func() {
		defer stop()
		_, err := io.CopyBuffer(pw, r, make([]byte, 256<<10))
		pw.CloseWithError(err)
	}()
	return pr
}
