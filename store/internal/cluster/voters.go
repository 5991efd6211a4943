package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// ErrVotersRefused: the voters cannot be changed so; nothing was changed.
var ErrVotersRefused = errors.New("the voters cannot be changed")

func refuseVoters(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrVotersRefused, fmt.Errorf(format, args...))
}

// AddVoter makes a partition a voter, and RemoveVoter takes the vote away. A change is one voter: so each majority of the new
// voters shares a partition with each majority of the former. Before the next change a majority of the voters must hold
// everything that was written before this change, so that writes which a majority held are held by a majority again. The new
// epochs of the masters keep processes with a former map from relying on the former voters.
func (r *Register) AddVoter(ctx context.Context, name string) error {
	b := r.backends.Named(name)
	if b == nil {
		return refuseVoters("%w", notConfigured(name))
	}
	if err := unusable(b); err != nil {
		return refuseVoters("%w", err)
	}
	return r.changeVoters(ctx, func(c partition.Cluster) ([]string, error) {
		if slices.Contains(c.Voters, name) {
			return c.Voters, nil
		}
		return append(slices.Clone(c.Voters), name), nil
	})
}

// RemoveVoter is described with AddVoter. A lost partition can be removed.
func (r *Register) RemoveVoter(ctx context.Context, name string) error {
	return r.changeVoters(ctx, func(c partition.Cluster) ([]string, error) {
		at := slices.Index(c.Voters, name)
		switch {
		case at < 0 && r.backends.Named(name) == nil:
			return nil, refuseVoters("no voter is named %q; the voters are %s", name, strings.Join(c.Voters, ", "))
		case at < 0:
			return c.Voters, nil
		case slices.Contains(c.Masters, name):
			return nil, refuseVoters("%s is a master: 'runnel move' takes its slots first, or 'runnel promote' if it is lost", name)
		case len(c.Voters) <= 2:
			return nil, refuseVoters("the only other voter would be %s", strings.Join(slices.Delete(slices.Clone(c.Voters), at, at+1), ", "))
		case c.Leases.Length > 0 && len(c.Voters) <= 3:
			return nil, refuseVoters("master leases need three voters: add another first, or take the leases away (runnel leases off)")
		}
		return slices.Delete(slices.Clone(c.Voters), at, at+1), nil
	})
}

// changeVoters replaces the voters by those that next names.
func (r *Register) changeVoters(ctx context.Context, next func(partition.Cluster) ([]string, error)) error {
	if err := r.checkSchemas(ctx); err != nil {
		return refuseVoters("%w", err)
	}
	if err := r.beginBallots(ctx); err != nil {
		return err
	}
	if voters, err := next(cloneMap(r.Map().Cluster)); err != nil || slices.Equal(voters, r.Map().Voters) {
		return err
	}
	settled, err := r.awaitSettled(ctx)
	if err != nil {
		return err
	}
	_, err = r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) {
		voters, err := next(c)
		if err != nil || slices.Equal(voters, c.Voters) {
			return c, err
		}
		if m := underWay(&c); m != nil {
			return c, refuseVoters("a move from %s to %s is under way", m.From, m.To)
		}
		if c.Epoch != settled {
			return c, refuseVoters("the cluster map has changed meanwhile: try again")
		}
		err = nextEpochOfAll(&c)
		c.Voters = voters
		return c, err
	})
	return err
}

// awaitSettled returns the epoch of the map once checkSettled succeeds, or its error after the time of two operations.
func (r *Register) awaitSettled(ctx context.Context) (epoch int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*r.options.Timeout)
	defer cancel()
	for {
		c := r.Map().Cluster
		if err = r.checkSettled(ctx, c); err == nil {
			return c.Epoch, nil
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkSettled fails unless a majority of the voters holds everything that each origin has written before its present epoch.
func (r *Register) checkSettled(ctx context.Context, c partition.Cluster) error {
	holding, need := 0, len(c.Voters)/2+1
	var lacks []string
	for _, name := range c.Voters {
		if lack := r.lacksOf(ctx, name, &c); lack != "" {
			lacks = append(lacks, lack)
		} else {
			holding++
		}
	}
	if holding < need {
		return refuseVoters("%d of %d voters have to hold all writes of before the last change of the map, and %d do; the sync process has not copied them within %s: %s",
			need, len(c.Voters), holding, 2*r.options.Timeout, strings.Join(lacks, "; "))
	}
	return nil
}

// lacksOf says what a voter lacks of the writes before the present epochs, "" if it lacks nothing.
func (r *Register) lacksOf(ctx context.Context, name string, c *partition.Cluster) string {
	b := r.backends.Named(name)
	if b == nil {
		return name + " is not configured here"
	}
	all, err := r.readPositions(ctx, b)
	if err != nil {
		return name + " cannot be read"
	}
	for _, o := range c.Origins() {
		p, upTo := all.Origins[o], c.GaveAway(o)
		if slices.Contains(c.Masters, string(o)) {
			upTo = partition.Floor(c.EpochOf(string(o)))
		}
		if p.Revision < upTo || string(o) != name && !p.Whole() {
			return fmt.Sprintf("%s is at %d of %s, not at %d", name, p.Revision, o, upTo)
		}
	}
	return ""
}

// readPositions reads the positions of a partition within the time of an operation.
func (r *Register) readPositions(ctx context.Context, b *backend.Backend) (partition.Positions, error) {
	if !b.IsReadable() {
		return partition.Positions{}, b.Unavailable(nil)
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	return b.ReadPositions(ctx)
}
