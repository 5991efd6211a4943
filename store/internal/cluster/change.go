package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// The cluster map is one register that the voters hold together (CASPaxos). A change takes two rounds: a majority of the
// voters promises to accept nothing below the ballot of the change, and the newest map that any of them has accepted is
// the base of the change; then a majority accepts the changed map. A change that was interrupted between the rounds is
// completed by the next change, by whichever process.

// ErrNoMajority: fewer voters answered than a change of the cluster map needs.
var ErrNoMajority = errors.New("no majority of the voters")

// changeTimeout bounds each attempt of a change.
const changeTimeout = 5 * time.Second

// change replaces the chosen map by f of the map, and returns the map that is chosen then. f returns the map unchanged if
// there is nothing to do, and may run several times. An error of f ends the change.
func (r *Register) change(ctx context.Context, f func(partition.Cluster) (partition.Cluster, error)) (partition.Cluster, error) {
	return r.changeInPlaceOf(ctx, "", f)
}

// changeInPlaceOf is change while a voter is lost; "": none. All voters but the lost are then enough even if they are no
// majority, as one of two.
func (r *Register) changeInPlaceOf(ctx context.Context, lost string, f func(partition.Cluster) (partition.Cluster, error)) (partition.Cluster, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, changeTimeout)
		c, err := r.tryChange(attempt, lost, f)
		cancel()
		if !errors.Is(err, partition.ErrOutvoted) {
			return c, err
		}
		select { // another process makes a change: random pauses let one of them finish
		case <-ctx.Done():
			return c, cmp.Or(err, ctx.Err())
		case <-time.After(10*time.Millisecond + rand.N(100*time.Millisecond)):
		}
	}
}

func (r *Register) tryChange(ctx context.Context, lost string, f func(partition.Cluster) (partition.Cluster, error)) (partition.Cluster, error) {
	read := r.askAll(ctx, r.backends.All(), func(ctx context.Context, b *backend.Backend) (partition.Cluster, error) { return b.Cluster(ctx) })
	v, err := r.votersOf(read, lost)
	if err != nil {
		return partition.Cluster{}, err
	}
	ballot := nextBallot(read)
	promises := r.askAll(ctx, v.backends, func(ctx context.Context, b *backend.Backend) (partition.Cluster, error) {
		return b.Promise(ctx, ballot)
	})
	if err := v.check(promises); err != nil {
		return partition.Cluster{}, err
	}
	base := promises.newest()
	if !slices.Equal(base.Voters, v.before) {
		return base, fmt.Errorf("%w: a change of another process has named the voters", partition.ErrOutvoted)
	}
	proposed, err := f(cloneMap(base))
	if err != nil {
		return base, err
	}
	if proposed.Epoch == base.Epoch && base.Chosen == base.Accepted {
		return base, nil
	}
	next := v
	if v.before == nil || slices.Equal(proposed.Voters, v.before) {
		proposed.Voters = v.names
	} else { // a change of the voters needs a majority of the former and of the new
		next = r.votersNamed(proposed.Voters, "")
	}
	proposed.Accepted, proposed.Chosen = ballot, 0
	accept := func(ctx context.Context, b *backend.Backend) (partition.Cluster, error) {
		stands, err := b.Accept(ctx, proposed)
		if err == nil && stands.Accepted != ballot {
			err = partition.ErrOutvoted
		}
		return stands, err
	}
	if to := r.promotedIn(&base, &proposed); to != nil { // alone, because a cut below its position would shut it out
		if _, err := accept(ctx, to); err != nil {
			return base, err
		}
	}
	if err := r.acceptedBy(r.askAll(ctx, union(v.backends, next.backends), accept), v, next); err != nil {
		return base, err
	}
	proposed.Chosen = ballot
	r.adopt(proposed)
	r.askAll(ctx, r.backends.All(), accept) // those that miss this are taught later
	r.admitMasters(ctx)
	return proposed, nil
}

// promotedIn returns the partition that becomes a master by the end of a promotion with the proposed map, or nil.
func (r *Register) promotedIn(base, proposed *partition.Cluster) *backend.Backend {
	if m := underWay(base); m != nil && m.Lost && hasEnded(proposed, *m) {
		return r.backends.Named(m.To)
	}
	return nil
}

// acceptedBy fails unless enough of each group of voters has agreed.
func (r *Register) acceptedBy(a answers, groups ...voters) error {
	for _, v := range groups {
		if err := v.check(a); err != nil {
			return err
		}
	}
	return nil
}

