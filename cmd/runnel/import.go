package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
)

type importOptions struct {
	prefix   string
	parallel int
	resume   string
	delete   bool
	yes      bool
	dryRun   bool
	session  string
}

// importRetry is how long an import waits for a server that went away, where --retry does not say otherwise: longer
// than a restart takes.
const importRetry = time.Minute

func newImport(p *program) *cobra.Command {
	o := importOptions{}
	cmd := &cobra.Command{
		Use:   "import PATH|-",
		Short: "Store the entries of an NDJSON file, or the files of a directory",
		Long: `Store many entries at once.

If PATH is a file, or - for standard input, it is NDJSON as 'runnel export' writes
it: an object a line with key, value or value_base64, and if wanted content_type,
metadata, ttl or expires_at, and if_match or if_none_match. An entry that has
expired is left out. What a batch of the server would refuse is refused.

If PATH is a directory, every file below it becomes an entry: the key is --prefix
and the path relative to PATH with slashes, the value its content, the media type
by its extension or else its first bytes. Symbolic links are not followed; they
and special files are skipped and counted. With --delete, keys that begin with
--prefix and have no file are deleted afterwards, so that the keys mirror the
tree: it asks first, unless --yes. A key changed meanwhile is left alone. A file
whose content and media type the key has already, with no expiry and metadata, is not
stored again.

An entry that is refused is reported, the others go on, and the exit status is 1.
If the server goes away for longer than --retry (here 1m by default), or at an
interrupt, what is in flight is finished and the import stops. Importing again is
harmless: the same key gets the same value. With --resume FILE the import keeps in
FILE how far everything has been stored, and goes on from there the next time; the
file is removed at the end. With --session FILE other commands with that file see
what was imported.`,
		Example: `  runnel import backup.ndjson
  runnel export - | runnel import - --server http://other:8080
  runnel import ./site --prefix site/ --delete --yes
  runnel import big.ndjson --resume big.checkpoint --parallel 64`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("retry") {
				p.flags.retry = importRetry
			}
			return p.runImport(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	sessionFlag(f, &o.session)
	f.StringVar(&o.prefix, "prefix", "", "put `PREFIX` before each key")
	f.IntVarP(&o.parallel, "parallel", "j", 8, "how many requests to make at a time")
	f.StringVar(&o.resume, "resume", "", "keep the progress in `FILE`, and go on from what it says")
	f.BoolVar(&o.delete, "delete", false, "after a directory, delete the keys under --prefix that have no file")
	f.BoolVar(&o.yes, "yes", false, "do not ask before deleting")
	f.BoolVar(&o.dryRun, "dry-run", false, "change nothing, and print what would be stored and deleted")
	p.completePrefix(cmd)
	return cmd
}

// importSource is where entries come from.
type importSource interface {
	// items yields the entries in the source's order. An error ends it.
	items(ctx context.Context) iter.Seq2[item, error]
	// total is how many units of progress there are, -1 if that is unknown; unit names them.
	total() (n int64, unit string)
}

// item is one entry of a source.
type item struct {
	where  string                 // for messages: a line number or a file name
	load   func() (loaded, error) // reads it; called once, by any goroutine
	weight int64                  // bytes of memory it holds
	units  int64                  // of progress
	after  mark                   // how far the source has been read with it
}

// loaded is an entry about to be stored.
type loaded struct {
	key     string
	value   value
	put     client.PutOptions
	expired bool // there is nothing to store any more
	same    bool // nor is there, as it is stored already
}

// done reports whether there is nothing to store.
func (e *loaded) done() bool { return e.expired || e.same }

// batchable reports whether the entry may travel with others, which are repeated together.
func (e *loaded) batchable() bool {
	return !e.done() && e.value.whole != nil && e.put.If == client.Conditions{}
}

func (p *program) runImport(ctx context.Context, path string, o importOptions) error {
	if o.dryRun && o.resume != "" {
		return usageError("either --dry-run or --resume: nothing is stored that could be gone on from")
	}
	if o.parallel < 1 || o.parallel > client.MaxConnections {
		return usageError("--parallel %d is not within 1 and %d", o.parallel, client.MaxConnections)
	}
	c, err := p.client(o.session, client.Options{FinishWrites: true})
	if err != nil {
		return err
	}
	cp := &checkpoint{file: o.resume, state: checkpointState{Source: path, Server: c.Server(), Prefix: o.prefix}, now: p.now}
	if path != "-" {
		if cp.state.Source, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	if err := cp.load(); err != nil {
		return err
	}
	if path != "-" {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return p.importTree(ctx, c, path, cp, o)
		}
	}
	if o.delete {
		return usageError("--delete mirrors a directory, and %s is none", path)
	}
	return p.importLines(ctx, c, path, cp, o)
}

// transfer stores every item of src and reports what came of it: nil only if all of it is stored.
func (p *program) transfer(ctx context.Context, c *client.Client, src importSource, cp *checkpoint, o importOptions) error {
	total, unit := src.total()
	t := &transfer{
		c: c, o: o, out: p.shown(), now: p.now, checkpoint: cp,
		progress: p.newProgress("import", total, unit), began: p.now(),
	}
	err := t.run(ctx, src)
	t.progress.finish()
	err = errors.Join(err, cp.save())
	t.report(p.stderr)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s", cp.howToResume())
	case errors.Is(err, errNotEntries):
		return err
	case err != nil:
		return fmt.Errorf("%w; %s", err, cp.howToResume())
	case t.failed > 0:
		how := "mend them and import again (what is stored already is stored the same)"
		if cp.file != "" {
			how = "mend them and " + cp.howToResume()
		}
		return fmt.Errorf("%d entries were not stored; %s", t.failed, how)
	}
	return nil
}
