package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
)

// Verify reads backups to their ends and describes their contents. Each faulty backup is reported as well.
func Verify(ctx context.Context, s *console.Streams, files []string) error {
	failed := false
	for _, file := range files {
		summary, err := verifyFile(ctx, s, file)
		if err == nil {
			err = report(s.Out, file, summary)
		} else {
			_, err = fmt.Fprintf(s.Err, "%s: %s\n", console.Line(file), console.Line(err.Error()))
			failed = true
		}
		if err != nil {
			return err
		}
	}
	if failed {
		return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
	}
	return nil
}

func verifyFile(ctx context.Context, s *console.Streams, file string) (backup.Summary, error) {
	r, err := openFile(ctx, s, file)
	if err != nil {
		return backup.Summary{}, err
	}
	defer r.Close()
	progress := s.NewProgress("check of "+console.Line(file), -1, console.UnitEntries)
	defer progress.Finish()
	summary, err := backup.Check(r, func(n int) { progress.Add(int64(n)) })
	return summary, orEnd(ctx, err)
}

var errInterrupted = errors.New("interrupted")

// orEnd returns errInterrupted in place of an error that the end of ctx has caused.
func orEnd(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// openFile opens a file, or standard input. Reading ends with ctx.
func openFile(ctx context.Context, s *console.Streams, file string) (io.ReadCloser, error) {
	if file == "-" {
		return s.Input(ctx), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { f.Close() })
	return f, nil
}

// RestoreOptions describe a restore.
type RestoreOptions struct {
	Files      []string // a chain of backups; "-" alone is standard input
	Partition  string   // the target
	NewCluster bool     // in place of Partition: all masters, while all partitions are empty
}

// Restore copies a chain of backups to partitions. Files are checked to their ends before anything is changed, and before
// databases are created. With NewCluster, store.Restore must follow.
func Restore(ctx context.Context, s *console.Streams, c *config.Config, o RestoreOptions) error {
	return withPartitions(s, c, func(ps partitions) error {
		targets, err := ps.targets(o)
		if err != nil {
			return err
		}
		isStream := slices.Contains(o.Files, "-")
		if isStream && len(o.Files)+len(targets) > 2 {
			return console.UsageError("standard input can be restored only once, and alone: name a FILE")
		}
		total := int64(-1)
		if !isStream {
			if total, err = checkFiles(ctx, s, ps.masters, o.Files); err != nil {
				return err
			}
		}
		if err := ps.prepare(ctx, o, targets); err != nil {
			return err
		}
		for _, p := range targets {
			if err := restoreTo(ctx, s, p, ps.masters, o.Files, total); err != nil {
				return fmt.Errorf("restore to %s: %w", p.Name(), err)
			}
		}
		return nil
	})
}

// targets returns the partition that the options name, or all masters.
func (ps partitions) targets(o RestoreOptions) (targets []partition.Partition, err error) {
	if !o.NewCluster {
		p, err := ps.named(o.Partition)
		return []partition.Partition{p}, err
	}
	for _, p := range ps.all {
		if ps.hasMaster(p) {
			targets = append(targets, p)
		}
	}
	return targets, nil
}

// prepare prepares the targets. With NewCluster every other partition must be empty too: its data would have a later
// time, and a master would take it back.
func (ps partitions) prepare(ctx context.Context, o RestoreOptions, targets []partition.Partition) error {
	if !o.NewCluster {
		return targets[0].Prepare(ctx)
	}
	for _, p := range ps.all {
		if err := p.Prepare(ctx); err != nil {
			return err
		}
		row, err := p.Cluster(ctx)
		switch {
		case ps.hasMaster(p): // backup.Restore examines it
		case err == nil:
			return fmt.Errorf("%w: %s belongs to cluster %s; a new cluster is restored only if every partition is empty. To keep the data of the others, restore single partitions",
				backup.ErrNotEmpty, p.Name(), row.ID)
		case !errors.Is(err, partition.ErrNoCluster):
			return err
		}
	}
	return nil
}

// checkFiles reads the files to their ends and returns the number of their entries.
func checkFiles(ctx context.Context, s *console.Streams, masters, files []string) (total int64, err error) {
	var headers []*backup.Header
	for _, file := range files {
		summary, err := verifyFile(ctx, s, file)
		if err == nil {
			err = checkMasters(&summary.Header, masters)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		headers = append(headers, &summary.Header)
		total += summary.Entries
	}
	return total, backup.CheckChain(headers)
}

// checkMasters rejects a backup unless its masters are those of the configuration.
func checkMasters(h *backup.Header, masters []string) error {
	if slices.Equal(slices.Sorted(slices.Values(h.Masters)), slices.Sorted(slices.Values(masters))) {
		return nil
	}
	return fmt.Errorf("the masters of the backup are %s, and those of the configuration %s", strings.Join(h.Masters, ", "), strings.Join(masters, ", "))
}

// restoreTo restores a chain to a partition and reports the result.
func restoreTo(ctx context.Context, s *console.Streams, p partition.Partition, masters, files []string, total int64) error {
	var chain []*backup.Reader
	for _, file := range files {
		f, err := openFile(ctx, s, file)
		if err != nil {
			return err
		}
		defer f.Close()
		r, err := backup.NewReader(f)
		if err == nil {
			defer r.Close()
			err = checkMasters(&r.Header, masters)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, repeatable(ctx, err))
		}
		chain = append(chain, r)
	}
	progress := s.NewProgress("restore to "+p.Name(), total, console.UnitEntries)
	defer progress.Finish()
	done, err := backup.Restore(ctx, p, chain, func(n int) { progress.Add(int64(n)) })
	if err != nil {
		return repeatable(ctx, err)
	}
	progress.Finish()
	return reportRestored(s, p.Name(), done)
}

// repeatable says of an interrupted restore, and of one that lost its database, that the command can be repeated.
func repeatable(ctx context.Context, err error) error {
	if err = orEnd(ctx, err); errors.Is(err, errInterrupted) || errors.Is(err, partition.ErrUnavailable) {
		return fmt.Errorf("%w; repeat the command to continue", err)
	}
	return err
}

func reportRestored(s *console.Streams, name string, done backup.Restored) error {
	how, next := "restored", "it catches up with its masters from there"
	if done.Continued {
		how = "an earlier restore was completed"
	}
	if done.IsMaster {
		next = "a new epoch must begin before it is used"
	}
	_, err := fmt.Fprintf(s.Out, "%s: %s, %d entries of backup %s; %s\n", name, how, done.Entries, console.Line(done.ID), next)
	return err
}
