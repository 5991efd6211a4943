package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/doctor"
)

const doctorLong = `Compare a configuration with the hardening list in docs/security.md: the account, the modes of files, the address, the
connections to databases and their accounts, and the settings on which durability rests. Nothing is changed: no table is
created, and SQLite files are not opened.

Run the command as the account of the server. --pid names the running server, whose privileges and limits are then checked
in place of those of the command.

A line for each finding: ok, warn (a risk that may be accepted), fail, or skip (not checked, for example because the
configuration has no webhook), the name of the check, and the finding. --json prints an array of objects with check, state,
subject and text.

Exit status: 0 no finding is fail; 1 some are; 2 the configuration is wrong.`

func newDoctor(p *program) *cobra.Command {
	var f configFlags
	var pid int
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Check a configuration for risks to security and durability",
		Long:    doctorLong,
		Example: "  runnel doctor --config /etc/runnel.toml\n  runnel doctor --config /etc/runnel.toml --pid 4711\n  runnel doctor --json | jq '.[] | select(.state == \"warn\" or .state == \"fail\")'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.readConfig()
			if err != nil {
				return err
			}
			if pid < 0 {
				return console.UsageError("--pid %d is negative", pid)
			}
			findings := doctor.Run(cmd.Context(), doctor.Options{Config: c, File: f.file, PID: pid})
			if err := p.printFindings(findings, asJSON); err != nil {
				return err
			}
			if doctor.Failed(findings) {
				return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
			}
			return nil
		},
	}
	f.addTo(cmd)
	cmd.Flags().IntVar(&pid, "pid", 0, "check the process with this `NUMBER`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *program) printFindings(findings []doctor.Finding, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(p.Out)
		e.SetIndent("", "  ")
		return e.Encode(findings)
	}
	t := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		text := strings.TrimPrefix(f.Subject+": "+f.Text, ": ")
		fmt.Fprintln(t, tableCells(f.State, f.Check, text))
	}
	return t.Flush()
}
