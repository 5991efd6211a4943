package locks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// Environment is the part of the program that the commands use.
type Environment struct {
	*console.Streams
	Client func(client.Options) (*client.Client, error) // for the server of the command line
}

// NewCommand returns the command lock.
func NewCommand(e Environment) *cobra.Command {
	h := &Holder{}
	cmd := &cobra.Command{
		Use:   "lock NAME -- COMMAND [ARGUMENT...]",
		Short: "Run a command while a lock is held; list, show and release locks",
		Long: `Acquire the lock NAME, run COMMAND, and release the lock when COMMAND has ended.
Meanwhile the lock is renewed. COMMAND finds RUNNEL_FENCE in its environment, the value
for the header Runnel-Fence of its writes.

The exit status is that of COMMAND; 124 if the lock was lost, and COMMAND was ended; 125
if the lock was not acquired; 127 if COMMAND could not be started. A COMMAND whose lock
is lost gets SIGTERM, and SIGKILL after 10 s.`,
		Example: `  runnel lock nightly --wait 1m -- rsync -a data/ copy/
  runnel lock list jobs/`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if at := cmd.ArgsLenAtDash(); at != 1 || len(args) < 2 {
				return console.UsageError("give NAME, then --, then the command to run")
			}
			if h.Client, err = e.Client(client.Options{}); err != nil {
				return err
			}
			h.Name, h.In, h.Out, h.Err = args[0], e.In, e.Out, e.Err
			return h.Run(cmd.Context(), args[1:])
		},
	}
	host, _ := os.Hostname()
	f := cmd.Flags()
	f.StringVar(&h.Options.Owner, "owner", fmt.Sprintf("%s/%d", host, os.Getpid()), "the `NAME` of the holder that others see")
	f.DurationVar(&h.Options.TTL, "ttl", 30*time.Second, "the lock expires after this time without a renewal")
	f.DurationVar(&h.Options.Wait, "wait", 0, "wait for the lock for this long, first come first served")
	f.BoolVar(&h.Options.Protects, "protect", false, "others cannot write the key NAME meanwhile")
	cmd.AddCommand(e.newList(), e.newShow(), e.newRelease())
	return cmd
}

func (e Environment) newList() *cobra.Command {
	return &cobra.Command{
		Use:     "list [PREFIX]",
		Short:   "List the held locks",
		Long:    "Print a line for each held lock that begins with PREFIX: name, owner, fence and expiry.",
		Example: "  runnel lock list jobs/",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Client(client.Options{})
			if err != nil {
				return err
			}
			return List(cmd.Context(), c, append(args, "")[0], e.Out)
		},
	}
}

func (e Environment) newShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a held lock",
		Long:    "Print the held lock NAME as JSON. If nobody holds it, the exit status is 1.",
		Example: "  runnel lock show nightly | jq -r .owner",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Client(client.Options{})
			if err != nil {
				return err
			}
			l, err := c.GetLock(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := json.Indent(&text, bytes.TrimSpace(l.Raw), "", "  "); err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.Out, text.String())
			return err
		},
	}
}

func (e Environment) newRelease() *cobra.Command {
	var fence int64
	var force bool
	cmd := &cobra.Command{
		Use:   "release NAME --fence FENCE | --force",
		Short: "Release a lock",
		Long: `Release the lock NAME, which is held with FENCE. --force ends the lock of any holder, and
needs the right "force": the writes of the holder with its fence are refused from then on.`,
		Example: "  runnel lock release nightly --force",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if force == cmd.Flags().Changed("fence") {
				return console.UsageError("give --fence or --force")
			}
			c, err := e.Client(client.Options{})
			if err != nil {
				return err
			}
			if force {
				return c.ForceLock(cmd.Context(), args[0])
			}
			return c.ReleaseLock(cmd.Context(), args[0], fence)
		},
	}
	cmd.Flags().Int64Var(&fence, "fence", 0, "the `FENCE` that the holder has")
	cmd.Flags().BoolVar(&force, "force", false, "end the lock of any holder")
	return cmd
}
