package sync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// view is what a pass has seen.
type view struct {
	sights  []sight // of every configured partition, in order
	origins []partition.Origin
	behind  map[partition.Origin]error // origins that have lost something, and how that shows
	late    <-chan struct{}            // closed when those that did not answer in time have; nil if none
}

// sight is what a pass has seen of one partition.
type sight struct {
	peer  *peer
	at    partition.Positions // as read, or as remembered
	ok    bool                // can be copied to and from
	fresh bool                // was read in this pass
}

// position is how far the partition is with an origin: the zero position when
// it holds nothing of it.
func (s *sight) position(o partition.Origin) partition.Position {
	p := s.at.Origins[o]
	p.Origin = o
	return p
}

// patience is how long a pass of Run waits for positions before it goes on
// with those that were read; the rest is known to the next pass.
const patience = 200 * time.Millisecond

// look reads positions: on a woken pass those of whoever is not remembered, and
// of masters of which no commit of this process tells more than is remembered;
// otherwise those of all partitions.
func (s *Syncer) look(ctx context.Context, o occasion) *view {
	peers := s.roll()
	masters := s.cluster.Origins()
	var wanted []*peer
	told := make(map[*peer]partition.Revision)
	s.mu.Lock()
	for _, p := range peers {
		need := o != woken || p.stale || !p.read || p.err != nil
		if self := partition.Origin(p.Name()); !need && slices.Contains(masters, self) {
			told[p] = s.cluster.Committed(p.Name())
			need = told[p] <= p.known.Origins[self].Revision
		}
		if need && p.fault == nil && !p.reading && (o >= asked || p.pause.over(time.Now())) {
			p.reading = true
			wanted = append(wanted, p)
		}
	}
	s.mu.Unlock()
	read, late := s.readAll(ctx, wanted, o)
	v := s.see(peers, read)
	v.tell(told)
	v.late = late
	v.origins = origins(v.sights, masters)
	s.compareHeads(ctx, v)
	return v
}

// readAll reads positions side by side, and returns whose were read in time.
// A pass that is alone waits for all: Options.Timeout bounds it.
func (s *Syncer) readAll(ctx context.Context, peers []*peer, o occasion) (inTime map[*peer]bool, late <-chan struct{}) {
	read := make(map[*peer]bool) // those who are late write to it when this has returned
	answers := make(chan *peer, len(peers))
	for _, p := range peers {
		s.work.Go(func() {
			_, err := p.learn(ctx)
			s.mu.Lock()
			defer s.mu.Unlock()
			p.reading = false
			read[p] = err == nil
			answers <- p
		})
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for left := len(peers); left > 0; {
		select {
		case <-answers:
			left--
		case <-timer.C:
			if o != alone {
				return s.soFar(read), s.whenLate(answers, left)
			}
		}
	}
	return read, nil
}

// soFar copies what readers may still be writing.
func (s *Syncer) soFar(read map[*peer]bool) map[*peer]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(read)
}

// whenLate waits for the answers that are left, and has a pass look at them.
func (s *Syncer) whenLate(answers <-chan *peer, left int) <-chan struct{} {
	done := make(chan struct{})
	s.work.Go(func() {
		defer close(done)
		for range left {
			<-answers
		}
		signal(s.kick)
	})
	return done
}

func (s *Syncer) see(peers []*peer, read map[*peer]bool) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &view{behind: make(map[partition.Origin]error)}
	for _, p := range peers {
		ok := p.usable(time.Now()) && !p.stale && !p.reading
		if p.setBack != nil {
			v.behind[partition.Origin(p.Name())] = p.setBack
		}
		v.sights = append(v.sights, sight{peer: p, at: p.known, ok: ok, fresh: ok && read[p]})
	}
	return v
}

// tell adds what commits of this process have told since masters were read.
func (v *view) tell(told map[*peer]partition.Revision) {
	for i := range v.sights {
		s := &v.sights[i]
		own := s.position(partition.Origin(s.peer.Name()))
		if told[s.peer] <= own.Revision {
			continue
		}
		own.Revision = told[s.peer]
		s.at.Origins = maps.Clone(s.at.Origins) // it is the peer's too
		s.at.Origins[own.Origin] = own
	}
}

// origins is all masters, and whoever was one: its entries are still there.
func origins(sights []sight, masters []partition.Origin) []partition.Origin {
	all := slices.Clone(masters)
	for i := range sights {
		for o, p := range sights[i].at.Origins {
			if p.Revision > 0 {
				all = append(all, o)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// compareHeads finds origins of which somebody holds more than themselves. Their
// heads are read again, after all others, so that progress is no alarm.
func (s *Syncer) compareHeads(ctx context.Context, v *view) {
	for i := range v.sights {
		own := &v.sights[i]
		o := partition.Origin(own.peer.Name())
		if !own.ok || !slices.Contains(v.origins, o) {
			continue
		}
		highest, holder := v.highest(o)
		if own.fresh {
			s.gate(o).notBeyond(own.position(o).Revision)
		}
		if highest <= own.position(o).Revision {
			continue
		}
		if at, err := own.peer.learn(ctx); err != nil {
			own.ok = false
		} else {
			own.at = at
		}
		if head := own.position(o).Revision; own.ok && highest > head {
			v.behind[o] = fmt.Errorf("its newest revision is %d, but %s has seen %d of it", head, holder.Name(), highest)
		}
	}
}

// highest is the highest revision of o that another partition holds or was
// on its way to.
func (v *view) highest(o partition.Origin) (highest partition.Revision, holder *peer) {
	for i := range v.sights {
		if other := &v.sights[i]; other.peer.Name() != string(o) {
			if p := other.position(o); p.Seen() > highest {
				highest, holder = p.Seen(), other.peer
			}
		}
	}
	return highest, holder
}

// toGo is how many revisions of o the target lacks of those that are known to exist.
func (v *view) toGo(to *sight, o partition.Origin) int64 {
	var newest partition.Revision
	for i := range v.sights {
		at := v.sights[i].position(o)
		newest = max(newest, at.Revision, at.Goal)
	}
	return distance(to.position(o).Revision, newest)
}

// source is who to copy o to a target from: the origin itself or, when it
// cannot be used, whoever else holds most, those that are whole preferred.
func (v *view) source(to *sight, o partition.Origin) *sight {
	var best *sight
	for i := range v.sights {
		s := &v.sights[i]
		if !s.ok || s.peer == to.peer {
			continue
		}
		if s.peer.Name() == string(o) {
			return s
		}
		if p := s.position(o); p.Revision > 0 && (best == nil || ahead(p, best.position(o))) {
			best = s
		}
	}
	return best
}

func ahead(p, than partition.Position) bool {
	if p.Revision != than.Revision {
		return p.Revision > than.Revision
	}
	if p.Whole() != than.Whole() {
		return p.Whole()
	}
	return p.SyncedAt > than.SyncedAt
}
