package main

import (
	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/transfer"
)

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
			if err := read.check(cmd); err != nil {
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
	read.defineList(cmd)
	f.BoolVar(&o.Resume, "resume", false, "go on with what an interrupted export has left")
	return cmd
}
