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
	Lost string // the master, which this process cannot reach
	To   string
	// Stopped says that the server of the lost master is stopped, and that no process can write to it. Needed without leases.
	Stopped bool
	// Automatic says that no operator asks: the map must allow such promotions, and must not be within the cooldown of another.
	Automatic bool
}

// Promoted is the result of a promotion.
type Promoted struct {
	Epoch int64 // that began
	Slots int   // that have the new master
	// Cut is the last revision of the lost master that counts; 0: all of its writes count, because it has returned.
	Cut partition.Revision
}

// PromoteStage is a stage of a promotion.
type PromoteStage string

// The stages of a promotion, in their order. From PromoteBegun on the slots have no master.
const (
	PromoteLevelling PromoteStage = "levelling" // the new master copies the writes of the lost master that reachable partitions hold
	PromoteBegun     PromoteStage = "begun"     // a majority of the voters knows that the lost master is replaced
	PromoteExcluded  PromoteStage = "excluded"  // no process can write to the lost master any more
	PromoteDone      PromoteStage = "done"      // the new master takes writes
)

// ErrPromoteRefused: the promotion cannot be made; nothing was changed.
var ErrPromoteRefused = errors.New("the promotion cannot be made")

func refusePromotion(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPromoteRefused, fmt.Errorf(format, args...))
}

// answerTimeout is how long a lost master may take to answer after all.
const answerTimeout = 2 * time.Second

// Promote makes a partition the master of all slots of a lost master, in two changes of the map. With the first the slots have no
// master, and the partitions that accept it take no further copies of the lost master's writes. Once no process can write to
// the lost master any longer, the new master copies the writes that a majority of the voters holds, and the second change makes it the
// owner. Writes beyond do not count any more: should the lost master return with such writes, it is refused. A promotion that
// is interrupted is completed by any process that runs the store. progress is called at each stage; it must not block.
func (r *Register) Promote(ctx context.Context, q PromoteRequest, progress func(PromoteStage)) (Promoted, error) {
	progress(PromoteLevelling)
	to, err := r.checkPromotion(ctx, q)
	if err != nil {
		return Promoted{}, err
	}
	if _, err := r.levelForPromotion(ctx, partition.Origin(q.Lost), to, nil); err != nil {
		return Promoted{}, err
	}
	c, err := r.changeInPlaceOf(ctx, q.stopped(), func(c partition.Cluster) (partition.Cluster, error) { return beginPromotion(c, q) })
	if err != nil {
		return Promoted{}, err
	}
	progress(PromoteBegun)
	return r.finishPromotion(ctx, c, progress)
}

// stopped returns the lost master if an operator says that it is stopped, or "".
func (q *PromoteRequest) stopped() string {
	if q.Stopped {
		return q.Lost
	}
	return ""
}

// finishPromotion completes the promotion under way in the map c, which was chosen. finishPromotion may run in several
// processes at once. Without success the promotion stays under way, and the next process goes on.
func (r *Register) finishPromotion(ctx context.Context, c partition.Cluster, progress func(PromoteStage)) (Promoted, error) {
	m := underWay(&c)
	if m == nil || !m.Lost {
		return Promoted{}, errAbortedElsewhere
	}
	to := r.backends.Named(m.To)
	if to == nil { // a process that has it configured completes the promotion
		return Promoted{}, notConfigured(m.To)
	}
	var cut partition.Revision
	err := r.exclude(ctx, &c, m)
	switch {
	case err == nil:
		progress(PromoteExcluded)
		cut, err = r.levelForPromotion(ctx, partition.Origin(m.From), to, &c)
	case errors.Is(err, errReturned):
		progress(PromoteExcluded)
		bound, cancel := context.WithTimeout(ctx, levelTimeout)
		defer cancel()
		err = r.levelForMove(bound, c, r.backends.Named(m.From), to, partition.Floor(m.Began))
	}
	if err != nil {
		return Promoted{}, fmt.Errorf("the promotion is under way, and a running server or a repetition completes it: %w", err)
	}
	done := Promoted{Cut: cut}
	c, err = r.change(ctx, func(now partition.Cluster) (partition.Cluster, error) { return endPromotion(now, *m, cut) })
	if err != nil {
		return Promoted{}, err
	}
	for i := range c.Moves {
		if o := &c.Moves[i]; o.Began == m.Began && o.Done > 0 {
			done.Epoch, done.Slots = o.Done, len(o.Slots.All())
		}
	}
	if done.Epoch == 0 {
		return Promoted{}, errAbortedElsewhere
	}
	if e := endOf(&c, partition.Origin(m.From)); e != nil && e.Below == partition.Floor(m.Began) {
		done.Cut = e.Cut // by this process or by another
	}
	progress(PromoteDone)
	return done, nil
}

// checkPromotion refuses a promotion that cannot be made, and returns the partition to promote.
func (r *Register) checkPromotion(ctx context.Context, q PromoteRequest) (*backend.Backend, error) {
	c, to := r.Map(), r.backends.Named(q.To)
	if c == nil {
		return nil, refusePromotion("no partition that belongs to a cluster was reached")
	}
	if _, err := beginPromotion(cloneMap(c.Cluster), q); err != nil {
		return nil, err
	}
	if to == nil {
		return nil, refusePromotion("%w", notConfigured(q.To))
	}
	if err := unusable(to); err != nil {
		return nil, refusePromotion("%w", err)
	}
	if r.lostAnswers(ctx, q) {
		return nil, refusePromotion("%s answers: 'runnel move' takes its slots without losing a write; to promote in spite of that, stop its server first", q.Lost)
	}
	if err := r.checkSchemas(ctx); err != nil {
		return nil, refusePromotion("%w", err)
	}
	return to, nil
}

