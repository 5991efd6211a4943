package files

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/transfer"
)

// transferRetry is how long a transfer waits for a server that went away, where --retry does not say otherwise.
const transferRetry = time.Minute

type putOptions struct {
	contentType string
	copies      int
	meta        map[string]string
	onlyNew     bool
}

func newPut(p Program) *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put FILE|- NAME",
		Short: "Store a file, and print its ETag",
		Long: `Store FILE under NAME and print the new ETag. With - the content is read from standard
input to its end, whatever its length.

A FILE is read twice: its SHA-256 is sent before the content, and the server compares
it before the new file becomes visible. After a lost connection a FILE is sent again;
standard input is not.`,
		Example: `  runnel file put cat.jpg photos/cat.jpg
  tar c . | runnel file put - backups/monday.tar
  runnel file put release.tar releases/1.2.tar --new --copies 3`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for name, text := range o.meta {
				if err := wire.CheckMetadata(name, text); err != nil {
					return console.UsageError("--meta %q: %v", name+"="+text, err)
				}
			}
			c, err := p.Client(client.Options{RetryFor: retryFor(cmd)})
			if err != nil {
				return err
			}
			return p.put(cmd.Context(), c, args[0], args[1], o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.contentType, "content-type", "t", "", "the media `TYPE` of the file")
	f.IntVar(&o.copies, "copies", 0, "let `N` partitions hold each piece (default that of the server)")
	f.StringToStringVar(&o.meta, "meta", nil, "metadata to store with the file, as `NAME=TEXT`; may be repeated")
	f.BoolVar(&o.onlyNew, "new", false, "store only if there is no such file")
	return cmd
}

// retryFor returns the longer time of transfers unless --retry is given; 0: that of --retry.
func retryFor(cmd *cobra.Command) time.Duration {
	if cmd.Flags().Changed("retry") {
		return 0
	}
	return transferRetry
}

func (p Program) put(ctx context.Context, c *client.Client, source, name string, o putOptions) error {
	options := client.FileOptions{ContentType: o.contentType, Metadata: o.meta, Copies: o.copies}
	if o.onlyNew {
		options.If.IfNoneMatch = "*"
	}
	if source == "-" {
		stdin := p.Input(ctx)
		defer stdin.Close()
		body := client.Body{Open: func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil }, Size: -1}
		return p.printStored(c.PutFile(ctx, name, body, options))
	}
	body, sum, err := p.fileBody(ctx, source)
	if err != nil {
		return err
	}
	if options.SHA256 = sum; options.ContentType == "" {
		options.ContentType = transfer.MediaType(source)
	}
	progress := p.NewProgress(name, body.Size, console.UnitBytes)
	defer progress.Finish()
	return p.printStored(c.PutFile(ctx, name, observed(body, progress), options))
}

func (p Program) printStored(stored client.PutResult, err error) error {
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.Out, stored.ETag); err != nil {
		return err
	}
	if stored.Incomplete {
		fmt.Fprintf(p.Err, "warning: %d partitions hold the manifest so far; the sync process copies it to the rest\n", stored.Copies)
	}
	return nil
}

// fileBody returns the content of a regular file and its SHA-256.
func (p Program) fileBody(ctx context.Context, path string) (client.Body, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return client.Body{}, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return client.Body{}, nil, err
	}
	if !info.Mode().IsRegular() {
		return client.Body{}, nil, fmt.Errorf("%s is not a regular file", path)
	}
	progress := p.NewProgress("reading "+path, info.Size(), console.UnitBytes)
	defer progress.Finish()
	sum, err := hashOf(ctx, f, progress)
	return client.Body{Open: func() (io.ReadCloser, error) { return os.Open(path) }, Size: info.Size()}, sum, err
}

// hashOf returns the SHA-256 of a reader's content.
func hashOf(ctx context.Context, r io.Reader, progress *console.Progress) ([]byte, error) {
	sum := sha256.New()
	buffer := make([]byte, 1<<20)
	for {
		n, err := r.Read(buffer)
		sum.Write(buffer[:n])
		progress.Add(int64(n))
		switch {
		case err == io.EOF:
			return sum.Sum(nil), nil
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

// observed counts the bytes of a body that are read.
func observed(body client.Body, progress *console.Progress) client.Body {
	open := body.Open
	body.Open = func() (io.ReadCloser, error) {
		r, err := open()
		return &observedReader{r, progress}, err
	}
	return body
}

type observedReader struct {
	io.ReadCloser
	progress *console.Progress
}

// Read implements io.Reader.
func (r *observedReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.progress.Add(int64(n))
	return n, err
}
