package main

import (
	"bytes"
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
			c, err := p.client()
			if err != nil {
				return err
			}
			return p.status(cmd.Context(), c, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the server says, as JSON")
	return cmd
}

func (p *program) status(ctx context.Context, c *client, asJSON bool) error {
	var raw json.RawMessage
	if err := c.getJSON(ctx, "/v1/status", nil, &raw); err != nil {
		return err
	}
	var s nodeStatus
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("the server's status is not what it should be: %w", err)
	}
	text, err := indent(raw)
	if !asJSON {
		text, err = p.statusTable(&s), nil
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(p.shown(), text); err != nil {
		return err
	}
	return unhealthy(&s)
}

// unhealthy is an error that names the partitions that are not healthy, or nil.
func unhealthy(s *nodeStatus) error {
	var names []string
	for _, part := range s.Partitions {
		if !part.healthy() {
			names = append(names, fmt.Sprintf("%s is %s", part.Name, firstOf(part.State, "in no known state")))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("unhealthy: %s", strings.Join(names, ", "))
}

// statusTable is the status for a person: a row a partition and origin, then what holds for the node.
func (p *program) statusTable(s *nodeStatus) string {
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
		firstOf(s.Node, "-"), firstOf(s.Version, "-"), s.Epoch, firstOf(strings.Join(s.Masters, ", "), "-"))
	fmt.Fprintf(&b, "sync: %s\n", p.syncLine(&s.Sync))
	if s.Orphans > 0 {
		fmt.Fprintf(&b, "orphans: %d\n", s.Orphans)
	}
	return b.String()
}

// statusRows prints part once for each origin; its own columns only in the first row.
func (p *program) statusRows(w io.Writer, part *partitionStatus) {
	own := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", part.Name, part.Kind, part.Role, part.State, milliseconds(part.LatencyMS))
	if len(part.Origins) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t%s\n", own, firstOf(part.Error, "-"))
	}
	failure := firstOf(part.Error, "-")
	for _, o := range part.Origins {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n",
			own, o.Origin, o.Revision, revisions(o.LagRevisions), seconds(o.LagSeconds), p.synced(part, &o), failure)
		own, failure = "\t\t\t\t", ""
	}
}

// synced is when a partition was last synced with an origin: never with itself.
func (p *program) synced(part *partitionStatus, o *originStatus) string {
	if o.SyncedAt == nil && o.Origin == part.Name {
		return "-"
	}
	return p.ago(o.SyncedAt)
}

func (p *program) syncLine(s *syncStatus) string {
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
	return humanize.RelTime(*at, p.now(), "ago", "ahead")
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

// indent formats JSON for reading, with a newline at its end.
func indent(raw []byte) (string, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return "", err
	}
	b.WriteByte('\n')
	return b.String(), nil
}
