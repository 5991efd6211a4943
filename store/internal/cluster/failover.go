package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/failover"
	"github.com/runnelkv/runnel/store/partition"
)

// While the map says so, each process reports to the voters which masters answer it, and a sync process replaces a master
// that nobody reaches. A process that writes to a master reaches a majority of the voters, because leases demand that.
// So its reports are on a voter that the replacing process reads, which needs a majority too.

// ErrFailoverRefused: the automatic promotions cannot be set so; nothing was changed.
var ErrFailoverRefused = errors.New("the automatic promotions cannot be set")

func refuseFailover(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrFailoverRefused, fmt.Errorf(format, args...))
}

const (
	minAfterPolls = 15                 // the shortest time after which a master is lost, in polls: five for each report
	maxAfter      = time.Hour          // the longest
	maxCooldown   = 7 * 24 * time.Hour // the longest cooldown
)

// SetFailover lets processes replace masters by themselves that nobody has reached for a time, and not again within a cooldown;
// or ends that (0). The error ErrFailoverRefused, and those of a change of the map.
func (r *Register) SetFailover(ctx context.Context, after, cooldown time.Duration) error {
	if after == 0 {
		_, err := r.changeFailover(ctx, func(c *partition.Cluster) error { c.Failover = partition.Failover{}; return nil })
		return err
	}
	if shortest := minAfterPolls * r.options.Poll; after < shortest || after > maxAfter {
		return refuseFailover("a time of %s is not between %s and %s", after, shortest, maxAfter)
	}
	if cooldown < after || cooldown > maxCooldown {
		return refuseFailover("a cooldown of %s is not between %s and %s", cooldown, after, maxCooldown)
	}
	if err := r.checkSchemas(ctx); err != nil {
		return refuseFailover("%w", err)
	}
	if _, err := r.readReports(ctx); err != nil {
		return refuseFailover("%w", err)
	}
	_, err := r.changeFailover(ctx, func(c *partition.Cluster) error {
		c.Failover.After, c.Failover.Cooldown = after, cooldown
		if c.Voters == nil {
			return checkFailover(c, len(r.backends.All()))
		}
		return checkFailover(c, len(c.Voters))
	})
	return err
}

// AcknowledgeFailover ends the cooldown of an automatic promotion.
func (r *Register) AcknowledgeFailover(ctx context.Context) error {
	_, err := r.changeFailover(ctx, func(c *partition.Cluster) error { c.Failover.Cooling = 0; return nil })
	return err
}

// changeFailover changes what the map says about automatic promotions.
func (r *Register) changeFailover(ctx context.Context, f func(*partition.Cluster) error) (partition.Cluster, error) {
	return r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) {
		before := c.Failover
		err := f(&c)
		if err == nil && c.Failover != before {
			err = nextEpoch(&c)
		}
		return c, err
	})
}

// checkFailover refuses automatic promotions that could lose writes, or could never be made.
func checkFailover(c *partition.Cluster, voters int) error {
	switch {
	case voters < 3:
		return refuseFailover("three voters or more are needed, and there are %d: without one of two no majority answers; configure a further partition, and give it a vote (runnel voters add NAME)", voters)
	case !c.Leases.Held:
		return refuseFailover("processes have no master leases, so that some could still write to a lost master: set leases first (runnel leases 10s)")
	}
	return nil
}

// checkAutomatic refuses an automatic promotion that the map does not allow.
func checkAutomatic(c *partition.Cluster, q PromoteRequest) error {
	m := underWay(c)
	switch goesOn := m != nil && m.Lost; {
	case !q.Automatic || goesOn && m.From == q.Lost && m.To == q.To:
		return nil
	case c.Failover.After == 0:
		return refusePromotion("processes replace no masters by themselves (runnel failover off)")
	case goesOn:
		return refusePromotion("another process replaces %s by %s", m.From, m.To)
	case c.Failover.Cooling != 0:
		return refusePromotion("the cooldown of the automatic promotion of epoch %d has not ended: promote a partition yourself (runnel promote), or end the cooldown (runnel failover ack)", c.Failover.Cooling)
	}
	return checkFailover(c, len(c.Voters))
}

// ReportLoop reports the masters that answer this process to the voters, until ctx ends.
func (r *Register) ReportLoop(ctx context.Context) {
	var reportedAt time.Duration
	r.eachPoll(ctx, func() {
		c, now := r.Map(), r.backends.BootNow()
		if c == nil || c.Failover.After == 0 || reportedAt > 0 && now-reportedAt < failover.Interval(c.Failover.After) {
			return
		}
		reportedAt = now
		var reached []string
		for _, name := range c.Masters {
			if b := r.backends.Named(name); b != nil {
				if _, answers := b.AnsweredAt(); answers {
					reached = append(reached, name)
				}
			}
		}
		if len(reached) > 0 {
			r.eachVoter(ctx, c, func(ctx context.Context, b *backend.Backend) error { return b.Report(ctx, reached) })
		}
	})
}

// FailoverLoop replaces masters that are lost, until ctx ends.
func (r *Register) FailoverLoop(ctx context.Context) {
	f := failoverState{register: r}
	r.eachPoll(ctx, func() {
		if c := r.Map(); c == nil || c.Failover.After == 0 {
			f = failoverState{register: r}
		} else {
			f.look(ctx, c)
		}
	})
}

