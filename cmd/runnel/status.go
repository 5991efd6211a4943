package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
)

func newStatus(p *program) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the partitions: health, position, lag",
		Long: `Show the partitions as the server sees them: role, state, and for each origin the
position, how far that is behind in revisions and seconds (0 when level), and when it
was last seen to hold everything; then the masters, the epoch and the last pass of the sync process.

A partition's state is ready, filling, catching_up or starting, all of which are
healthy, or unreachable, refused, behind, failed (takes no copies) or
read_only (a master that takes no writes), which are not: then the exit status is 1.`,
		Example: `  runnel status
  runnel status --json | jq '.partitions[] | {name, state}'
  watch runnel status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client("", client.Options{})
			if err != nil {
				return err
			}
			return p.status(cmd.Context(), c, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the server says, as JSON")
	return cmd
}

func (p *program) status(ctx context.Context, c *client.Client, asJSON bool) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	text := indent(s.Raw)
	if !asJSON {
		text = p.statusTable(s)
	}
	if _, err := io.WriteString(p.Display(), text); err != nil {
		return err
	}
	return unhealthy(s)
}

// unhealthy is an error that names the partitions that are not healthy, or nil.
func unhealthy(s *client.Status) error {
	var names []string
	for _, part := range s.Partitions {
		if !part.Healthy() {
			names = append(names, fmt.Sprintf("%s is %s", part.Name, cmp.Or(part.State, "in no known state")))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("unhealthy: %s", strings.Join(names, ", "))
}

// statusTable is the status for a person: a row a partition and origin, then what holds for the node.
func (p *program) statusTable(s *client.Status) string {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARTITION\tKIND\tROLE\tSTATE\tLATENCY\tORIGIN\tPOSITION\tBEHIND\tLAG\tSYNCED\tERROR")
	for _, part := range s.Partitions {
		p.statusRows(t, &part)
	}
	t.Flush()
	for _, part := range s.Partitions {
		for _, w := range part.Warnings {
			fmt.Fprintf(&b, "%s: warning: %s\n", part.Name, w)
		}
	}
	fmt.Fprintf(&b, "\nnode %s, version %s, epoch %d, masters: %s\n",
		cmp.Or(s.Node, "-"), cmp.Or(s.Version, "-"), s.Epoch, cmp.Or(strings.Join(s.Masters, ", "), "-"))
	fmt.Fprintf(&b, "sync: %s\n", p.syncLine(&s.Sync))
	if s.Orphans > 0 {
		fmt.Fprintf(&b, "orphans: %d\n", s.Orphans)
	}
	return b.String()
}

// statusRows prints part once for each origin; its own columns only in the first row.
func (p *program) statusRows(w io.Writer, part *client.PartitionStatus) {
	own := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", part.Name, part.Kind, part.Role, part.State, milliseconds(part.LatencyMS))
	if len(part.Origins) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t%s\n", own, cmp.Or(part.Error, "-"))
	}
	failure := cmp.Or(part.Error, "-")
	for _, o := range part.Origins {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n",
			own, o.Origin, o.Revision, revisions(o.LagRevisions), seconds(o.LagSeconds), p.synced(part, &o), failure)
		own, failure = "\t\t\t\t", ""
	}
}

// synced is when a partition was last synced with an origin: never with itself.
func (p *program) synced(part *client.PartitionStatus, o *client.OriginStatus) string {
	if o.SyncedAt == nil && o.Origin == part.Name {
		return "-"
	}
	return p.ago(o.SyncedAt)
}

func (p *program) syncLine(s *client.SyncStatus) string {
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
	return fmt.Sprintf("%s, %d passes, last %s, took %s", state, s.Passes, p.ago(s.LastPassAt), milliseconds(s.LastPassMS))
}

func (p *program) ago(at *time.Time) string {
	if at == nil || at.IsZero() {
		return "never"
	}
	return humanize.RelTime(*at, p.Now(), "ago", "ahead")
}

func milliseconds(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return strconv.FormatFloat(*ms, 'f', 1, 64) + " ms"
}

func seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return strconv.FormatFloat(*s, 'f', 1, 64) + " s"
}

func revisions(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
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
