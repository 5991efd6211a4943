package partitiontest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runnelkv/runnel/store/partition"
)

var ballotChecks = []check{
	{"PromisesRise", checkPromisesRise},
	{"PromiseRacesHaveOneWinnerABallot", checkPromiseRaces},
	{"AcceptKeepsPromises", checkAcceptKeepsPromises},
	{"BallotDecidesBetweenMaps", checkBallotDecides},
	{"ChosenMapIsNeverLost", checkChosenStays},
	{"AcceptMayBeRepeated", checkAcceptRepeated},
	{"AcceptRacesEndInOneMap", checkAcceptRaces},
	{"AcceptIsBeforeOrAfterEachCommit", checkAcceptAmidCommits},
	{"AcceptMakesAReplicaAMaster", checkNewMaster},
	{"AcceptRefusesAMasterThatLacksOwnEntries", checkMasterLacksEntries},
	{"AcceptRefusesDamagedMoves", checkDamagedMoves},
	{"BallotsNeedMigratedTables", checkBallotsNeedTables},
	{"JoinTakesNoBallots", checkJoinTakesNoBallots},
	{"PromiseAwaitsARestore", checkPromiseAwaitsRestore},
	{"PositionsShowTheEpochOfTheSameMoment", checkPositionsEpoch},
	{"KillMidAcceptLeavesAMapWithItsCounter", checkKillMidAccept},
	{"ApplyIsByTheMapOfItsPlan", checkApplyBallot},
	{"CopiesOfALostMasterEndWithItsPromotion", checkLostMasterStandsStill},
}

// voter returns a node whose tables hold ballots.
func (s suite) voter(t *testing.T, name string) node {
	t.Helper()
	n := s.node(t, name)
	must(t, n.Finish(t.Context()))
	return n
}

// proposal returns a map of an epoch in which alpha's counter runs, with a move and a ballot.
func proposal(ballot, e int64) partition.Cluster {
	c := clusterOf(alpha)
	c.Epoch, c.Accepted = e, ballot
	c.Epochs, c.Voters = map[string]int64{alpha: e}, []string{alpha, beta}
	c.Moves = []partition.Move{
		{Slots: partition.NewSlotSet(len(c.Slots), 0, 700), From: "gamma", To: alpha, Began: e - 1, Done: e},
		{Slots: partition.NewSlotSet(len(c.Slots), 1023), From: alpha, To: beta, Began: e},
	}
	return c
}

// wantRow fails the check unless the row is the map of want with the ballots.
func wantRow(t *testing.T, p partition.Partition, want partition.Cluster, promised, accepted, chosen int64) {
	t.Helper()
	got, err := p.Cluster(t.Context())
	must(t, err)
	want.PartitionID, want.Name = got.PartitionID, p.Name()
	want.Promised, want.Accepted, want.Chosen = promised, accepted, chosen
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the row differs: %s", diff)
	}
}

// wantAccept proposes c. The row must be of the epoch with the ballots afterwards.
func wantAccept(t *testing.T, p partition.Partition, c partition.Cluster, e, promised, accepted, chosen int64) {
	t.Helper()
	row, err := p.Accept(t.Context(), c)
	must(t, err)
	if row.Epoch != e || row.Promised != promised || row.Accepted != accepted || row.Chosen != chosen {
		t.Errorf("ballot %d of epoch %d: the row is of epoch %d, with %d promised, %d accepted and %d chosen; want %d, %d, %d, %d",
			c.Accepted, c.Epoch, row.Epoch, row.Promised, row.Accepted, row.Chosen, e, promised, accepted, chosen)
	}
}

