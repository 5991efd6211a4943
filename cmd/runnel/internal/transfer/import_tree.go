package transfer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// importTree imports the files below a directory, and with Delete then removes the keys that have no file.
func (m *importer) importTree(ctx context.Context) error {
	if m.o.Delete && !m.o.Yes && !m.o.DryRun && !m.IsTerminal(m.In) {
		return console.UsageError("--delete needs a confirmation, and standard input is no terminal: add --yes")
	}
	root, err := os.OpenRoot(m.o.Source)
	if err != nil {
		return err
	}
	defer root.Close()
	src := &treeSource{root: root, prefix: m.o.Prefix, from: m.checkpoint.resumeAt().Path, count: -1, c: m.c}
	if src.stored, err = src.storedKeys(ctx); err != nil {
		return fmt.Errorf("list the keys that are stored already: %w", err)
	}
	if m.IsTerminal(m.Err) {
		src.count = src.files()
	}
	if m.o.Delete {
		src.keep = map[string]bool{}
	}
	err = m.storeAll(ctx, src)
	if src.skipped > 0 {
		fmt.Fprintf(m.Err, "skipped %d symbolic links and special files\n", src.skipped)
	}
	if err == nil && m.o.Delete {
		err = (&mirror{importer: m, keep: src.keep}).deleteRest(ctx)
	}
	if err != nil {
		return err
	}
	return m.checkpoint.removeFile()
}

// treeSource yields the files below a directory in the order of fs.WalkDir: by name within each directory.
type treeSource struct {
	root   *os.Root
	prefix string
	from   string // the first file is behind this path; empty for all files
	count  int64  // number of files; -1 if unknown
	c      *client.Client
	stored map[string]bool // the keys that may hold the content of their files

	skipped int64           // number of links and special files; valid after items has ended
	keep    map[string]bool // if not nil, receives the keys of all files, imported or not
}

func (s *treeSource) total() (int64, string) { return s.count, console.UnitFiles }

// files counts the files behind from; -1 after an error.
func (s *treeSource) files() int64 {
	n := int64(0)
	err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && comparePaths(name, s.from) > 0 {
			n++
		}
		return err
	})
	if err != nil {
		return -1
	}
	return n
}

func (s *treeSource) items(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		seq := int64(0)
		err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !s.wanted(name, d) {
				return ctx.Err()
			}
			seq++
			if !yield(s.item(ctx, seq, name, err), nil) {
				return fs.SkipAll
			}
			return ctx.Err()
		})
		if err != nil {
			yield(item{}, err)
		}
	}
}

// wanted reports whether name is a file to import, and records name in keep or skipped.
func (s *treeSource) wanted(name string, d fs.DirEntry) bool {
	if d.IsDir() {
		return false
	}
	if s.keep != nil {
		s.keep[s.prefix+name] = true
	}
	if !d.Type().IsRegular() {
		s.skipped++
		return false
	}
	return comparePaths(name, s.from) > 0
}

// item returns the item of a file. failure is the error of the walk at name, or nil.
func (s *treeSource) item(ctx context.Context, seq int64, name string, failure error) item {
	it := item{where: fmt.Sprintf("file %q", name), units: 1, weight: inlineBytes, after: position{seq: seq, Path: name}}
	it.load = func() (loaded, error) {
		switch {
		case failure != nil:
			return loaded{}, failure
		case !utf8.ValidString(name):
			return loaded{}, errors.New("the name is not UTF-8, as a key must be")
		}
		l := loaded{key: s.prefix + name}
		err := s.readFile(name, &l)
		if err == nil && s.stored[l.key] {
			l.same, err = s.holds(ctx, &l)
		}
		return l, err
	}
	return it
}

// storedKeys lists the keys that match a file in the tree by size, do not expire and have no metadata.
func (s *treeSource) storedKeys(ctx context.Context) (map[string]bool, error) {
	stored := map[string]bool{}
	for k, err := range s.c.List(ctx, client.ListOptions{Prefix: s.prefix, Read: client.ReadOptions{Consistency: client.Master}}) {
		if err != nil {
			return nil, err
		}
		e, err := k.Entry()
		if err != nil {
			return nil, err
		}
		name := filepath.FromSlash(strings.TrimPrefix(k.Key, s.prefix))
		info, err := s.root.Stat(name)
		if err == nil && info.Mode().IsRegular() && info.Size() == e.Size && e.ExpiresAt.IsZero() && len(e.Metadata) == 0 {
			stored[k.Key] = true
		}
	}
	return stored, nil
}

// holds reports whether the master has exactly this value and media type for the key.
func (s *treeSource) holds(ctx context.Context, l *loaded) (bool, error) {
	stored, err := s.c.Open(ctx, l.key, client.ReadOptions{Consistency: client.Master})
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer stored.Close()
	mine, err := l.body.Open()
	if err != nil {
		return false, err
	}
	defer mine.Close()
	same, err := sameBytes(stored, mine)
	return same && stored.ContentType == cmp.Or(l.put.ContentType, "application/octet-stream"), err
}

// sameBytes compares two readers up to the first difference.
func sameBytes(a, b io.Reader) (bool, error) {
	first, second := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(a, first)
		m, errB := io.ReadFull(b, second)
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if !bytes.Equal(first[:n], second[:m]) {
			return false, nil
		}
		if errA != nil {
			return true, nil
		}
	}
}

const (
	inlineBytes = 64 << 10 // longer files are not held in memory, but read each time they are sent
	sniffBytes  = 512      // bytes that http.DetectContentType examines
)

// readFile sets the content and the media type of l from a file. os.Root keeps links that appear during the import from
// leading out of the tree.
func (s *treeSource) readFile(name string, l *loaded) error {
	open := func() (io.ReadCloser, error) { return s.root.Open(filepath.FromSlash(name)) }
	f, err := s.root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("the file is not a regular file any more")
	}
	head, err := io.ReadAll(io.LimitReader(f, inlineBytes+1))
	if err != nil {
		return err
	}
	if l.put.ContentType = MediaType(name); l.put.ContentType == "" {
		l.put.ContentType = http.DetectContentType(head[:min(len(head), sniffBytes)])
	}
	l.body = client.Body{Open: open, Size: info.Size()}
	if len(head) <= inlineBytes {
		l.inline = bytes.Clone(head)
		l.body = client.Bytes(l.inline)
	}
	return nil
}

// comparePaths compares two slash-separated paths in the order of fs.WalkDir: name by name.
func comparePaths(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}
