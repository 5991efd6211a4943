package files

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// Program is the part of the program that the commands use.
type Program struct {
	*console.Streams
	// Client returns a client for the server that the flags name.
	Client func(o client.Options) (*client.Client, error)
}

// fromMaster reads the latest state.
var fromMaster = client.ReadOptions{Consistency: client.Master}

// New returns the command 'runnel file'.
func New(p Program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "file",
		Short: "Store, fetch, list and mirror files of any size",
		Long: `Store, fetch, list, copy, delete, verify and mirror files.

A file has any size and is sent and received in pieces, with its SHA-256. A name
with slashes is a file in directories, which need not be made. On exit status 0 an
upload is durable, and a download is byte for byte the file that was stored.`,
	}
	cmd.AddCommand(newPut(p), newGet(p), newList(p), newDelete(p), newCopy(p), newVerify(p), newMirror(p))
	return cmd
}

func newList(p Program) *cobra.Command {
	var recursive, asJSON bool
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List files",
		Long: `List the files whose names begin with PREFIX, each with its size, the time of its last
change and its name. Directories end in a slash; --recursive lists every file below
them. With --json each line is an object with all that the server knows.`,
		Example: "  runnel file list\n  runnel file list photos/ --recursive",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix, delimiter := "", "/"
			if len(args) == 1 {
				prefix = args[0]
			}
			if recursive {
				delimiter = ""
			}
			c, err := p.Client(client.Options{})
			if err != nil {
				return err
			}
			for f, err := range c.ListFiles(cmd.Context(), prefix, delimiter, fromMaster) {
				if err == nil {
					err = p.printFile(f, asJSON)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "list the files of directories too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each line")
	return cmd
}

// printFile prints a line of a list.
func (p Program) printFile(f client.File, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(p.Out)
		e.SetEscapeHTML(false)
		if f.IsPrefix {
			return e.Encode(map[string]string{"prefix": string(f.Path)})
		}
		return e.Encode(f.File)
	}
	if f.IsPrefix {
		_, err := fmt.Fprintf(p.Out, "%10s  %20s  %s\n", "", "", p.Name(string(f.Path)))
		return err
	}
	_, err := fmt.Fprintf(p.Out, "%10s  %s  %s\n", humanize.IBytes(uint64(f.Size)), f.ModifiedAt.UTC().Format("2006-01-02T15:04:05Z"), p.Name(string(f.Path)))
	return err
}

func newDelete(p Program) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a file",
		Long:    "Delete a file. The server frees its space after the grace time (files.grace).",
		Example: "  runnel file delete photos/cat.jpg",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.Client(client.Options{})
			if err != nil {
				return err
			}
			return c.DeleteFile(cmd.Context(), args[0], client.Conditions{})
		},
	}
}

func newCopy(p Program) *cobra.Command {
	var copies int
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Store a file under another name, without moving its content",
		Long: `Store the file FROM under the name TO too, and print the new ETag. The server moves no
content, so a large file is copied at once.`,
		Example: "  runnel file copy build/latest.tar releases/1.2.tar",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.Client(client.Options{})
			if err != nil {
				return err
			}
			stored, err := c.CopyFile(cmd.Context(), args[0], args[1], client.FileOptions{Copies: copies})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.Out, stored.ETag)
			return err
		},
	}
	cmd.Flags().IntVar(&copies, "copies", 0, "let `N` partitions hold each piece (default that of the server)")
	return cmd
}

func newVerify(p Program) *cobra.Command {
	return &cobra.Command{
		Use:   "verify NAME...",
		Short: "Read every copy of files, and restore damaged and missing copies",
		Long: `Make the server read every copy of each file and compare it with its checksum. Damaged
and missing copies are restored from undamaged copies. The exit status is 1 if a
piece has no undamaged copy, or copies could not be restored.`,
		Example: "  runnel file verify photos/cat.jpg",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.Client(client.Options{})
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range args {
				v, err := c.VerifyFile(cmd.Context(), name)
				if err != nil {
					failures = append(failures, err)
					continue
				}
				fmt.Fprintf(p.Out, "%s: %d pieces, %d undamaged copies, %d damaged, %d missing, %d restored, %d lost\n",
					p.Name(name), v.Chunks, v.Whole, v.Damaged, v.Missing, v.Repaired, len(v.Lost))
				if !v.Clean {
					failures = append(failures, fmt.Errorf("%q is not whole", name))
				}
				if len(v.Away) > 0 {
					fmt.Fprintf(p.Err, "warning: not asked, because they do not answer: %s\n", console.Line(fmt.Sprint(v.Away)))
				}
			}
			return errors.Join(failures...)
		},
	}
}