// eachPoll calls f as often as backends are polled, until ctx ends.
func (r *Register) eachPoll(ctx context.Context, f func()) {
	ticker := time.NewTicker(r.options.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}

// failoverState is the state of FailoverLoop.
type failoverState struct {
	register *Register
	watch    failover.Watch
	logged   string // the last obstacle
}

// look looks for a lost master, and replaces it.
func (f *failoverState) look(ctx context.Context, c *Map) {
	r := f.register
	f.watch.Begin(r.backends.BootNow(), c.Failover.After)
	f.endCooldown(ctx, c)
	var missed []string
	for _, name := range c.Masters {
		b := r.backends.Named(name)
		if b == nil {
			continue // a process that has it configured replaces it
		}
		if at, answers := b.AnsweredAt(); answers {
			f.watch.NoteReached(name, at)
		} else {
			missed = append(missed, name)
		}
	}
	if len(missed) == 0 {
		f.logged = ""
		return
	}
	reports, _ := r.readReports(ctx)
	for _, name := range missed {
		of := make(map[string]int64)
		for voter, numbers := range reports {
			of[voter] = numbers[name]
		}
		if err := f.watch.CheckLost(name, of, len(c.Voters)/2+1); err != nil {
			r.options.Logger.Debug("a master does not answer, and is not replaced yet", "master", name, "reason", err)
			continue
		}
		if err := f.replace(ctx, c, name); err != nil && ctx.Err() == nil && f.logged != err.Error() {
			f.logged = err.Error()
			r.options.Logger.Error("a lost master is not replaced", "master", name, "error", err)
		}
	}
}

// replace promotes a partition in place of a lost master.
func (f *failoverState) replace(ctx context.Context, c *Map, lost string) error {
	r := f.register
	if m := underWay(&c.Cluster); m != nil && m.Lost {
		return nil // ContinueLoop completes it
	}
	to, err := r.candidateFor(c, partition.Origin(lost))
	if err != nil {
		return err
	}
	q := PromoteRequest{Lost: lost, To: to, Automatic: true}
	if _, err := beginPromotion(cloneMap(c.Cluster), q); err != nil {
		return err
	}
	r.options.Logger.Warn("a master is lost, and is replaced", "master", lost, "by", to, "after", c.Failover.After)
	done, err := r.Promote(ctx, q, func(PromoteStage) {})
	if err == nil {
		r.options.Logger.Warn("a lost master was replaced", "master", lost, "by", to, "slots", done.Slots, "epoch", done.Epoch, "cut", done.Cut)
	}
	return err
}

// candidateFor returns the voter that holds most of a lost master's writes, among those that are whole for every origin. Of
// equal ones, a master is the last choice, and otherwise the order of the voters counts.
func (r *Register) candidateFor(c *Map, lost partition.Origin) (name string, err error) {
	var best partition.Revision
	for _, masters := range []bool{false, true} {
		for _, voter := range c.Voters {
			b := r.backends.Named(voter)
			if b == nil || voter == string(lost) || slices.Contains(c.Masters, voter) != masters || unusable(b) != nil || !isCandidate(c, b) {
				continue
			}
			if at, _ := b.Position(lost); name == "" || at.Revision > best {
				name, best = voter, at.Revision
			}
		}
	}
	if name == "" {
		err = refusePromotion("no voter that answers holds a whole copy of every master: bring partitions back, or let the sync process fill them")
	}
	return name, err
}

// isCandidate reports whether a partition is whole for every origin, so that it can become a master.
func isCandidate(c *Map, b *backend.Backend) bool {
	k := b.Observed()
	return k != nil && !slices.ContainsFunc(c.Cluster.Origins(), func(o partition.Origin) bool {
		at := k.Origins[o]
		return string(o) != b.Name() && (!at.Whole() || !slices.Contains(c.Masters, string(o)) && at.Revision < c.GaveAway(o))
	})
}

// endCooldown ends the cooldown of an automatic promotion once this process has seen the cooldown for its length.
func (f *failoverState) endCooldown(ctx context.Context, c *Map) {
	r, cooling := f.register, c.Failover.Cooling
	if cooling == 0 || !f.watch.HasCooled(cooling, r.backends.BootNow(), c.Failover.Cooldown) {
		return
	}
	_, err := r.changeFailover(ctx, func(now *partition.Cluster) error {
		if now.Failover.Cooling == cooling {
			now.Failover.Cooling = 0
		}
		return nil
	})
	if err == nil {
		r.options.Logger.Info("the cooldown of an automatic promotion has ended", "epoch", cooling)
	}
}

// readReports reads the numbers of reports on each voter that answers, by voter and master. Its error is that of a voter that
// holds no reports.
func (r *Register) readReports(ctx context.Context) (map[string]map[string]int64, error) {
	read := make(map[string]map[string]int64)
	c := r.Map()
	if c == nil {
		return read, nil
	}
	var mu sync.Mutex
	errs := r.eachVoter(ctx, c, func(ctx context.Context, b *backend.Backend) error {
		numbers, err := b.Reports(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name(), err)
		}
		mu.Lock()
		defer mu.Unlock()
		read[b.Name()] = numbers
		return nil
	})
	return read, cmp.Or(errs...)
}

// eachVoter calls f in parallel for each voter that answered last.
func (r *Register) eachVoter(ctx context.Context, c *Map, f func(context.Context, *backend.Backend) error) []error {
	ctx, cancel := context.WithTimeout(ctx, min(r.options.Timeout, answerTimeout))
	defer cancel()
	errs := make([]error, len(c.Voters))
	var group sync.WaitGroup
	for i, name := range c.Voters {
		if b := r.backends.Named(name); b != nil && b.IsReadable() {
			group.Go(func() { errs[i] = f(ctx, b) })
		}
	}
	group.Wait()
	return errs
}
