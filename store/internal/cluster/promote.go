package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// PromoteRequest names a partition that shall take the place of a master that is lost.
type PromoteRequest struct {
	Lost string // the master, which no process can reach: its server is stopped
	To   string
}

// Promoted is the result of a promotion.
type Promoted struct {
	Epoch int64              // that began
	Slots int                // that have the new master
	Cut   partition.Revision // the last revision of the lost master that counts
}

// ErrPromoteRefused: the promotion cannot be made; nothing was changed.
var ErrPromoteRefused = errors.New("the promotion cannot be made")

func refusePromotion(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPromoteRefused, fmt.Errorf(format, args...))
}

// answerTimeout is how long a lost master may take to answer after all.
const answerTimeout = 2 * time.Second

// Promote makes a partition the master of all slots of a lost master. The partition first copies all
// writes of the lost master that any reachable partition holds. Writes beyond do not count any more: should the lost master return with such writes, it is
// refused. No process may write to the lost master any longer: Promote refuses a master that answers, and cannot see more.
func (r *Register) Promote(ctx context.Context, q PromoteRequest) (Promoted, error) {
	to, err := r.checkPromotion(ctx, q)
	if err != nil {
		return Promoted{}, err
	}
	cut, err := r.levelForPromotion(ctx, partition.Origin(q.Lost), to)
	if err != nil {
		return Promoted{}, err
	}
	done := Promoted{Cut: cut}
	c, err := r.changeInPlaceOf(ctx, q.Lost, q.To, func(c partition.Cluster) (partition.Cluster, error) {
		if end := endOf(&c, partition.Origin(q.Lost)); end != nil && done.Epoch > 0 && end.Below == partition.Floor(done.Epoch) {
			return c, nil // by an attempt that was outvoted, and completed by another process
		}
		c, err := promote(c, q, cut)
		done.Epoch = c.Epoch
		return c, err
	})
	if err != nil {
		return Promoted{}, err
	}
	for i := range c.Moves {
		if m := &c.Moves[i]; m.Began == done.Epoch {
			done.Slots = len(m.Slots.All())
		}
	}
	return done, nil
}

// checkPromotion refuses a promotion that cannot be made, and returns the partition to promote.
func (r *Register) checkPromotion(ctx context.Context, q PromoteRequest) (*backend.Backend, error) {
	c, to := r.Map(), r.backends.Named(q.To)
	if c == nil {
		return nil, refusePromotion("no partition that belongs to a cluster was reached")
	}
	if _, err := promote(cloneMap(c.Cluster), q, 0); err != nil {
		return nil, err
	}
	if to == nil {
		return nil, refusePromotion("%w", notConfigured(q.To))
	}
	if err := unusable(to); err != nil {
		return nil, refusePromotion("%w", err)
	}
	if lost := r.backends.Named(q.Lost); lost != nil {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if _, err := lost.Cluster(ctx); err == nil {
			return nil, refusePromotion("%s answers: 'runnel move' takes its slots without losing a write; to promote in spite of that, stop its server first", q.Lost)
		}
	}
	if err := r.checkSchemas(ctx); err != nil {
		return nil, refusePromotion("%w", err)
	}
	return to, nil
}

// levelForPromotion lets a partition copy all writes of a lost master that any reachable partition holds, and returns the
// revision up to which it holds everything then.
func (r *Register) levelForPromotion(ctx context.Context, lost partition.Origin, to *backend.Backend) (partition.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, levelTimeout)
	defer cancel()
	for {
		at, source, err := r.mostAdvanced(ctx, lost, to)
		switch {
		case err != nil:
		case source == nil && at.Whole():
			return at.Revision, nil
		case source == nil:
			return 0, refusePromotion("%s holds the writes of %s up to %d of %d only, a mixture of moments, and no partition that answers holds the rest", to.Name(), lost, at.Revision, at.Goal)
		default:
			_, err = partition.CatchUpJointly(ctx, source, to, at, 0)
		}
		select {
		case <-ctx.Done():
			return 0, refusePromotion("%s lacks writes that another partition holds, after %s: %w", to.Name(), levelTimeout, cmp.Or(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// mostAdvanced returns the position of a partition for a lost master, and the partition that holds most beyond; nil: none. An
// error says that the partition is not filled, or lacks entries of a former master.
func (r *Register) mostAdvanced(ctx context.Context, lost partition.Origin, to *backend.Backend) (at partition.Position, source *backend.Backend, err error) {
	all, err := to.ReadPositions(ctx)
	if err != nil {
		return at, nil, err
	}
	c := r.Map()
	for _, o := range c.Cluster.Origins() {
		p := all.Origins[o]
		isMaster := slices.Contains(c.Masters, string(o))
		if string(o) != to.Name() && (!p.Filled() || !isMaster && p.Revision < c.GaveAway(o)) {
			return at, nil, fmt.Errorf("%w: %s does not hold all of %s yet", partition.ErrTooFar, to.Name(), o)
		}
	}
	at = all.Origins[lost]
	at.Origin = lost
	most := at
	for _, b := range r.backends.All() {
		if b == to || b.Name() == string(lost) || !b.IsReadable() {
			continue
		}
		positions, err := b.ReadPositions(ctx)
		if err != nil {
			return at, nil, err
		}
		if p := positions.Origins[lost]; p.Revision > most.Revision || p.Revision == most.Revision && p.Whole() && !most.Whole() {
			source, most = b, p
		}
	}
	return at, source, nil
}

// endOf returns the last end of an origin, or nil.
func endOf(c *partition.Cluster, o partition.Origin) *partition.End {
	for i := len(c.Ends) - 1; i >= 0; i-- {
		if c.Ends[i].Origin == o {
			return &c.Ends[i]
		}
	}
	return nil
}

// promote gives the slots of a lost master to another partition. Of the lost master's writes those up to the cut count.
func promote(c partition.Cluster, q PromoteRequest, cut partition.Revision) (partition.Cluster, error) {
	lost := slices.Index(c.Masters, q.Lost)
	m := underWay(&c)
	switch {
	case lost < 0:
		return c, refusePromotion("%s is not a master; the masters are %s", q.Lost, strings.Join(c.Masters, ", "))
	case q.Lost == q.To:
		return c, refusePromotion("%s cannot take its own place", q.To)
	case m != nil && m.From != q.Lost && m.To != q.Lost:
		return c, refusePromotion("a move from %s to %s is under way", m.From, m.To)
	}
	if err := nextEpoch(&c); err != nil {
		return c, err
	}
	if m != nil { // it cannot be completed without the lost partition
		c.Epochs[m.From] = c.Epoch
		c.Moves = c.Moves[:len(c.Moves)-1]
	}
	var slots []uint16
	for slot, owner := range c.Slots {
		if int(owner) == lost {
			slots = append(slots, uint16(slot))
		}
	}
	c.Ends = append(c.Ends, partition.End{Origin: partition.Origin(q.Lost), Cut: cut, Below: partition.Floor(c.Epoch)})
	c.Moves = append(c.Moves, partition.Move{Slots: partition.NewSlotSet(len(c.Slots), slots...), From: q.Lost, To: q.To, Began: c.Epoch})
	giveSlots(&c, &c.Moves[len(c.Moves)-1])
	return c, nil
}
