package files

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/transfer"
)

type mirrorOptions struct {
	down, delete, yes, dryRun bool
	parallel, copies          int
}

func newMirror(p Program) *cobra.Command {
	var o mirrorOptions
	cmd := &cobra.Command{
		Use:   "mirror DIR [PREFIX]",
		Short: "Make the files of the server those of a directory, or the other way round",
		Long: `Store every regular file below DIR under PREFIX and its relative path with slashes. With
--down, write every file of the server whose name begins with PREFIX below DIR.

A file that has the same size and SHA-256 on both sides is not moved, so a mirror that
was interrupted goes on where it stopped. Symbolic links and special files are skipped
and counted. --delete then deletes the files of the target that the source does not
have. It asks first, unless --yes is given.`,
		Example: `  runnel file mirror ./site www/
  runnel file mirror ./site www/ --delete --yes --parallel 16
  runnel file mirror ./restore www/ --down`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 2 {
				prefix = args[1]
			}
			if o.parallel < 1 || o.parallel > 256 {
				return console.UsageError("--parallel is a number from 1 to 256, not %d", o.parallel)
			}
			if o.delete && !o.yes && !o.dryRun && !p.IsTerminal(p.In) {
				return console.UsageError("--delete needs a confirmation, and standard input is no terminal: add --yes")
			}
			c, err := p.Client(client.Options{RetryFor: retryFor(cmd)})
			if err != nil {
				return err
			}
			m := &mirror{Program: p, c: c, dir: args[0], prefix: prefix, o: o}
			return m.mirror(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.down, "down", false, "from the server to DIR")
	f.BoolVar(&o.delete, "delete", false, "delete the files of the target that the source does not have")
	f.BoolVar(&o.yes, "yes", false, "do not ask before deleting")
	f.BoolVar(&o.dryRun, "dry-run", false, "change nothing, and print the files to store and delete")
	f.IntVarP(&o.parallel, "parallel", "j", 4, "the number of files that are moved at the same time")
	f.IntVar(&o.copies, "copies", 0, "let `N` partitions hold each piece (default that of the server)")
	return cmd
}

// mirror is a run of the command.
type mirror struct {
	Program
	c           *client.Client
	dir, prefix string
	o           mirrorOptions

	moved, same, skipped, bytes atomic.Int64
}

// mirror lists both sides, moves the files that differ, and deletes the rest.
func (m *mirror) mirror(ctx context.Context) error {
	remote := map[string]client.File{} // by relative path
	for f, err := range m.c.ListFiles(ctx, m.prefix, "", fromMaster) {
		if err != nil {
			return fmt.Errorf("list the files of the server: %w", err)
		}
		remote[strings.TrimPrefix(string(f.Path), m.prefix)] = f
	}
	if m.o.down && !m.o.dryRun {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	local, err := m.localFiles(root)
	if err != nil {
		return err
	}
	if m.o.down {
		err = m.moveAll(ctx, sortedKeys(remote), func(name string) error { return m.download(ctx, root, name, remote[name], local) })
	} else {
		err = m.moveAll(ctx, sortedKeys(local), func(name string) error { return m.upload(ctx, root, name, remote) })
	}
	if err == nil && m.o.delete {
		err = m.deleteRest(ctx, root, local, remote)
	}
	fmt.Fprintf(m.Err, "moved %d files (%d bytes), %d were the same, skipped %d\n", m.moved.Load(), m.bytes.Load(), m.same.Load(), m.skipped.Load())
	return err
}

// localFiles returns the sizes of the regular files below the directory.
func (m *mirror) localFiles(root *os.Root) (map[string]int64, error) {
	found := map[string]int64{}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || strings.HasSuffix(name, ".partial") && m.o.down:
		case !d.Type().IsRegular():
			m.skipped.Add(1)
		default:
			info, err := d.Info()
			if err != nil {
				return err
			}
			found[name] = info.Size()
		}
		return nil
	})
	return found, err
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// moveAll moves files side by side, until the first error.
func (m *mirror) moveAll(ctx context.Context, names []string, move func(string) error) error {
	progress := m.NewProgress("files", int64(len(names)), console.UnitFiles)
	defer progress.Finish()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(m.o.parallel)
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			defer progress.Add(1)
			return move(name)
		})
	}
	return group.Wait()
}

