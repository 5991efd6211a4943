package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func newGet(p Program) *cobra.Command {
	var resume bool
	cmd := &cobra.Command{
		Use:   "get NAME [FILE|-]",
		Short: "Fetch a file",
		Long: `Fetch the file NAME into FILE, by default a file of the last part of its name in the
working directory; with - to standard output.

FILE grows as FILE.partial, and is replaced when the file is complete and its SHA-256
is that of the server. After a lost connection the command goes on where it stopped.
An interrupted download continues with --resume; if the file has changed meanwhile,
the download begins again.`,
		Example: `  runnel file get photos/cat.jpg
  runnel file get backups/monday.tar - | tar x
  runnel file get big.iso big.iso --resume`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := path.Base(args[0])
			if len(args) == 2 {
				target = args[1]
			}
			if target == "-" && resume {
				return console.UsageError("--resume needs a FILE")
			}
			c, err := p.Client(client.Options{RetryFor: retryFor(cmd)})
			if err != nil {
				return err
			}
			if target == "-" {
				return p.fetch(cmd.Context(), c, args[0], &download{out: p.Out})
			}
			return p.getFile(cmd.Context(), c, args[0], target, resume)
		},
	}
	cmd.Flags().BoolVar(&resume, "resume", false, "continue an interrupted download")
	return cmd
}

// download is the state of a download.
type download struct {
	out     io.Writer
	restart func() error // empties out, so that the download can begin again; nil if that is not possible
	written int64
	etag    string // of the file whose bytes were written
}

// errChanged: the file was replaced during the download.
var errChanged = errors.New("the file was replaced during the download; get it again")

// fetch receives a file, also over several connections, and compares its SHA-256.
func (p Program) fetch(ctx context.Context, c *client.Client, name string, d *download) error {
	hash := sha256.New()
	var want []byte
	if d.written > 0 { // bytes of an earlier command
		if err := hashFile(hash, d.out); err != nil {
			return err
		}
	}
	progress := (*console.Progress)(nil)
	for {
		f, err := c.OpenFile(ctx, name, d.written, d.etag, fromMaster)
		if err != nil {
			return err
		}
		if f.Offset != d.written || d.etag != "" && f.ETag != d.etag {
			if d.restart == nil {
				return errors.Join(errChanged, f.Close())
			}
			if err := d.restart(); err != nil {
				return errors.Join(err, f.Close())
			}
			hash.Reset()
			d.written = 0
			if f.Offset != 0 {
				d.etag = ""
				f.Close()
				continue
			}
		}
		if progress == nil {
			progress = p.NewProgress(name, f.Size, console.UnitBytes)
			defer progress.Finish()
			progress.Add(d.written)
		}
		d.etag, want = f.ETag, f.SHA256
		n, err := io.Copy(io.MultiWriter(d.out, hash, progressWriter{progress}), f)
		f.Close()
		d.written += n
		switch {
		case err == nil && want != nil && !bytes.Equal(hash.Sum(nil), want):
			return fmt.Errorf("%q has arrived with another SHA-256 than the server states", name)
		case err == nil:
			return nil
		}
		if _, cut := errors.AsType[*client.ConnectionError](err); !cut || n == 0 || ctx.Err() != nil {
			return err
		}
	}
}

// hashFile adds the content of a partial file to a hash.
func hashFile(hash io.Writer, out io.Writer) error {
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(hash, io.NewSectionReader(f, 0, info.Size()))
	return err
}

type progressWriter struct{ progress *console.Progress }

// Write implements io.Writer.
func (w progressWriter) Write(b []byte) (int, error) {
	w.progress.Add(int64(len(b)))
	return len(b), nil
}

// getFile receives a file into target.
func (p Program) getFile(ctx context.Context, c *client.Client, name, target string, resume bool) error {
	partial := target + ".partial"
	flags := os.O_RDWR | os.O_CREATE
	if !resume {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(partial, flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	d := &download{out: f, written: end, restart: func() error {
		_, err := f.Seek(0, io.SeekStart)
		return errors.Join(err, f.Truncate(0))
	}}
	err = p.fetch(ctx, c, name, d)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == 416 && end > 0 { // the partial file is as long as the file, or longer
		if err = d.restart(); err == nil {
			d.written, d.etag = 0, ""
			err = p.fetch(ctx, c, name, d)
		}
	}
	if errors.Is(err, client.ErrNotFound) && d.written == 0 {
		return errors.Join(err, os.Remove(partial))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return err
	}
	return os.Rename(partial, filepath.Clean(target))
}
