package sync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// survey is the state of all partitions as a pass has read it.
type survey struct {
	observations []observation // of every configured partition, in order
	origins      []partition.Origin
	masters      []partition.Origin
	behind       map[partition.Origin]error // origins that have lost writes, with the evidence
	late         <-chan struct{}            // closed when the readings that missed surveyTimeout end; nil: none did
}

// observation is the state of a partition in a survey.
type observation struct {
	replica *replica
	at      partition.Positions // as read, or as remembered
	ok      bool                // usable as a target and as a source
	fresh   bool                // read during this pass
}

// positionOf returns the partition's position for an origin; zero if the partition
// holds nothing of that origin.
func (o *observation) positionOf(origin partition.Origin) partition.Position {
	p := o.at.Origins[origin]
	p.Origin = origin
	return p
}

// surveyTimeout bounds how long a pass of Run waits for positions before proceeding
// with those read so far; the next pass uses the rest.
const surveyTimeout = 200 * time.Millisecond

// survey reads positions. An onCommit pass reads only unknown positions, and those of
// masters for which this process knows no newer commit than remembered.
// Passes for another reason read the positions of all partitions.
func (s *Syncer) survey(ctx context.Context, reason passReason) *survey {
	replicas := s.refreshReplicas()
	masters := s.cluster.Origins()
	wanted := make(map[*replica]int64) // with the last reading begun before
	committed := make(map[*replica]partition.Revision)
	s.mu.Lock()
	for _, r := range replicas {
		need := reason != onCommit || r.stale || !r.read || r.err != nil
		if self := partition.Origin(r.Name()); !need && slices.Contains(masters, self) {
			committed[r] = s.cluster.Committed(r.Name())
			need = committed[r] <= r.known.Origins[self].Revision
		}
		if need && r.fault == nil && !r.reading && (reason >= onRequest || r.retry.elapsed(time.Now())) {
			r.reading = true
			wanted[r] = r.readsBegun
		}
	}
	s.mu.Unlock()
	late := s.readAll(ctx, wanted, reason)
	v := s.collectObservations(replicas, masters, wanted)
	v.mergeCommitted(committed)
	v.late = late
	v.origins = origins(v.observations, masters)
	s.compareHeads(ctx, v)
	return v
}

// readAll reads positions in parallel, for at most surveyTimeout; a standalone pass
// waits for all, which Options.Timeout bounds. If readings are late, readAll returns a
// channel that is closed when they end; the next pass then uses them.
func (s *Syncer) readAll(ctx context.Context, wanted map[*replica]int64, reason passReason) (late <-chan struct{}) {
	if len(wanted) == 0 {
		return nil
	}
	var group sync.WaitGroup
	for r := range wanted {
		group.Go(func() {
			_, _ = r.readPositions(ctx) // which records the error
			s.mu.Lock()
			defer s.mu.Unlock()
			r.reading = false
		})
	}
	done := make(chan struct{})
	s.background.Go(func() { group.Wait(); close(done) })
	if reason == standalone {
		<-done
		return nil
	}
	timer := time.NewTimer(surveyTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
	}
	s.background.Go(func() { <-done; notify(s.retryCh) })
	return done
}

func (s *Syncer) collectObservations(replicas []*replica, masters []partition.Origin, wanted map[*replica]int64) *survey {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &survey{masters: masters, behind: make(map[partition.Origin]error)}
	for _, r := range replicas {
		ok := r.isUsable(time.Now()) && !r.stale && !r.reading
		if r.setBack != nil && slices.Contains(masters, partition.Origin(r.Name())) {
			v.behind[partition.Origin(r.Name())] = r.setBack
		}
		before, asked := wanted[r]
		v.observations = append(v.observations, observation{replica: r, at: r.known, ok: ok, fresh: ok && asked && r.knownRead > before})
	}
	return v
}

// mergeCommitted raises the masters' heads to the commits of this process.
func (v *survey) mergeCommitted(committed map[*replica]partition.Revision) {
	for i := range v.observations {
		o := &v.observations[i]
		own := o.positionOf(partition.Origin(o.replica.Name()))
		if committed[o.replica] <= own.Revision {
			continue
		}
		own.Revision = committed[o.replica]
		o.at.Origins = maps.Clone(o.at.Origins) // the replica shares the map
		o.at.Origins[own.Origin] = own
	}
}

// origins returns all masters, and all former masters with remaining entries.
func origins(observations []observation, masters []partition.Origin) []partition.Origin {
	all := slices.Clone(masters)
	for i := range observations {
		for o, p := range observations[i].at.Origins {
			if p.Revision > 0 {
				all = append(all, o)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// compareHeads finds origins that hold less of their own changes than another partition
// does. A suspicious head is read again, after all positions of replicas, so that
// progress raises no alarm.
func (s *Syncer) compareHeads(ctx context.Context, v *survey) {
	for i := range v.observations {
		own := &v.observations[i]
		o := partition.Origin(own.replica.Name())
		if !own.ok || !slices.Contains(v.origins, o) {
			continue
		}
		highest, holder := v.highest(o)
		if own.fresh {
			s.durabilityOf(o).CapAt(own.positionOf(o).Revision)
		}
		if highest <= own.positionOf(o).Revision || !slices.Contains(v.masters, o) { // former masters are filled afresh
			continue
		}
		if at, err := own.replica.readPositions(ctx); err != nil {
			own.ok = false
		} else {
			own.at = at
		}
		if head := own.positionOf(o).Revision; own.ok && highest > head {
			v.behind[o] = fmt.Errorf("its newest revision is %d, but %s has seen %d of it", head, holder.Name(), highest)
		}
	}
}

// highest returns the highest revision of o that another partition holds or has
// as its goal.
func (v *survey) highest(o partition.Origin) (highest partition.Revision, holder *replica) {
	for i := range v.observations {
		if other := &v.observations[i]; other.replica.Name() != string(o) {
			if p := other.positionOf(o); p.Seen() > highest {
				highest, holder = p.Seen(), other.replica
			}
		}
	}
	return highest, holder
}

// toGo returns how many of the known revisions of o the target lacks.
func (v *survey) toGo(to *observation, o partition.Origin) int64 {
	var newest partition.Revision
	for i := range v.observations {
		at := v.observations[i].positionOf(o)
		newest = max(newest, at.Revision, at.Goal)
	}
	return distance(to.positionOf(o).Revision, newest)
}

// distance returns how many revisions lie between two; revisions of epochs older than that of to
// are not counted.
func distance(from, to partition.Revision) int64 {
	return max(0, int64(to-max(from, partition.Floor(to.Epoch()))))
}

// source returns the partition from which to copy o to a target: the origin itself if usable and not a former master that
// lacks own entries, else the most advanced replica; nil if there is none.
func (v *survey) source(to *observation, o partition.Origin) *observation {
	var best *observation
	highest, _ := v.highest(o)
	for i := range v.observations {
		from := &v.observations[i]
		if !from.ok || from.replica == to.replica {
			continue
		}
		if from.replica.Name() == string(o) && (slices.Contains(v.masters, o) || from.positionOf(o).Revision >= highest) {
			return from
		}
		if p := from.positionOf(o); p.Revision > 0 && (best == nil || isAhead(p, best.positionOf(o))) {
			best = from
		}
	}
	return best
}

// isAhead orders sources: by revision, then completeness, then by SyncedAt.
func isAhead(p, than partition.Position) bool {
	if p.Revision != than.Revision {
		return p.Revision > than.Revision
	}
	if p.Whole() != than.Whole() {
		return p.Whole()
	}
	return p.SyncedAt > than.SyncedAt
}
