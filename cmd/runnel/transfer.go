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

const importLong = `Store many entries.

A file, or - for standard input, is NDJSON as 'runnel export' writes it: an object on
each line with key, value or value_base64, and optionally content_type, metadata, ttl
or expires_at, and if_match or if_none_match. Expired entries are skipped. Lines are
rejected by the rules for operations of a batch.

A directory stores every file below it: the key is --prefix and the relative path
with slashes, the value is the content, and the media type is that of the extension
or of the first bytes. Symbolic links are not followed; links and special files are
skipped and counted. A file is not stored again if the key has its content and media
type, no expiry and no metadata. --delete then deletes the keys that begin with
--prefix and have no file, so that the keys mirror the directory. It asks first,
unless --yes is given, and keeps keys that change meanwhile.

If entries are rejected, the import continues, and the exit status is 1. At an
interrupt, or if the server is away for longer than --retry (1m by default), the
requests in flight are completed and the import stops. You can always import again:
the same keys get the same values. --resume FILE keeps the progress in FILE and
continues from there next time; FILE is removed at the end. With --session FILE
other commands with the same FILE see the imported entries.`

func newImport(p *program) *cobra.Command {
	var o transfer.ImportOptions
	var session string
	cmd := &cobra.Command{
		Use:   "import PATH|-",
		Short: "Store the entries of an NDJSON file, or the files of a directory",
		Long:  importLong,
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
	f.IntVarP(&o.Parallel, "parallel", "j", 8, "the number of concurrent requests")
	f.StringVar(&o.Checkpoint, "resume", "", "keep the progress in `FILE`, and continue from there")
	f.BoolVar(&o.Delete, "delete", false, "after a directory, delete the keys under --prefix that have no file")
	f.BoolVar(&o.Yes, "yes", false, "do not ask before deleting")
	f.BoolVar(&o.DryRun, "dry-run", false, "change nothing, and print the keys to store and delete")
	p.completePrefix(cmd)
	return cmd
}

const exportLong = `Write all entries, or the entries of the keys that begin with --prefix, as NDJSON in
the order of the keys, for 'runnel import'. Without FILE, or with -, write to
standard output.

Until the export is complete it grows as FILE.partial; then it replaces FILE. An
interrupted export continues with --resume behind the last whole line of
FILE.partial, if server and query are the same. After a lost connection the command
continues behind the last key.

An export is no snapshot: each entry is as the server read it at some time during
the export. Any partition may answer. With --consistency master the export has every
write from before its start, with --session FILE every write of commands with the
same FILE. --max-staleness 5s reads from a partition that is provably at most
5 seconds behind.`

func newExport(p *program) *cobra.Command {
	var o transfer.ExportOptions
	var read readFlags
	cmd := &cobra.Command{
		Use:   "export [FILE|-]",
		Short: "Write all entries as NDJSON",
		Long:  exportLong,
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
				return console.UsageError("--resume needs a FILE")
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
	f.BoolVar(&o.Resume, "resume", false, "continue an interrupted export")
	return cmd
}
