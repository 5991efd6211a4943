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
		text := "%d slots are moving from %s to %s\n"
		if m.Move.Lost {
			text = "%d slots of the lost master %s are going to %s\n"
		}
		fmt.Fprintf(out, text, m.Move.Slots, console.Line(m.Move.From), console.Line(m.Move.To))
	}
	if m.Voters != nil {
		if err := DescribeVoters(out, s); err != nil {
			return err
		}
	}
	if err := DescribeLeases(out, s); err != nil {
		return err
	}
	if m.Failover.After > 0 {
		if err := DescribeFailover(out, s); err != nil {
			return err
		}
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

// DescribeVoters writes the voters of the cluster map.
func DescribeVoters(out io.Writer, s *store.Store) error {
	m := s.ClusterMap()
	if m == nil {
		return errNotReached
	}
	text := "voters: " + console.Line(strings.Join(m.Voters, ", "))
	if m.Voters == nil {
		text = "the first change of the cluster map makes all configured partitions voters"
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// DescribeLeases writes the leases that the cluster map gives to processes.
func DescribeLeases(out io.Writer, s *store.Store) error {
	m := s.ClusterMap()
	if m == nil {
		return errNotReached
	}
	text := "no master leases"
	if m.Lease > 0 {
		text = "master leases of " + m.Lease.String()
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// DescribeFailover writes when processes replace lost masters by themselves.
func DescribeFailover(out io.Writer, s *store.Store) error {
	m := s.ClusterMap()
	if m == nil {
		return errNotReached
	}
	text := "lost masters are replaced by 'runnel promote' alone"
	if f := m.Failover; f.After > 0 {
		text = fmt.Sprintf("lost masters are replaced after %s, and no other within %s", f.After, f.Cooldown)
		if f.Cooling > 0 {
			text += fmt.Sprintf("; in epoch %d one was, and none is until that time is over, or 'runnel failover ack'", f.Cooling)
		}
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// Promote replaces a lost master, and writes the stages to progress and the result to out.
func Promote(ctx context.Context, out, progress io.Writer, s *store.Store, q store.PromoteRequest) error {
	began := time.Now()
	done, err := s.Promote(ctx, q, func(stage store.PromoteStage) {
		fmt.Fprintf(progress, "%s in place of %s: %s", console.Line(q.To), console.Line(q.Lost), stage)
		if m := s.ClusterMap(); stage == store.PromoteBegun && !q.Stopped && m != nil {
			fmt.Fprintf(progress, "; waiting for the end of leases, %s", m.Lease)
		}
		fmt.Fprintln(progress)
	})
	if err != nil {
		return err
	}
	counted := "all writes of it count, because it has returned"
	if done.Cut > 0 {
		counted = fmt.Sprintf("its writes count up to revision %d", done.Cut)
	}
	_, err = fmt.Fprintf(out, "%s is the master of %d slots in place of %s since epoch %d, after %v; %s\n",
		console.Line(q.To), done.Slots, console.Line(q.Lost), done.Epoch, time.Since(began).Round(time.Millisecond), counted)
	return err
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