func checkPromisesRise(t *testing.T, s suite) {
	n := s.voter(t, beta)
	promised := int64(0)
	for _, ballot := range []int64{5, 5, 4, 0, 6, 1 << 50, 7} {
		row, err := n.Promise(t.Context(), ballot)
		if ballot > promised {
			promised = ballot
			must(t, err)
		} else {
			wantError(t, err, partition.ErrOutvoted)
		}
		if row.Promised != promised || row.Accepted != 0 || row.ID != clusterOf().ID || row.Epoch != epoch {
			t.Errorf("ballot %d gave %+v, want %d promised", ballot, row, promised)
		}
		wantRow(t, n.open(t), clusterOf(alpha), promised, 0, 0)
	}
	wantAccept(t, n, proposal(promised, epoch+1), epoch+1, promised, promised, 0)
	row, err := n.Promise(t.Context(), promised)
	wantError(t, err, partition.ErrOutvoted)
	if row.Accepted != promised || len(row.Moves) != 2 {
		t.Errorf("the row of an outvoted ballot is %+v", row)
	}
	row, err = n.Promise(t.Context(), promised+1)
	must(t, err)
	wantRow(t, n, proposal(0, epoch+1), promised+1, promised, 0)
	if row.Promised != promised+1 || row.Accepted != promised {
		t.Errorf("a promise gave %+v", row)
	}
	must(t, n.Close())
	wantRow(t, n.open(t), proposal(0, epoch+1), promised+1, promised, 0)
	vacant := s.fresh(t, alpha)
	must(t, vacant.Finish(t.Context()))
	_, err = vacant.Promise(t.Context(), 1)
	wantError(t, err, partition.ErrNoCluster)
}

func checkPromiseRaces(t *testing.T, s suite) {
	n := s.voter(t, beta)
	const last = 30
	var won [last + 1]atomic.Int64
	var promise []func() error
	for range writers {
		p := n.open(t)
		promise = append(promise, func() error {
			for ballot := int64(1); ballot <= last; ballot++ {
				row, err := p.Promise(t.Context(), ballot)
				if err == nil {
					won[ballot].Add(1)
				}
				if unless(err, partition.ErrOutvoted) != nil || row.Promised < ballot {
					return fmt.Errorf("ballot %d: %d is promised, %w", ballot, row.Promised, err)
				}
			}
			return nil
		})
	}
	together(t, promise...)
	for ballot := range won {
		if n := won[ballot].Load(); n > 1 || ballot == last && n == 0 {
			t.Errorf("ballot %d was promised to %d proposers", ballot, n)
		}
	}
}

func checkAcceptKeepsPromises(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	_, err := n.Promise(t.Context(), 5)
	must(t, err)
	later := clusterOf(alpha)
	later.Epoch = epoch + 7
	wantAccept(t, n, later, epoch, 5, 0, 0) // without a ballot
	lower := proposal(4, epoch+1)
	lower.Chosen = 4
	wantAccept(t, n, lower, epoch, 5, 0, 0)
	wantRow(t, n, clusterOf(alpha), 5, 0, 0)
	if at := position(t, n, alpha).Revision; at != partition.Floor(epoch) {
		t.Errorf("maps that were not accepted moved the counter to %d", at)
	}
	wantAccept(t, n, proposal(5, epoch+1), epoch+1, 5, 5, 0)
	wantAccept(t, n, proposal(9, epoch+2), epoch+2, 9, 9, 0) // without a promise
	wantRow(t, n, proposal(0, epoch+2), 9, 9, 0)
	wantAccept(t, n, proposal(8, epoch+3), epoch+2, 9, 9, 0)
	wantAccept(t, n, later, epoch+2, 9, 9, 0)
	foreign := proposal(10, epoch+3)
	foreign.ID = "ffeeddccbbaa99887766554433221100"
	_, err = n.Accept(t.Context(), foreign)
	wantError(t, err, partition.ErrRefused)
	wantRow(t, n.open(t), proposal(0, epoch+2), 9, 9, 0)
}

