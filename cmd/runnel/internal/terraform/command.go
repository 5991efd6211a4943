package terraform

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// command holds the parts that the commands share.
type command struct {
	*console.Streams
	connect func() (*client.Client, error)
}

// New returns the command terraform. connect returns a client of the server.
func New(s *console.Streams, connect func() (*client.Client, error)) *cobra.Command {
	c := &command{s, connect}
	root := &cobra.Command{
		Use:   "terraform",
		Short: "List states of Terraform and OpenTofu, show old versions, end locks",
		Long: `Look after the states that Terraform and OpenTofu keep in the server, by their backend
"http" with the address /v1/terraform/NAME.`,
		Example: "  runnel terraform list\n  runnel terraform history prod/network",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return console.UsageError("runnel terraform has no command %q; see 'runnel terraform --help'", args[0])
			}
			return cmd.Help()
		},
	}
	root.AddCommand(c.newList(), c.newHistory(), c.newForceUnlock())
	return root
}

func (c *command) newList() *cobra.Command {
	return &cobra.Command{
		Use:     "list [PREFIX]",
		Short:   "List the states",
		Long:    "Print a line for each state that begins with PREFIX: name, serial, bytes, time of storage, and the number of kept versions.",
		Example: "  runnel terraform list prod/",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := c.connect()
			if err != nil {
				return err
			}
			for s, err := range server.ListStates(cmd.Context(), append(args, "")[0]) {
				if err != nil {
					return err
				}
				v := &s.Present
				if err := c.printLine(console.Line(string(s.Name)), v.Serial, v.Size, v.StoredAt.Format(time.RFC3339), s.Kept); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (c *command) newHistory() *cobra.Command {
	return &cobra.Command{
		Use:   "history NAME [VERSION]",
		Short: "List the kept versions of a state, or print an old version",
		Long: `Print a line for each kept version of the state NAME, the newest first: version, serial,
bytes, time of storage, lineage, the name of the API key, and "stands" for the version that
stands. With VERSION, print the state of that version as JSON.`,
		Example: "  runnel terraform history prod/network\n  runnel terraform history prod/network 1099511627780 > old.tfstate",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return c.printVersion(cmd, args[0], args[1])
			}
			server, err := c.connect()
			if err != nil {
				return err
			}
			versions, err := server.StateHistory(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, v := range versions {
				stands := ""
				if v.Stands {
					stands = "stands"
				}
				err := c.printLine(v.ID, v.Serial, v.Size, v.StoredAt.Format(time.RFC3339), console.Line(string(v.Lineage)), console.Line(string(v.By)), stands)
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// printVersion prints a version of a state.
func (c *command) printVersion(cmd *cobra.Command, name, version string) error {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n < 1 {
		return console.UsageError("VERSION is a number that 'runnel terraform history %s' prints, not %q", name, version)
	}
	server, err := c.connect()
	if err != nil {
		return err
	}
	state, err := server.ReadState(cmd.Context(), name, n)
	if err != nil {
		return err
	}
	_, err = c.Out.Write(state)
	return err
}

func (c *command) newForceUnlock() *cobra.Command {
	return &cobra.Command{
		Use:   "force-unlock NAME ID",
		Short: "End the lock of a state",
		Long: `End the lock of the state NAME, as 'tofu force-unlock ID' does, without the configuration.
ID is the id that Terraform or OpenTofu prints when the state is locked. A lock with a
different id stays. Make sure that the holder does not run any more.`,
		Example: "  runnel terraform force-unlock prod/network 84d0b5a1-5b9c-0c8a-3a2c-2c9d0d9a6a5e",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" {
				return console.UsageError("ID is empty")
			}
			server, err := c.connect()
			if err != nil {
				return err
			}
			return server.UnlockState(cmd.Context(), args[0], args[1])
		},
	}
}

// printLine prints fields with tabs between them.
func (c *command) printLine(fields ...any) error {
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i] = fmt.Sprint(f)
	}
	_, err := fmt.Fprintln(c.Out, strings.Join(texts, "\t"))
	return err
}