// upload stores a file unless the server has it.
func (m *mirror) upload(ctx context.Context, root *os.Root, name string, remote map[string]client.File) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum, err := hashOf(ctx, f, &console.Progress{})
	if err != nil {
		return err
	}
	if there, found := remote[name]; found && there.Size == info.Size() && there.SHA256 == hex.EncodeToString(sum) {
		m.same.Add(1)
		return nil
	}
	if m.o.dryRun {
		_, err := fmt.Fprintf(m.Out, "store %s\n", m.Name(m.prefix+name))
		return err
	}
	body := client.Body{Open: func() (io.ReadCloser, error) { return root.Open(name) }, Size: info.Size()}
	_, err = m.c.PutFile(ctx, m.prefix+name, body, client.FileOptions{ContentType: transfer.MediaType(filepath.Join(m.dir, name)), Copies: m.o.copies, SHA256: sum})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.moved.Add(1)
	m.bytes.Add(info.Size())
	return nil
}

// download writes a file unless the directory has it. Names that lead out of the directory are refused by os.Root.
func (m *mirror) download(ctx context.Context, root *os.Root, name string, f client.File, local map[string]int64) error {
	if name == "" || !fs.ValidPath(name) {
		m.skipped.Add(1)
		fmt.Fprintf(m.Err, "warning: skipped %q: no path of a file below %s\n", string(f.Path), console.Line(m.dir))
		return nil
	}
	if size, found := local[name]; found && size == f.Size && f.SHA256 != "" {
		same, err := m.isSame(ctx, root, name, f.SHA256)
		if err != nil || same {
			m.same.Add(1)
			return err
		}
	}
	if m.o.dryRun {
		_, err := fmt.Fprintf(m.Out, "write %s\n", m.Name(name))
		return err
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	partial := name + ".partial"
	out, err := root.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	d := &download{out: out, restart: func() error {
		_, err := out.Seek(0, io.SeekStart)
		return errors.Join(err, out.Truncate(0))
	}}
	quiet := m.Program
	err = errors.Join(quiet.fetch(ctx, m.c, string(f.Path), d), out.Sync(), out.Close())
	if err == nil {
		err = root.Rename(partial, name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.moved.Add(1)
	m.bytes.Add(d.written)
	return nil
}

// isSame reports whether a file of the directory has a SHA-256.
func (m *mirror) isSame(ctx context.Context, root *os.Root, name, sha256 string) (bool, error) {
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum, err := hashOf(ctx, f, &console.Progress{})
	want, _ := hex.DecodeString(sha256)
	return bytes.Equal(sum, want), err
}

// deleteRest deletes the files of the target that the source does not have.
func (m *mirror) deleteRest(ctx context.Context, root *os.Root, local map[string]int64, remote map[string]client.File) error {
	var names []string
	if m.o.down {
		for _, name := range sortedKeys(local) {
			if _, found := remote[name]; !found {
				names = append(names, name)
			}
		}
	} else {
		for _, name := range sortedKeys(remote) {
			if _, found := local[name]; !found {
				names = append(names, name)
			}
		}
	}
	if m.o.dryRun {
		for _, name := range names {
			fmt.Fprintf(m.Out, "delete %s\n", m.Name(name))
		}
		return nil
	}
	if len(names) == 0 {
		return nil
	}
	if !m.o.yes && !m.ConfirmKeys(names, fmt.Sprintf("delete these %d files, which the source does not have?", len(names))) {
		return fmt.Errorf("%d files that the source does not have were kept", len(names))
	}
	for _, name := range names {
		var err error
		if m.o.down {
			err = root.Remove(name)
		} else {
			err = m.c.DeleteFile(ctx, m.prefix+name, client.Conditions{IfMatch: remote[name].ETag})
		}
		if err != nil && !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrPreconditionFailed) {
			return fmt.Errorf("delete %q: %w", name, err)
		}
	}
	fmt.Fprintf(m.Err, "deleted %d files that the source does not have\n", len(names))
	return nil
}