// lostAnswers reports whether the lost master answers. For an automatic promotion the last poll says so: another attempt could
// take long, and the polls have failed for a while.
func (r *Register) lostAnswers(ctx context.Context, q PromoteRequest) bool {
	lost := r.backends.Named(q.Lost)
	switch {
	case lost == nil:
		return false
	case q.Automatic:
		_, answers := lost.AnsweredAt()
		return answers
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := lost.Cluster(ctx)
	return err == nil
}

// levelForPromotion lets a partition copy all writes of a lost master that other partitions hold, and returns the revision up to
// which it holds everything then. With the map of a promotion, these are the partitions that have accepted the map, among them a
// majority of the voters: none of them takes further copies of these writes. Without, they are all that answer.
func (r *Register) levelForPromotion(ctx context.Context, lost partition.Origin, to *backend.Backend, c *partition.Cluster) (partition.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, levelTimeout)
	defer cancel()
	for {
		var at partition.Position
		var source *backend.Backend
		others, err := r.sourcesOf(ctx, lost, c)
		if err == nil {
			at, source, err = r.mostAdvanced(ctx, lost, to, others)
		}
		switch {
		case err != nil:
		case source == nil && at.Whole():
			return at.Revision, nil
		case source == nil:
			return 0, refusePromotion("%s holds the writes of %s up to %d of %d only, a mixture of moments, and no partition that answers holds the rest: promote another partition, or bring one back that holds it", to.Name(), lost, at.Revision, at.Goal)
		default:
			_, err = partition.CatchUpJointly(ctx, source, to, at, 0)
		}
		select {
		case <-ctx.Done():
			return 0, refusePromotion("%s lacks writes that another partition holds, after %s: promote another partition, or let the sync process fill this one: %w", to.Name(), levelTimeout, cmp.Or(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// sourcesOf returns the partitions that writes of a lost master are copied from; see levelForPromotion.
func (r *Register) sourcesOf(ctx context.Context, lost partition.Origin, c *partition.Cluster) (sources []*backend.Backend, err error) {
	var others []*backend.Backend
	for _, b := range r.backends.All() {
		if b.Name() != string(lost) {
			others = append(others, b)
		}
	}
	if c == nil {
		return slices.DeleteFunc(others, func(b *backend.Backend) bool { return !b.IsReadable() }), nil
	}
	accepted := r.askAll(ctx, others, func(ctx context.Context, b *backend.Backend) (partition.Cluster, error) {
		stands, err := b.Accept(ctx, *c)
		if err == nil && (stands.Epoch != c.Epoch || stands.Accepted < c.Accepted) {
			err = fmt.Errorf("%w: %s has another map", partition.ErrOutvoted, b.Name())
		}
		return stands, err
	})
	votes := 0
	for _, b := range others {
		if _, has := accepted.rows[b.Name()]; has {
			sources = append(sources, b)
			if slices.Contains(c.Voters, b.Name()) {
				votes++
			}
		}
	}
	if need := majorityWithout(c.Voters, stoppedIn(c)); votes < need {
		return nil, fmt.Errorf("%w: %d of %d have to accept the promotion, and %d did: %w", ErrNoMajority, need, len(c.Voters), votes, joinErrors(accepted.errors))
	}
	return sources, nil
}

// mostAdvanced returns the position of a partition for a lost master, and the partition among others that holds most beyond;
// nil: none. An error says that the partition is not filled, or lacks entries of a former master.
func (r *Register) mostAdvanced(ctx context.Context, lost partition.Origin, to *backend.Backend, others []*backend.Backend) (at partition.Position, source *backend.Backend, err error) {
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
	for _, b := range others {
		if b == to {
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

// beginPromotion takes all slots from a lost master. A move that is under way and needs the lost partition ends.
func beginPromotion(c partition.Cluster, q PromoteRequest) (partition.Cluster, error) {
	lost := slices.Index(c.Masters, q.Lost)
	m := underWay(&c)
	if err := checkAutomatic(&c, q); err != nil {
		return c, err
	}
	switch {
	case lost < 0:
		return c, refusePromotion("%s is not a master; the masters are %s", q.Lost, strings.Join(c.Masters, ", "))
	case q.Lost == q.To:
		return c, refusePromotion("%s cannot take its own place", q.To)
	case !q.Stopped && !c.Leases.Held:
		return c, refusePromotion("processes have no master leases, so that some could still write to %s: stop its server and say so (--old-master-is-stopped), or set master leases before a master is lost (runnel leases)", q.Lost)
	case m != nil && m.Lost && m.From == q.Lost && m.To == q.To && (m.Stopped || !q.Stopped):
		return c, nil // it was interrupted, and goes on
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
	if q.Automatic {
		c.Failover.Cooling = c.Epoch
	}
	c.Epochs[q.Lost] = c.Epoch
	c.Moves = append(c.Moves, partition.Move{Slots: partition.NewSlotSet(len(c.Slots), slots...), From: q.Lost, To: q.To, Began: c.Epoch, Lost: true, Stopped: q.Stopped})
	return c, nil
}

// endPromotion gives the slots to the new master, unless the promotion has ended. Of the lost master's writes those up to the
// cut count; 0: all.
func endPromotion(c partition.Cluster, ending partition.Move, cut partition.Revision) (partition.Cluster, error) {
	m := underWay(&c)
	if m == nil || m.Began != ending.Began || m.To != ending.To {
		return c, nil
	}
	if err := nextEpoch(&c); err != nil {
		return c, err
	}
	if cut > 0 {
		c.Ends = append(c.Ends, partition.End{Origin: partition.Origin(m.From), Cut: cut, Below: partition.Floor(m.Began)})
	}
	giveSlots(&c, m)
	return c, nil
}
