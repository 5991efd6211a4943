package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/transfer"
)

// importRetry is how long an import waits for a server that went away, where --retry does not say otherwise: longer
// than a restart takes.
const importRetry = time.Minute

func newImport(p *program) *cobra.Command {
	var o transfer.ImportOptions
	var session string
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
			if err := o.Validate(); err != nil {
				return err
			}
			c, err := p.client(session, client.Options{FinishWrites: true})
			if err != nil {
				return err
			}
			o.Source = args[0]
			return transfer.Import(cmd.Context(), &p.Streams, c, o)
		},
	}
	f := cmd.Flags()
	sessionFlag(f, &session)
	f.StringVar(&o.Prefix, "prefix", "", "put `PREFIX` before each key")
	f.IntVarP(&o.Parallel, "parallel", "j", 8, "how many requests to make at a time")
	f.StringVar(&o.Checkpoint, "resume", "", "keep the progress in `FILE`, and go on from what it says")
	f.BoolVar(&o.Delete, "delete", false, "after a directory, delete the keys under --prefix that have no file")
	f.BoolVar(&o.Yes, "yes", false, "do not ask before deleting")
	f.BoolVar(&o.DryRun, "dry-run", false, "change nothing, and print what would be stored and deleted")
	p.completePrefix(cmd)
	return cmd
}

func newExport(p *program) *cobra.Command {
	var o transfer.ExportOptions
	var read readFlags
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
			if err := read.validate(cmd); err != nil {
				return err
			}
			if len(args) == 1 && args[0] != "-" {
				o.File = args[0]
			}
			if o.Resume && o.File == "" {
				return console.UsageError("--resume goes on with a file, and none is given")
			}
			if !cmd.Flags().Changed("retry") {
				p.flags.retry = importRetry
			}
			c, err := p.client(read.session, client.Options{})
			if err != nil {
				return err
			}
			o.Read = read.options()
			return transfer.Export(cmd.Context(), &p.Streams, c, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Prefix, "prefix", "", "only the keys that begin with `PREFIX`")
	p.completePrefix(cmd)
	read.addToList(cmd)
	f.BoolVar(&o.Resume, "resume", false, "go on with what an interrupted export has left")
	return cmd
}
