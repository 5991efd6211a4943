package transfer

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
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// importLines imports NDJSON from a file, or from standard input for "-".
func (m *importer) importLines(ctx context.Context) error {
	src, path := &lineSource{from: m.checkpoint.resumeAt(), prefix: m.o.Prefix, now: m.Now, size: -1}, m.o.Source
	if path == "-" {
		src.open = func(ctx context.Context) (io.ReadCloser, error) {
			return skipTo(m.Input(ctx), src.from.Offset)
		}
	} else {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			src.size = info.Size() - src.from.Offset
		}
		src.open = func(context.Context) (io.ReadCloser, error) { return openAt(path, src.from.Offset) }
	}
	if err := m.storeAll(ctx, src); err != nil {
		return err
	}
	return m.checkpoint.removeFile()
}

// errNotEntries ends the import of a file that does not begin like NDJSON.
var errNotEntries = errors.New("not a JSON object; a file to import has an entry a line, as 'runnel export' writes it")

// lineSource is NDJSON, an entry a line.
type lineSource struct {
	open   func(context.Context) (io.ReadCloser, error) // at from.Offset
	from   position
	size   int64 // bytes behind from; -1 if unknown
	prefix string
	now    func() time.Time
}

func (s *lineSource) total() (int64, string) { return s.size, console.UnitBytes }

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
			line, err := lines.readLine()
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
				weight: 2 * int64(len(line)), units: lines.offset - began, // the line and the decoded value
				after: position{seq: seq, Offset: lines.offset, Line: lines.line},
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

// decode decodes a line. An empty line counts as an expired entry: there is nothing to store.
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
	return loaded{key: s.prefix + string(o.Key), body: client.Bytes(o.Value), inline: nonNil(o.Value), put: put, expired: expired}, nil
}

// nonNil returns b, or an empty slice for nil.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
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
		return nil, fmt.Errorf("standard input ends before byte %d, where the checkpoint continues: %w", offset, err)
	}
	return r, nil
}