func checkBallotDecides(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	wantAccept(t, n, proposal(3, epoch+2), epoch+2, 3, 3, 0)
	same := proposal(4, epoch+2)
	same.Moves[1].To = "gamma"
	wantAccept(t, n, same, epoch+2, 4, 4, 0)
	wantRow(t, n, same, 4, 4, 0)
	lower := proposal(6, epoch+1)
	lower.Moves, lower.Voters = nil, []string{alpha}
	wantAccept(t, n, lower, epoch+1, 6, 6, 0)
	wantRow(t, n.open(t), lower, 6, 6, 0)
	if at := position(t, n, alpha).Revision; at != partition.Floor(epoch+2) {
		t.Errorf("the counter went to %d, want the floor of epoch %d", at, epoch+2)
	}
	wantAccept(t, n, proposal(7, epoch+3), epoch+3, 7, 7, 0)
	commitOf := func(e int64) error {
		_, err := n.Commit(t.Context(), partition.Batch{Epoch: e, Revisions: 1, Write: []partition.Entry{put("k/a", "1")}})
		return err
	}
	for e := int64(epoch); e <= epoch+2; e++ {
		wantError(t, commitOf(e), partition.ErrStaleEpoch)
	}
	must(t, commitOf(epoch+3))
}

func checkChosenStays(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	first := proposal(3, epoch+2)
	first.Chosen = 3
	wantAccept(t, n, first, epoch+2, 3, 3, 3)
	wantRow(t, n.open(t), first, 3, 3, 3)
	lower, other := proposal(4, epoch+1), proposal(4, epoch+2)
	other.Voters = []string{beta}
	for _, c := range []partition.Cluster{lower, other} {
		_, err := n.Accept(t.Context(), c)
		wantError(t, err, partition.ErrRefused)
		wantRow(t, n, first, 3, 3, 3)
	}
	again := first
	again.Accepted, again.Chosen = 5, 0
	wantAccept(t, n, again, epoch+2, 5, 5, 3) // the chosen map under a higher ballot
	wantAccept(t, n, proposal(6, epoch+3), epoch+3, 6, 6, 3)
	again.Accepted = 8 // the map of ballot 6 had no majority
	wantAccept(t, n, again, epoch+2, 8, 8, 3)
	last := proposal(9, epoch+4)
	last.Chosen = 3 // of another map
	wantAccept(t, n, last, epoch+4, 9, 9, 3)
	last.Chosen = 9
	wantAccept(t, n, last, epoch+4, 9, 9, 9)
	first.Accepted, first.Chosen = 3, 3
	wantAccept(t, n, first, epoch+4, 9, 9, 9)

	never := s.voter(t, alpha) // a map from before the ballots counts as chosen
	_, err := never.Accept(t.Context(), proposal(1, epoch-1))
	wantError(t, err, partition.ErrRefused)
	wantRow(t, never, clusterOf(alpha), 0, 0, 0)
}

func checkAcceptRepeated(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	c := proposal(3, epoch+1)
	for range 2 {
		wantAccept(t, n, c, epoch+1, 3, 3, 0)
	}
	claim, err := n.Commit(t.Context(), partition.Batch{Epoch: epoch + 1, Revisions: 2})
	must(t, err)
	_, err = n.Promise(t.Context(), 7)
	must(t, err)
	wantAccept(t, n, c, epoch+1, 7, 3, 0)
	c.Chosen = 3
	wantAccept(t, n, c, epoch+1, 7, 3, 3) // a majority accepted the ballot before it heard of the next
	c.Chosen = 0
	wantAccept(t, n, c, epoch+1, 7, 3, 3)
	wantRow(t, n.open(t), c, 7, 3, 3)
	if at := position(t, n, alpha).Revision; at != claim.First+1 {
		t.Errorf("repetitions moved the counter from %d to %d", claim.First+1, at)
	}
	other := proposal(3, epoch+1)
	other.Moves[0].Slots = partition.NewSlotSet(1024, 9)
	_, err = n.Accept(t.Context(), other)
	wantError(t, err, partition.ErrRefused)
	wantRow(t, n, c, 7, 3, 3)
}

