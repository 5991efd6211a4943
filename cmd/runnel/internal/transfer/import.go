package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// ImportOptions describe an import.
type ImportOptions struct {
	Source     string // a file of NDJSON, a directory, or "-" for standard input
	Prefix     string // put before every key
	Parallel   int    // requests at a time
	Checkpoint string // a file that keeps the progress; empty for none
	Delete     bool   // after a directory: delete the keys under Prefix that have no file
	Yes        bool   // do not ask before deleting
	DryRun     bool   // change nothing
}

// Validate returns a usage error for options that contradict each other.
func (o *ImportOptions) Validate() error {
	if o.DryRun && o.Checkpoint != "" {
		return console.UsageError("--dry-run and --resume exclude each other: a dry run stores nothing")
	}
	if o.Parallel < 1 || o.Parallel > client.MaxConnections {
		return console.UsageError("--parallel %d is not within 1 and %d", o.Parallel, client.MaxConnections)
	}
	return nil
}

// importer is a running import.
type importer struct {
	*console.Streams
	c          *client.Client
	o          ImportOptions
	checkpoint *checkpoint
}

// Import stores the entries of o.Source and reports on standard error. Import returns nil only if all
// entries are stored.
func Import(ctx context.Context, streams *console.Streams, c *client.Client, o ImportOptions) error {
	m := &importer{Streams: streams, c: c, o: o}
	m.checkpoint = &checkpoint{file: o.Checkpoint, state: checkpointState{Source: o.Source, Server: c.Server(), Prefix: o.Prefix}, now: streams.Now}
	isDir := false
	if o.Source != "-" {
		path, err := filepath.Abs(o.Source)
		if err != nil {
			return err
		}
		m.checkpoint.state.Source = path
	}
	if err := m.checkpoint.restore(); err != nil {
		return err
	}
	if o.Source != "-" {
		info, err := os.Stat(o.Source)
		if err != nil {
			return err
		}
		isDir = info.IsDir()
	}
	switch {
	case isDir:
		return m.importTree(ctx)
	case o.Delete:
		return console.UsageError("--delete mirrors a directory, and %s is none", o.Source)
	}
	return m.importLines(ctx)
}

// storeAll stores every item of src and reports the result.
func (m *importer) storeAll(ctx context.Context, src source) error {
	cp := m.checkpoint
	total, unit := src.total()
	t := &transfer{
		c: m.c, o: m.o, streams: m.Streams, checkpoint: cp,
		progress: m.NewProgress("import", total, unit), began: m.Now(),
	}
	err := t.storeItems(ctx, src)
	t.progress.Finish()
	err = errors.Join(err, cp.save())
	t.printReport(m.Err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s", cp.howToResume())
	case errors.Is(err, errNotEntries):
		return err
	case err != nil:
		return fmt.Errorf("%w; %s", err, cp.howToResume())
	case t.failed > 0:
		how := "correct them and import again (entries that are stored already stay the same)"
		if cp.file != "" {
			how = "correct them and " + cp.howToResume()
		}
		return fmt.Errorf("%d entries were not stored; %s", t.failed, how)
	}
	return nil
}

// source yields the entries of a file or a tree.
type source interface {
	// items yields the entries in order. An error ends the sequence.
	items(ctx context.Context) iter.Seq2[item, error]
	// total returns the number of units of progress, -1 if unknown, and the name of the unit.
	total() (n int64, unit string)
}

// item is an entry of a source.
type item struct {
	where  string                 // for messages: a line number or a file name
	load   func() (loaded, error) // reads the entry; called once, by any goroutine
	weight int64                  // bytes of memory that the item holds
	units  int64                  // of progress
	after  position               // position in the source behind the item
}

// loaded is an entry about to be stored.
type loaded struct {
	key     string
	body    client.Body
	inline  []byte // the same bytes, if they are in memory; otherwise nil
	put     client.PutOptions
	expired bool // the entry has expired, or the line is empty
	same    bool // the key holds the value already
}

// done reports whether there is nothing to store.
func (e *loaded) done() bool { return e.expired || e.same }

// batchable reports whether the entry may be part of a batch, which is repeated as a whole.
func (e *loaded) batchable() bool {
	return !e.done() && e.inline != nil && e.put.If == client.Conditions{}
}
