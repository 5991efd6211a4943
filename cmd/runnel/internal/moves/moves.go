package moves

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
)

// errNotReached: no partition that belongs to a cluster has answered.
var errNotReached = errors.New("no partition that belongs to a cluster was reached")

// Describe writes the cluster map, and how it differs from the configured masters.
func Describe(out io.Writer, s *store.Store, configured []string) error {
	m := s.ClusterMap()
	if m == nil {
		return errNotReached
	}
	fmt.Fprintf(out, "epoch %d\n", m.Epoch)
	var names []string
	for _, master := range m.Masters {
		names = append(names, master.Name)
		fmt.Fprintf(out, "%s: master of %d slots since epoch %d\n", console.Line(master.Name), master.Slots, master.Epoch)
	}
	if m.Move != nil {
		fmt.Fprintf(out, "%d slots are moving from %s to %s\n", m.Move.Slots, console.Line(m.Move.From), console.Line(m.Move.To))
	}
	if m.Voters != nil {
		fmt.Fprintf(out, "voters: %s\n", console.Line(strings.Join(m.Voters, ", ")))
	}
	if !m.Confirmed {
		fmt.Fprintln(out, "a majority of the voters has not confirmed this map: start 'runnel serve', which completes the change")
	}
	for _, name := range configured {
		if !slices.Contains(names, name) {
			fmt.Fprintf(out, "the configuration names %s as a master: 'runnel move --to %[1]s' makes it one\n", console.Line(name))
		}
	}
	for _, name := range names {
		if !slices.Contains(configured, name) {
			fmt.Fprintf(out, "the configuration does not name %s as a master: 'runnel move --from %[1]s' takes its slots\n", console.Line(name))
		}
	}
	return nil
}

// Print writes the moves that a request stands for.
func Print(out io.Writer, s *store.Store, q store.MoveRequest) error {
	moves, err := s.PlanMoves(q)
	if err != nil {
		return err
	}
	for _, m := range moves {
		fmt.Fprintln(out, describe(s, m))
	}
	return nil
}

// Run carries the moves out, one after another, and writes the stages to progress and the results to out.
func Run(ctx context.Context, out, progress io.Writer, s *store.Store, q store.MoveRequest) error {
	moves, err := s.PlanMoves(q)
	if err != nil {
		return err
	}
	for i, m := range moves {
		text := describe(s, m)
		var began, ended time.Time
		err := s.Move(ctx, m, func(stage store.MoveStage) {
			fmt.Fprintf(progress, "%s: %s\n", text, stage)
			switch stage {
			case store.MoveBegun:
				began = time.Now()
			case store.MoveDone, store.MoveAborted:
				ended = time.Now()
			}
		})
		if err != nil {
			if i > 0 {
				err = fmt.Errorf("%w; %d of %d moves were made before", err, i, len(moves))
			}
			return fmt.Errorf("%s: %w", text, err)
		}
		fmt.Fprintf(out, "%s: done; writes to these slots waited for %v\n", text, ended.Sub(began).Round(time.Millisecond))
	}
	return nil
}

func describe(s *store.Store, m store.MoveRequest) string {
	slots := len(m.Slots)
	if c := s.ClusterMap(); m.Slots == nil && c != nil {
		for _, master := range c.Masters {
			if master.Name == m.From {
				slots = master.Slots
			}
		}
	}
	return fmt.Sprintf("%s to %s, %d slots", console.Line(m.From), console.Line(m.To), slots)
}
