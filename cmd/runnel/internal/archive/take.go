package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
)

// TakeOptions describe a backup.
type TakeOptions struct {
	File       string // "-" is standard output
	Partition  string // name; empty: the first replica that can be backed up, or else the first master
	Since      string // file of the base; empty: a full backup
	Incomplete bool   // see backup.Options
	NoContents bool   // leave out the contents of files that are not kept in their manifests
	Version    string // of the program
}

// Take writes a backup of a partition, and reports it: on standard output, or on standard error if standard output
// gets the backup.
func Take(ctx context.Context, s *console.Streams, c *config.Config, o TakeOptions) error {
	if o.File == "-" && s.IsTerminal(s.Out) {
		return console.UsageError("a backup is no text: redirect standard output, or name a FILE")
	}
	if isSameFile(o.File, o.Since) {
		return console.UsageError("the backup would replace its base, which is needed to restore it: name another FILE")
	}
	base, err := readBase(o.Since)
	if err != nil {
		return err
	}
	return withPartitions(s, c, func(ps partitions) error {
		p, err := ps.choose(ctx, o)
		if err != nil {
			return err
		}
		return ps.take(ctx, s, p, base, o)
	})
}

func (ps partitions) take(ctx context.Context, s *console.Streams, p partition.Partition, base *backup.Summary, o TakeOptions) error {
	progress := s.NewProgress("backup of "+p.Name(), -1, console.UnitEntries)
	defer func() { progress.Finish() }()
	options := backup.Options{Since: base, Incomplete: o.Incomplete, Version: o.Version, Progress: func(n int) { progress.Add(int64(n)) }}
	check := func() error { return nil }
	if !o.NoContents {
		found := ps.newContents(p)
		found.begin = func() {
			progress.Finish()
			progress = s.NewProgress("contents of files", -1, console.UnitBytes)
		}
		found.add = func(bytes int) { progress.Add(int64(bytes)) }
		options.Contents, check = found, found.check
	}
	if o.File == "-" {
		taken, err := backup.Write(ctx, p, s.Out, options)
		if err != nil {
			return orEnd(ctx, err)
		}
		return errors.Join(report(s.Err, "", taken), check())
	}
	taken, err := takeFile(ctx, p, o.File, options)
	if err != nil {
		return orEnd(ctx, err)
	}
	progress.Finish()
	return errors.Join(report(s.Out, "", taken), check())
}

// isSameFile reports whether two paths lead to the same file.
func isSameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// readBase reads both ends of the base of an incremental backup.
func readBase(file string) (*backup.Summary, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	base, err := backup.Peek(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &base, nil
}

// takeFile replaces a file by a backup as a whole.
func takeFile(ctx context.Context, p partition.Partition, file string, o backup.Options) (taken backup.Summary, err error) {
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var failure error
		taken, failure = backup.Write(ctx, p, w, o)
		w.CloseWithError(failure)
	}()
	err = console.ReplaceFile(file, r)
	r.CloseWithError(err)
	<-ended
	return taken, err
}

// choose returns the named partition, or the first replica, or else master, that holds everything.
func (ps partitions) choose(ctx context.Context, o TakeOptions) (partition.Partition, error) {
	if o.Partition != "" {
		p, err := ps.named(o.Partition)
		if err == nil {
			err = open(ctx, p)
		}
		return p, err
	}
	var errs []error
	for _, wantMaster := range []bool{false, true} {
		for _, p := range ps.all {
			if ps.hasMaster(p) != wantMaster {
				continue
			}
			err := open(ctx, p)
			if err == nil {
				err = backup.Examine(ctx, p, o.Incomplete)
			}
			if err == nil {
				return p, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", p.Name(), err))
		}
	}
	return nil, fmt.Errorf("no partition can be backed up:\n%w", errors.Join(errs...))
}

// open prepares a partition that has tables. Prepare alone would create the database and the tables, for example under a
// path with a slip.
func open(ctx context.Context, p partition.Partition) error {
	schema, err := p.Schema(ctx)
	if err == nil && schema.Version == 0 {
		err = fmt.Errorf("%w: %s has no tables of runnel", partition.ErrNotPrepared, p.Name())
	}
	if err != nil {
		return err
	}
	return p.Prepare(ctx)
}

// report describes the contents of a backup.
func report(w io.Writer, file string, s backup.Summary) error {
	kind := "full backup " + s.ID
	if s.Since != "" {
		kind = fmt.Sprintf("incremental backup %s since %s", s.ID, s.Since)
	}
	if file != "" {
		kind = file + ": " + kind
	}
	complete := "not complete for every master"
	if at, ok := s.CompleteAsOf(); ok {
		complete = "complete as of " + at.Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(w, "%s of %s, epoch %d, taken at %s, %s: %d entries, %d of them tombstones, %s of values\n", console.Line(kind), console.Line(s.Partition), s.Epoch,
		s.CreatedAt.Format(time.RFC3339), complete, s.Entries, s.Tombstones, humanize.IBytes(uint64(s.Bytes)))
	if err == nil && s.Contents {
		_, err = fmt.Fprintf(w, "  the contents of files: %d chunks, %s\n", s.Chunks, humanize.IBytes(uint64(s.ChunkBytes)))
	}
	for _, o := range s.Origins {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s up to revision %d\n", console.Line(string(o.Name)), o.Revision)
		}
	}
	return err
}