// checkAcceptRaces lets proposers with ballots of their own race.
func checkAcceptRaces(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	const rounds = 10
	var accept []func() error
	for w := range int64(writers) {
		p := n.open(t)
		accept = append(accept, func() error {
			for i := range int64(rounds) {
				c := proposal(1+i*writers+w, epoch+1+i*writers+w)
				row, err := p.Accept(t.Context(), c)
				if err != nil || row.Promised < c.Accepted || row.Accepted != row.Epoch-epoch {
					return fmt.Errorf("ballot %d: the row has %d promised, and %d accepted with epoch %d (%w)", c.Accepted, row.Promised, row.Accepted, row.Epoch, err)
				}
			}
			return nil
		})
	}
	together(t, accept...)
	last := int64(rounds * writers)
	wantRow(t, n, proposal(0, epoch+last), last, last, 0)
	if at := position(t, n, alpha).Revision; at != partition.Floor(epoch+last) {
		t.Errorf("the counter is at %d, want the floor of epoch %d", at, epoch+last)
	}
}

// checkAcceptAmidCommits: writers of the former epoch commit until they fail. What an observer of the
// new map has seen of them is all there will be.
func checkAcceptAmidCommits(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	var acknowledged atomic.Int64
	var work []func() error
	for w := range writers {
		p := n.open(t)
		work = append(work, func() error {
			for i := 0; ; i++ {
				before, err := p.Cluster(t.Context())
				if err != nil {
					return err
				}
				_, err = p.Commit(t.Context(), batch(put(fmt.Sprintf("k/%d/%d", w, i), "v")))
				switch {
				case err == nil && before.Epoch > epoch:
					return errors.New("a commit of the former epoch succeeded after the map was there")
				case err == nil:
					acknowledged.Add(1)
				case errors.Is(err, partition.ErrStaleEpoch):
					return nil
				default:
					return err
				}
			}
		})
	}
	seen := -1
	mover := n.open(t)
	work = append(work, func() error {
		if err := eventually(t.Context(), func() bool { return acknowledged.Load() >= 3*writers }); err != nil {
			return err
		}
		_, err := mover.Accept(t.Context(), proposal(1, epoch+1))
		seen = len(held(t, mover, alpha))
		return err
	})
	together(t, work...)
	if stand := len(held(t, n, alpha)); stand != seen || int64(stand) != acknowledged.Load() {
		t.Errorf("%d entries stood after the accept, %d stand, and %d were acknowledged", seen, stand, acknowledged.Load())
	}
	if at := position(t, n, alpha).Revision; at != partition.Floor(epoch+1) {
		t.Errorf("the counter is at %d, want the floor of epoch %d", at, epoch+1)
	}
}

// handOver returns a map by which beta is a master too.
func handOver(ballot int64) partition.Cluster {
	c := proposal(ballot, epoch+1)
	c.Masters, c.Epochs = []string{alpha, beta}, map[string]int64{alpha: epoch, beta: epoch + 1}
	return c
}

func checkNewMaster(t *testing.T, s suite) {
	n := s.voter(t, beta)
	must(t, n.Apply(t.Context(), partition.Copy{Origin: alpha, To: partition.Floor(epoch) + 1, Goal: partition.Floor(epoch) + 1, SyncedAt: 1}))
	copied := position(t, n, alpha)
	wantAccept(t, n, handOver(1), epoch+1, 1, 1, 0)
	own := position(t, n, beta)
	if want := (partition.Position{Origin: beta, Revision: partition.Floor(epoch + 1)}); own != want || position(t, n, alpha) != copied {
		t.Errorf("the new master is at %+v, and at %+v of the former", own, position(t, n, alpha))
	}
	claim, err := n.Commit(t.Context(), partition.Batch{Epoch: epoch + 1, Revisions: 1, Write: []partition.Entry{put("k/a", "1")}})
	must(t, err)
	wantAccept(t, n, handOver(2), epoch+1, 2, 2, 0)
	if at := position(t, n, beta).Revision; at != claim.First {
		t.Errorf("the same epoch moved the counter from %d to %d", claim.First, at)
	}

	master := s.voter(t, alpha) // its epoch stays
	before := commit(t, master, put("k/a", "1"))
	wantAccept(t, master, handOver(1), epoch+1, 1, 1, 0)
	if after := commit(t, master, put("k/a", "2")); after.First != before.First+1 {
		t.Errorf("a master whose epoch stays went from %d to %d", before.First, after.First)
	}
	lone := handOver(2)
	lone.Epoch, lone.Masters, lone.Epochs = epoch+2, []string{beta}, map[string]int64{beta: epoch + 1}
	wantAccept(t, master, lone, epoch+2, 2, 2, 0)
	if at := position(t, master, alpha).Revision; at != before.First+1 {
		t.Errorf("the counter of a former master went to %d", at)
	}
}

