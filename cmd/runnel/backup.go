package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/archive"
)

const backupLong = `Write everything that a partition holds at one moment to FILE, or with - to standard output: its positions and all
entries, tombstones included. The partition is opened directly; servers and sync processes go on meanwhile. FILE is
replaced as a whole after the backup is complete.

Without --partition the first replica that holds everything is backed up, or else the first such master. A partition
that is being filled or amid a catch-up is refused, unless --incomplete is given.

The contents of files are read from whichever partition has them; --without-contents leaves them out.

With --since the backup holds only what has changed since an earlier backup, its base. To restore it, the base is needed
too. If deletions since the base have been collected, take a full backup.

'runnel restore' restores backups.`

func newBackup(p *program) *cobra.Command {
	var f configFlags
	var o archive.TakeOptions
	cmd := &cobra.Command{
		Use:   "backup FILE|-",
		Short: "Back up a partition, or check backups",
		Long:  backupLong,
		Example: `  runnel backup --config /etc/runnel.toml monday.backup
  runnel backup --config /etc/runnel.toml --since monday.backup tuesday.backup
  runnel backup verify monday.backup tuesday.backup`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.File, o.Version = args[0], buildVersion().Version
			c, err := f.readExisting()
			if err != nil {
				return err
			}
			return archive.Take(cmd.Context(), &p.Streams, c, o)
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&o.Partition, "partition", "", "the `NAME` of the partition")
	cmd.Flags().StringVar(&o.Since, "since", "", "back up only the changes since the backup in `FILE`")
	cmd.Flags().BoolVar(&o.Incomplete, "incomplete", false, "accept a partition that is being filled or amid a catch-up")
	cmd.Flags().BoolVar(&o.NoContents, "without-contents", false, "leave out the contents of files of more than 64 KiB")
	cmd.AddCommand(newBackupVerify(p))
	return cmd
}

func newBackupVerify(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE...",
		Short: "Check backups to their ends",
		Long: `Read backups to their ends, or standard input with -, compare every checksum, and print what they hold. A backup that
is damaged or cut off is reported with the place.

Exit status: 0 every backup is whole; 1 some backup is not.`,
		Example: "  runnel backup verify monday.backup",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return archive.Verify(cmd.Context(), &p.Streams, args)
		},
	}
}

// restoreFiles restores backups, and begins a new epoch if everything was restored.
func (p *program) restoreFiles(ctx context.Context, f configFlags, o archive.RestoreOptions) error {
	c, err := f.readConfig()
	if err != nil {
		return err
	}
	if err := archive.Restore(ctx, &p.Streams, c, o); err != nil || !o.NewCluster {
		return err
	}
	return p.beginEpoch(ctx, f)
}
