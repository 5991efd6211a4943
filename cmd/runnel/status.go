package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func newStatus(p *program) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print health, position and lag of the partitions",
		Long: `Print the partitions as the server sees them: role, state, and for each master the
position, the lag in revisions and seconds, and the last time at which the partition
held everything; then the masters, the epoch and the last pass of the sync process.

The states ready, filling, catching_up and starting are healthy. The states
unreachable, refused, behind, failed (the partition takes no copies) and read_only
(the master takes no writes) are unhealthy, and so is a halted ledger: the exit
status is then 1.`,
		Example: `  runnel status
  runnel status --json | jq '.partitions[] | {name, state}'
  watch runnel status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client("", client.Options{})
			if err != nil {
				return err
			}
			return p.printStatus(cmd.Context(), c, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the JSON of the server")
	return cmd
}

func (p *program) printStatus(ctx context.Context, c *client.Client, asJSON bool) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	text := indent(s.Raw)
	if !asJSON {
		text = p.statusTable(s)
	}
	if _, err := io.WriteString(p.Out, text); err != nil {
		return err
	}
	return unhealthy(s)
}

// unhealthy returns an error that names the unhealthy partitions, and a halted ledger, or nil.
func unhealthy(s *client.Status) error {
	var names []string
	for _, part := range s.Partitions {
		if !client.Healthy(part) {
			names = append(names, fmt.Sprintf("%s is %s", part.Name, cmp.Or(part.State, "in no known state")))
		}
	}
	if s.ClusterMap != nil && s.ClusterMap.Halted != "" {
		names = append(names, "the ledger is halted")
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("unhealthy: %s", strings.Join(names, ", "))
}

// statusTable returns the status as text: a row for each partition and origin, then the facts about the node.
func (p *program) statusTable(s *client.Status) string {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARTITION\tKIND\tROLE\tSTATE\tLATENCY\tORIGIN\tPOSITION\tBEHIND\tLAG\tSYNCED\tERROR")
	for _, part := range s.Partitions {
		p.statusRows(t, part)
	}
	t.Flush()
	for _, part := range s.Partitions {
		if part.Migration > 0 {
			fmt.Fprintf(&b, "%s: schema %d, and 'runnel migrate' brings %d\n", part.Name, part.Schema, part.Migration)
		}
		if part.VerifiedAt != nil {
			fmt.Fprintf(&b, "%s: verified %s\n", console.Line(string(part.Name)), p.ago(part.VerifiedAt))
		}
		for _, w := range part.Warnings {
			fmt.Fprintln(&b, console.Line(fmt.Sprintf("%s: warning: %s", part.Name, w)))
		}
	}
	var masters []string
	for _, name := range s.Masters {
		masters = append(masters, string(name))
	}
	fmt.Fprintf(&b, "\n%s\n", console.Line(fmt.Sprintf("node %s, version %s, epoch %d, masters: %s", cmp.Or(s.Node, "-"), cmp.Or(s.Version, "-"), s.Epoch,
		cmp.Or(strings.Join(masters, ", "), "-"))))
	if s.ClusterMap != nil {
		for _, line := range s.ClusterMap.Lines() {
			fmt.Fprintln(&b, console.Line(line))
		}
	}
	fmt.Fprintf(&b, "sync: %s\n", p.syncLine(&s.Sync))
	for _, q := range s.Quotas {
		fmt.Fprintf(&b, "quota %s\n", q.Line())
	}
	if s.Orphans > 0 {
		fmt.Fprintf(&b, "orphans: %d\n", s.Orphans)
	}
	return b.String()
}

// statusRows prints a row for each origin. Only the first row has the partition's own columns.
func (p *program) statusRows(w io.Writer, part wire.PartitionStatus) {
	latency := "-"
	if part.LatencyMS > 0 {
		latency = fmt.Sprintf("%.1f ms", part.LatencyMS)
	}
	own := tableCells(part.Name, part.Kind, part.Role, part.State, latency)
	failure := tableCells(cmp.Or(part.Error, "-"))
	if len(part.Origins) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t%s\n", own, failure)
	}
	for _, o := range part.Origins {
		lag, synced := "-", p.ago(o.SyncedAt)
		if o.LagSeconds != nil {
			lag = fmt.Sprintf("%.1f s", *o.LagSeconds)
		}
		if o.SyncedAt == nil && o.Origin == part.Name {
			synced = "-" // a master is not synced with itself
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", own, tableCells(o.Origin), o.Revision, o.LagRevisions, lag, synced, failure)
		own, failure = "\t\t\t\t", ""
	}
}

// tableCells returns values as neighbouring cells of a table, each in its line and column.
func tableCells(values ...any) string {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = console.Line(fmt.Sprint(v))
	}
	return strings.Join(cells, "\t")
}

func (p *program) syncLine(s *wire.SyncStatus) string {
	if !s.Running && s.LastPassAt == nil {
		return "not running here"
	}
	state := "running"
	switch {
	case s.Standby:
		state = "standing by for another process"
	case !s.Running:
		state = "not running here"
	}
	return fmt.Sprintf("%s, %d passes, last %s, took %.1f ms", state, s.Passes, p.ago(s.LastPassAt), s.LastPassMS)
}

func (p *program) ago(at *time.Time) string {
	if at == nil || at.IsZero() {
		return "never"
	}
	return humanize.RelTime(*at, p.Now(), "ago", "ahead")
}

// indent formats JSON for reading, with a newline at the end.
func indent(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		panic(err) // the client has decoded it
	}
	b.WriteByte('\n')
	return b.String()
}
