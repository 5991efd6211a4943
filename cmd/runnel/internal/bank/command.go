package bank

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

const long = `Transfer money at random between ten accounts of a running server, and check that the total never changes.

The command opens ten accounts of its own, pays money in, and transfers random amounts between them on --connections
connections. Meanwhile it reads all accounts at once, again and again: every read must have the same total, and no
balance below 0. Where the accounts have several masters, no read of balances is complete while money is under way; then
the command adds up the books of the whole ledger, on the partitions in turn. At the end every partition must have books
that add up. The money is then paid out, and the accounts are closed, also after an interrupt; their history stays.

Transfers of an unknown outcome, for example during a change of masters, are repeated with the same id.

The API key needs access to accounts with ids that begin with bench-, and the rights mint and monitor. The exit status is 1
if a total has changed or a request has failed.`

// Bounds of the flags.
const (
	mostConnections = 1000
	longest         = 24 * time.Hour
	mostBalance     = 1 << 50 // so that the sum of all accounts is exact
)

// New returns the command. connect returns a client of the server.
func New(s *console.Streams, connect func() (*client.Client, error)) *cobra.Command {
	var o options
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "bank",
		Short:   "Check that transfers neither make nor lose money",
		Long:    long,
		Example: "  runnel bench bank\n  runnel bench bank --connections 64 --duration 1m\n  runnel bench bank --transfers 1000 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			c, err := connect()
			if err != nil {
				return err
			}
			report, err := run(cmd.Context(), c, o)
			if report != nil {
				if printed := report.print(s.Out, asJSON); err == nil {
					err = printed
				}
			}
			return err
		},
	}
	fs := cmd.Flags()
	fs.IntVarP(&o.connections, "connections", "n", 16, "the number of connections")
	fs.DurationVarP(&o.duration, "duration", "d", 10*time.Second, "transfer for at most this long")
	fs.Int64Var(&o.transfers, "transfers", 0, "make at most this many transfers; 0 for any number")
	fs.Int64Var(&o.balance, "balance", 1000, "the money that is paid in to each account, in minor units")
	fs.Uint64Var(&o.seed, "seed", 1, "determines accounts and amounts")
	fs.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// check returns an error unless the options are within their bounds.
func (o *options) check() error {
	switch {
	case o.connections < 1 || o.connections > mostConnections:
		return console.UsageError("--connections is from 1 to %d, not %d", mostConnections, o.connections)
	case o.duration <= 0 || o.duration > longest:
		return console.UsageError("--duration is a time up to %v, not %v", longest, o.duration)
	case o.transfers < 0:
		return console.UsageError("--transfers is not negative, unlike %d", o.transfers)
	case o.balance < 10 || o.balance > mostBalance:
		return console.UsageError("--balance is from 10 to %d, not %d", int64(mostBalance), o.balance)
	}
	return nil
}

// print writes the report as a table or as JSON.
func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(w, "transfers\t%d\nper second\t%.0f\nslowest\t%.1f ms\nrefused\t%d\nrepeated\t%d\nmasters\t%d\nreads of all accounts\t%d\nbooks added up\t%d\ntotal\t%d\n",
		r.Transfers, r.PerSecond, r.SlowestMS, r.Refused, r.Repeated, r.Masters, r.Reads, r.Books, r.Total)
	return err
}