// union returns the backends of two lists, each once.
func union(a, b []*backend.Backend) []*backend.Backend {
	all := slices.Clone(a)
	for _, o := range b {
		if !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	return all
}

// answers are the outcomes of a question to several partitions.
type answers struct {
	rows   map[string]partition.Cluster // by name
	errors map[string]error
}

// askAll asks partitions in parallel. Once a majority has answered, partitions that failed when they were used last are not
// awaited any longer: a lost partition that hangs must not use up the time of a change.
func (r *Register) askAll(ctx context.Context, backends []*backend.Backend, ask func(context.Context, *backend.Backend) (partition.Cluster, error)) answers {
	a := answers{make(map[string]partition.Cluster), make(map[string]error)}
	var mu sync.Mutex
	var usable, failed sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, b := range backends {
		group := &usable
		if b.State().Err != nil {
			group = &failed
		}
		group.Go(func() {
			bound, cancel := context.WithTimeout(ctx, r.options.Timeout)
			defer cancel()
			row, err := partition.Cluster{}, b.State().Err
			if b.State().IsPrepared {
				row, err = ask(bound, b)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.errors[b.Name()] = err
			} else {
				a.rows[b.Name()] = row
			}
		})
	}
	usable.Wait()
	mu.Lock()
	isMajority := 2*len(a.rows) > len(backends)
	mu.Unlock()
	if isMajority {
		cancel()
	}
	failed.Wait()
	return a
}

// newest returns the row of the highest ballot; before the first ballot the row of the latest epoch.
func (a answers) newest() (newest partition.Cluster) {
	for _, row := range a.rows {
		if c := cmp.Or(cmp.Compare(row.Accepted, newest.Accepted), cmp.Compare(row.Epoch, newest.Epoch)); c > 0 || newest.ID == "" {
			newest = row
		}
	}
	return newest
}

// nextBallot returns a ballot above all that the rows show. The random part makes equal ballots of two processes rare;
// they would do no harm, as a partition promises a ballot once.
func nextBallot(a answers) int64 {
	highest := int64(0)
	for _, row := range a.rows {
		highest = max(highest, row.Promised, row.Accepted)
	}
	return (highest>>16+1)<<16 | rand.Int64N(1<<16)
}

// voters are the partitions that decide about a change.
type voters struct {
	before   []string           // of the newest map; nil: no change has named them yet
	names    []string           // from now on
	backends []*backend.Backend // without voters that are not configured here
	need     int
}

// votersOf returns the voters of the newest map. The first change makes all configured partitions voters, and therefore
// needs every one of them: a process with another configuration could otherwise find a majority of its own.
func (r *Register) votersOf(read answers, lost string) (v voters, err error) {
	newest := read.newest()
	if newest.ID == "" {
		return v, fmt.Errorf("%w: no partition that belongs to a cluster was reached: %w", ErrNoMajority, joinErrors(read.errors))
	}
	before := newest.Voters
	lost = cmp.Or(lost, stoppedIn(&newest))
	if before != nil {
		v = r.votersNamed(before, lost)
	} else {
		var all []string
		for _, b := range r.backends.All() {
			all = append(all, b.Name())
		}
		v = r.votersNamed(all, lost)
		if v.need = len(all); slices.Contains(all, lost) {
			v.need--
		}
	}
	if v.before = before; v.need == 0 {
		return v, fmt.Errorf("%w: %s is the only voter", ErrNoMajority, lost)
	}
	return v, nil
}

// votersNamed returns voters by their names. The lost is not asked; "": none is lost.
func (r *Register) votersNamed(names []string, lost string) voters {
	v := voters{names: names, need: majorityWithout(names, lost)}
	for _, name := range names {
		if b := r.backends.Named(name); b != nil && name != lost {
			v.backends = append(v.backends, b)
		}
	}
	return v
}

// stoppedIn returns the lost master of a promotion under way, if an operator says that it is stopped; else "".
func stoppedIn(c *partition.Cluster) string {
	if m := underWay(c); m != nil && m.Stopped {
		return m.From
	}
	return ""
}

// majorityWithout returns how many voters are needed for a change: a majority, but not more than there are without the lost.
func majorityWithout(voters []string, lost string) int {
	need := len(voters)/2 + 1
	if slices.Contains(voters, lost) {
		need = min(need, len(voters)-1)
	}
	return need
}

// check fails unless enough voters have agreed: with ErrOutvoted if a voter follows a higher ballot.
func (v *voters) check(a answers) error {
	agreed := 0
	for _, name := range v.names {
		if _, is := a.rows[name]; is {
			agreed++
		}
	}
	if agreed >= v.need {
		return nil
	}
	for _, err := range a.errors {
		if errors.Is(err, partition.ErrOutvoted) {
			return err
		}
	}
	return fmt.Errorf("%w: %d of %d are needed (%s), and %d answered: %w", ErrNoMajority, v.need, len(v.names), strings.Join(v.names, ", "), agreed, joinErrors(a.errors))
}

func joinErrors(errs map[string]error) error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		all = append(all, fmt.Errorf("%s: %w", name, errs[name]))
	}
	return errors.Join(all...)
}

// cloneMap copies the parts of a row that a change can modify.
func cloneMap(c partition.Cluster) partition.Cluster {
	c.Masters, c.Slots, c.Moves = slices.Clone(c.Masters), slices.Clone(c.Slots), slices.Clone(c.Moves)
	c.Ends, c.Epochs = slices.Clone(c.Ends), maps.Clone(c.Epochs)
	return c
}