// checkMasterLacksEntries: a former master lost its database, and its entries are being copied back.
func checkMasterLacksEntries(t *testing.T, s suite) {
	n := s.voter(t, beta)
	step := partition.Copy{Origin: beta, To: 7, Goal: 9, Collected: 3, SyncedAt: 1}
	must(t, n.Apply(t.Context(), step))
	before := position(t, n, beta)
	_, err := n.Accept(t.Context(), handOver(1))
	wantError(t, err, partition.ErrRefused)
	wantRow(t, n, clusterOf(alpha), 0, 0, 0)
	if at := position(t, n, beta); at != before {
		t.Errorf("a refused map moved the position from %+v to %+v", before, at)
	}
	cut := handOver(1)
	cut.Ends = []partition.End{{Origin: beta, Cut: 7, Below: partition.Floor(epoch + 1)}}
	lost := s.voter(t, beta) // what it lacks does not count any more
	must(t, lost.Apply(t.Context(), step))
	wantAccept(t, lost, cut, epoch+1, 1, 1, 0)
	if own := position(t, lost, beta); own.Revision != partition.Floor(epoch+1) {
		t.Errorf("a master whose end is declared is at %+v", own)
	}
	step.From, step.To = 7, 9
	must(t, n.Apply(t.Context(), step))
	wantAccept(t, n, handOver(1), epoch+1, 1, 1, 0)
	if own := position(t, n, beta); own.Revision != partition.Floor(epoch+1) || own.Collected != 3 {
		t.Errorf("the new master is at %+v", own)
	}
}

func checkDamagedMoves(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	short, reversed := proposal(1, epoch+1), proposal(1, epoch+1)
	short.Moves[1].Slots = short.Moves[1].Slots[:3]
	reversed.Moves[0].Done = reversed.Moves[0].Began - 1
	for _, c := range []partition.Cluster{short, reversed} {
		_, err := n.Accept(t.Context(), c)
		wantError(t, err, partition.ErrRefused)
		wantRow(t, n, clusterOf(alpha), 0, 0, 0)
		vacant := s.fresh(t, beta)
		_, err = vacant.Join(t.Context(), c)
		wantError(t, err, partition.ErrRefused)
		_, err = vacant.Cluster(t.Context())
		wantError(t, err, partition.ErrNoCluster)
	}
}

func checkBallotsNeedTables(t *testing.T, s suite) {
	n := s.node(t, alpha)
	tries := func(advice string) {
		t.Helper()
		p := n.open(t)
		_, promise := p.Promise(t.Context(), 1)
		_, accept := p.Accept(t.Context(), proposal(1, epoch+1))
		moves := proposal(0, epoch+1) // as of a backup
		_, restore := p.Accept(t.Context(), moves)
		for _, err := range []error{promise, accept, restore} {
			wantError(t, err, partition.ErrRefused)
			if err == nil || !strings.Contains(err.Error(), advice) {
				t.Errorf("%s is not in %v", advice, err)
			}
		}
		wantRow(t, p, clusterOf(alpha), 0, 0, 0)
		commit(t, p, put("k/a", "1"))
	}
	n.db.PlantSchema(t, BeforeBallots())
	running := n.open(t)
	tries("'runnel migrate --finish'")
	migrate(t, n.unprepared(t))
	must(t, n.unprepared(t).Finish(t.Context()))
	_, err := running.Promise(t.Context(), 1) // a running process notices at once
	must(t, err)
	wantRow(t, running, clusterOf(alpha), 1, 0, 0)
	wantAccept(t, running, proposal(1, epoch+1), epoch+1, 1, 1, 0)
}

// checkJoinTakesNoBallots: a new database in a cluster with ballots has accepted nothing, and is not for older binaries.
func checkJoinTakesNoBallots(t *testing.T, s suite) {
	n := s.fresh(t, beta)
	c := proposal(5, epoch+1)
	c.Promised, c.Chosen = 6, 5
	row, err := n.Join(t.Context(), c)
	must(t, err)
	if row.Promised != 0 || row.Accepted != 0 || row.Chosen != 0 {
		t.Errorf("joined with %+v", row)
	}
	wantRow(t, n.open(t), c, 0, 0, 0)
	wantSchema(t, n, current, current-1, current-1) // binaries of the schema before know ballots
	c.Epoch, c.Epochs = epoch+2, nil
	wantAccept(t, n, c, epoch+2, 5, 5, 5)
	plain := s.fresh(t, beta)
	_, err = plain.Join(t.Context(), clusterOf(alpha))
	must(t, err)
	wantSchema(t, plain, current, current-1, current-1)
}

func checkPromiseAwaitsRestore(t *testing.T, s suite) {
	for _, e := range []int64{partition.RestoringEpoch, -epoch} {
		n := s.fresh(t, beta)
		must(t, n.Finish(t.Context()))
		_, err := n.Join(t.Context(), partition.Cluster{ID: clusterOf().ID, Epoch: e})
		must(t, err)
		_, err = n.Promise(t.Context(), 1)
		wantError(t, err, partition.ErrRefused)
		c := proposal(3, epoch)
		c.Chosen = 3
		wantAccept(t, n, c, epoch, 3, 3, 3) // the end of the restore
	}
}

// checkPositionsEpoch: each map raises the counter to its epoch, so both must agree at every moment.
func checkPositionsEpoch(t *testing.T, s suite) {
	at, err := s.fresh(t, alpha).Positions(t.Context())
	must(t, err)
	if at.Epoch != 0 {
		t.Errorf("without a row the epoch is %d", at.Epoch)
	}
	n := s.voter(t, alpha)
	const last = 40
	mover := n.open(t)
	reader := func(p partition.Partition) func() error {
		return func() error {
			for e := int64(0); e < epoch+last; {
				at, err := p.Positions(t.Context())
				if err != nil {
					return err
				}
				if e = at.Epoch; e < epoch || at.Origins[alpha].Revision != partition.Floor(e) {
					return fmt.Errorf("the epoch is %d with a counter of epoch %d", e, at.Origins[alpha].Revision.Epoch())
				}
			}
			return nil
		}
	}
	together(t, reader(n), reader(n.open(t)), func() error {
		for i := int64(1); i <= last; i++ {
			if _, err := mover.Accept(t.Context(), proposal(i, epoch+i)); err != nil {
				return err
			}
		}
		return nil
	})
	v := view(t, n)
	if got := v.Positions().Epoch; got != epoch+last {
		t.Errorf("a view is of epoch %d", got)
	}
	if diff := cmp.Diff(proposal(last, epoch+last), v.Cluster(), cmpopts.IgnoreFields(partition.Cluster{}, "PartitionID", "Name", "Promised"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a view has another row: %s", diff)
	}
}

// checkKillMidAccept kills a handle that accepts one map after another.
func checkKillMidAccept(t *testing.T, s suite) {
	n := s.voter(t, alpha)
	victim := n.open(t)
	var done atomic.Int64
	together(t, func() error {
		for i := int64(1); ; i++ {
			row, err := victim.Accept(t.Context(), proposal(i, epoch+i))
			if err != nil {
				return unless(unless(err, partition.ErrUnavailable), partition.ErrOutcomeUnknown)
			}
			done.Store(row.Accepted)
		}
	}, func() error {
		err := eventually(t.Context(), func() bool { return done.Load() >= 3 })
		if n.db.Kill != nil {
			n.db.Kill(victim)
			return err
		}
		return errors.Join(err, victim.Close())
	})
	row, err := n.Cluster(t.Context())
	must(t, err)
	if row.Accepted != done.Load() && row.Accepted != done.Load()+1 {
		t.Errorf("ballot %d was acknowledged, and %d stands", done.Load(), row.Accepted)
	}
	wantRow(t, n, proposal(0, epoch+row.Accepted), row.Accepted, row.Accepted, 0)
	if at := position(t, n, alpha).Revision; at != partition.Floor(epoch+row.Accepted) {
		t.Errorf("the map is of epoch %d, and the counter at %d of epoch %d", row.Epoch, at, at.Epoch())
	}
	wantAccept(t, n, proposal(row.Accepted+5, row.Epoch+1), row.Epoch+1, row.Accepted+5, row.Accepted+5, 0)
}

// checkApplyBallot: a copy that was planned by a map lands on no other map, even of the same epoch. Positions show the ballot.
func checkApplyBallot(t *testing.T, s suite) {
	p := s.voter(t, beta)
	shown := func(want int64) {
		t.Helper()
		at, err := p.Positions(t.Context())
		must(t, err)
		if at.Ballot != want {
			t.Errorf("the positions show the ballot %d, not %d", at.Ballot, want)
		}
	}
	shown(0)
	wantAccept(t, p, proposal(5, epoch+1), epoch+1, 5, 5, 0)
	shown(5)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 1, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 5)}, Epoch: epoch + 1, Ballot: 5}))
	wantAccept(t, p, proposal(6, epoch+1), epoch+1, 6, 6, 0)
	shown(6)
	before := position(t, p, alpha)
	late := partition.Copy{Origin: alpha, From: 5, To: 9, Goal: 9, SyncedAt: 9, Entries: []partition.Entry{at(put("k/a", "2"), alpha, 9)}, Epoch: epoch + 1, Ballot: 5}
	wantError(t, p.Apply(t.Context(), late), partition.ErrPositionMoved)
	wantError(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 9, Goal: 9, Epoch: epoch + 1, Ballot: 5}), partition.ErrPositionMoved)
	if after := position(t, p, alpha); after != before || keysOf(held(t, p, alpha)) != "k/a" || position(t, p, "gamma").Revision != 0 {
		t.Errorf("the position went from %+v to %+v", before, after)
	}
	late.Ballot = 6
	must(t, p.Apply(t.Context(), late))
}

// checkLostMasterStandsStill: a partition that knows of the promotion in place of alpha takes no copies of alpha's entries, from
// a source with the same map either, unless the partition is promoted itself.
func checkLostMasterStandsStill(t *testing.T, s suite) {
	for _, c := range []struct {
		to    string
		takes bool
	}{{"gamma", false}, {beta, true}} {
		source, target := s.voter(t, "source-"+c.to), s.voter(t, beta)
		for i, p := range []partition.Partition{source, target} {
			e := at(put("k/a", "1"), alpha, 5)
			must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 1, Entries: []partition.Entry{e}}))
			if i == 0 {
				e = at(put("k/b", "2"), alpha, 6)
				must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 5, To: 6, Goal: 6, SyncedAt: 2, Entries: []partition.Entry{e}}))
			}
			m := proposal(5, epoch+1)
			m.Moves = []partition.Move{{Slots: partition.NewSlotSet(len(m.Slots), 1), From: alpha, To: c.to, Began: epoch + 1, Lost: true}}
			wantAccept(t, p, m, epoch+1, 5, 5, 0)
		}
		_, err := partition.CatchUp(t.Context(), source, target, position(t, target, alpha), 0)
		if takes := err == nil; takes != c.takes || !takes && !errors.Is(err, partition.ErrTooFar) {
			t.Errorf("%s is promoted: %v", c.to, err)
		}
		if holds := position(t, target, alpha).Revision == 6; holds != c.takes {
			t.Errorf("%s is promoted: the target's position is %+v", c.to, position(t, target, alpha))
		}
	}
}
