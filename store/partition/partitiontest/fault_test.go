package partitiontest_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// fault is a possible defect of an implementation, planted in package memory, and the check that
// must find the defect.
type fault struct {
	name  string
	check string
	plant func(*memory.Partition) partition.Partition
}

var faults = []fault{
	{"loses reports that race", "ReportsThatRaceAllCount",
		func(m *memory.Partition) partition.Partition { return racyReports{m} }},
	{"counts the first master of a report", "ReportsOfEachMasterAreCounted",
		func(m *memory.Partition) partition.Partition { return firstReport{m} }},
	{"keeps a catch-up that cannot end", "AcceptEndsACatchUpToALostRevision",
		func(m *memory.Partition) partition.Partition { return endless{m} }},
	{"makes new tables for this binary alone", "ReportsNeedBallots",
		func(m *memory.Partition) partition.Partition { return exclusive{m} }},
	{"keeps damaged data", "ChunkReplacesDamagedData",
		func(m *memory.Partition) partition.Partition { return firstData{m} }},
	{"does not count a use", "EachUseOfAChunkIsLater",
		func(m *memory.Partition) partition.Partition { return touchless{m} }},
	{"does not count a use", "DropLeavesChunksThatWereUsedSince",
		func(m *memory.Partition) partition.Partition { return touchless{m} }},
	{"drops chunks that are in use", "DropAndUseOfAChunkRunOneAfterAnother",
		func(m *memory.Partition) partition.Partition { return dropsUsed{m} }},
	{"lists the first chunk again", "ChunksAreListedInTheOrderOfTheirHashes",
		func(m *memory.Partition) partition.Partition { return repeating{m} }},
	{"applies without guard", "ApplyNeverReplacesANewerEntry",
		func(m *memory.Partition) partition.Partition { return unguarded{m} }},
	{"applies without guard", "CopiesInAnyOrderEndTheSame",
		func(m *memory.Partition) partition.Partition { return unguarded{m} }},
	{"moves the position without rows", "ApplyMovesRowsAndPositionTogether",
		func(m *memory.Partition) partition.Partition { return rowless{m} }},
	{"moves the position from anywhere", "ApplyElsewhereThanThePositionChangesNothing",
		func(m *memory.Partition) partition.Partition { return unswapped{m} }},
	{"moves the position from anywhere", "ApplyRacesHaveOneWinnerAStep",
		func(m *memory.Partition) partition.Partition { return unswapped{m} }},
	{"raises no goals", "ApplyRaisesGoalsOfFurtherOrigins",
		func(m *memory.Partition) partition.Partition { return goalless{m} }},
	{"raises goals before the copy", "ApplyThatFailsRaisesNoGoals",
		func(m *memory.Partition) partition.Partition { return earlyGoals{m} }},
	{"takes entries beyond the step", "ApplyRefusesEntriesOutsideItsStep",
		func(m *memory.Partition) partition.Partition { return overreaching{m} }},
	{"ignores the fence", "ApplyUnderALostLeaseChangesNothing",
		func(m *memory.Partition) partition.Partition { return unfenced{m} }},
	{"claims outside the transaction", "ReadersNeverMissAWrite",
		func(m *memory.Partition) partition.Partition { return claimsEarly{m} }},
	{"claims outside the transaction", "WritersDecideOneAfterAnother",
		func(m *memory.Partition) partition.Partition { return claimsEarly{m} }},
	{"keeps the claim of a rollback", "DecideErrorRollsBackTheClaimToo",
		func(m *memory.Partition) partition.Partition { return claimsEarly{m} }},
	{"keeps the claim of a rollback", "RolledBackClaimsLeaveNoGap",
		func(m *memory.Partition) partition.Partition { return claimsEarly{m} }},
	{"writes entries one by one", "SnapshotsShowCommitsWhole",
		func(m *memory.Partition) partition.Partition { return piecemeal{m} }},
	{"claims on a counter that was set back", "CounterThatWasSetBackIsNotClaimed",
		func(m *memory.Partition) partition.Partition { return forgiving{m} }},
	{"accepts any epoch", "StaleEpochWritesNothing",
		func(m *memory.Partition) partition.Partition { return epochless{m} }},
	{"loses tombstones in snapshots", "SnapshotStreamsInOrderOfRevisions",
		func(m *memory.Partition) partition.Partition { return forgetful{m} }},
	{"loses tombstones in snapshots", "CopiesOfAMasterEndAsTheMaster",
		func(m *memory.Partition) partition.Partition { return forgetful{m} }},
	{"reads the position after the rows", "ReadersNeverMissAWrite",
		func(m *memory.Partition) partition.Partition { return latePosition{m} }},
	{"reads the heads after the view", "SnapshotTellsTheHeadsOfAllOrigins",
		func(m *memory.Partition) partition.Partition { return lateHeads{m} }},
	{"reads the clock after the view", "ReadersNeverMissAWrite",
		func(m *memory.Partition) partition.Partition { return lateClock{m} }},
	{"reads on outside the snapshot", "SnapshotStaysAsItWasOpened",
		func(m *memory.Partition) partition.Partition { return unisolated{m} }},
	{"reads each origin in a snapshot of its own", "ViewStaysAsItWasOpened",
		func(m *memory.Partition) partition.Partition { return torn{m} }},
	{"hides expired entries", "ListLeavesOutTombstonesAlone",
		func(m *memory.Partition) partition.Partition { return impatient{m} }},
	{"counts what is not live", "UsageCountsItsOwnLiveEntries",
		func(m *memory.Partition) partition.Partition { return miscounting{m} }},
	{"reads small values alone", "GetSmallLeavesOutLargeValuesAlone",
		func(m *memory.Partition) partition.Partition { return stingy{m} }},
	{"collects too far", "CollectRemovesTombstonesUpToARevision",
		func(m *memory.Partition) partition.Partition { return greedy{m} }},
	{"collects too far", "CollectAtAMasterKeepsItsCounter",
		func(m *memory.Partition) partition.Partition { return greedy{m} }},
	{"sweeps beyond the bound", "ExpiredKeepsItsBounds",
		func(m *memory.Partition) partition.Partition { return boundless{m} }},
	{"goes on too far", "ExpiredKeepsItsBounds",
		func(m *memory.Partition) partition.Partition { return skipping{m} }},
	{"sweeps what lives", "ExpiredListsEntriesThatAreOver",
		func(m *memory.Partition) partition.Partition { return hasty{m} }},
	{"sweeps without end", "ExpiredListsNoMoreThanAsked",
		func(m *memory.Partition) partition.Partition { return hasty{m} }},
	{"gives a held lease away", "LeaseIsHeldAgainstOthers",
		func(m *memory.Partition) partition.Partition { return generous{m} }},
	{"gives a held lease away", "LeaseRacesHaveOneHolder",
		func(m *memory.Partition) partition.Partition { return generous{m} }},
	{"answers a join with what was asked", "JoinRacesEndInOneRow",
		func(m *memory.Partition) partition.Partition { return agreeable{m} }},
	{"promises a ballot twice", "PromisesRise",
		func(m *memory.Partition) partition.Partition { return compliant{m} }},
	{"promises a ballot twice", "PromiseRacesHaveOneWinnerABallot",
		func(m *memory.Partition) partition.Partition { return compliant{m} }},
	{"forgets its promises", "AcceptKeepsPromises",
		func(m *memory.Partition) partition.Partition { return faithless{m} }},
	{"forgets its promises", "AcceptRacesEndInOneMap",
		func(m *memory.Partition) partition.Partition { return faithless{m} }},
	{"keeps the map of the later epoch", "BallotDecidesBetweenMaps",
		func(m *memory.Partition) partition.Partition { return aging{m} }},
	{"loses what was chosen", "ChosenMapIsNeverLost",
		func(m *memory.Partition) partition.Partition { return unchosen{m} }},
	{"loses what was chosen", "AcceptMayBeRepeated",
		func(m *memory.Partition) partition.Partition { return unchosen{m} }},
	{"raises the counter after the map", "AcceptIsBeforeOrAfterEachCommit",
		func(m *memory.Partition) partition.Partition { return raisesLate{m} }},
	{"raises the counter after the map", "PositionsShowTheEpochOfTheSameMoment",
		func(m *memory.Partition) partition.Partition { return raisesLate{m} }},
	{"raises the counter after the map", "KillMidAcceptLeavesAMapWithItsCounter",
		func(m *memory.Partition) partition.Partition { return raisesLate{m} }},
	{"raises no counter", "AcceptMakesAReplicaAMaster",
		func(m *memory.Partition) partition.Partition { return unraised{m} }},
	{"raises no counter", "AcceptRefusesAMasterThatLacksOwnEntries",
		func(m *memory.Partition) partition.Partition { return unraised{m} }},
	{"takes any move", "AcceptRefusesDamagedMoves",
		func(m *memory.Partition) partition.Partition { return moveless{m} }},
	{"makes new tables for this binary alone", "BallotsNeedMigratedTables",
		func(m *memory.Partition) partition.Partition { return exclusive{m} }},
	{"joins as any cluster", "JoinTakesNoBallots",
		func(m *memory.Partition) partition.Partition { return forgetsBallots{m} }},
	{"promises while it is restored", "PromiseAwaitsARestore",
		func(m *memory.Partition) partition.Partition { return compliant{m} }},
	{"migrates at the start", "PrepareLeavesOlderTablesAlone",
		func(m *memory.Partition) partition.Partition { return eager{m} }},
	{"migrates at the start", "TablesThatAreTooOldAreRefused",
		func(m *memory.Partition) partition.Partition { return eager{m} }},
	{"finishes nothing", "FinishShutsOlderBinariesOut",
		func(m *memory.Partition) partition.Partition { return unfinished{m} }},
	{"ignores which binaries may use the tables", "NewerTablesAreUsedWhileTheyAllow",
		func(m *memory.Partition) partition.Partition { return downgrading{m} }},
	{"ignores which binaries may use the tables", "BinaryThatMayOnlyReadWritesNothing",
		func(m *memory.Partition) partition.Partition { return downgrading{m} }},
	{"ignores which binaries may use the tables", "BinaryThatIsShutOutIsRefused",
		func(m *memory.Partition) partition.Partition { return downgrading{m} }},
	{"makes new tables for this binary alone", "NewTablesAreOfThisBinary",
		func(m *memory.Partition) partition.Partition { return exclusive{m} }},
	{"forgets the deadline", "DeadlineEndsTheWaitForAnotherWriter",
		func(m *memory.Partition) partition.Partition { return patient{m} }},
	{"writes checksums of values", "RowChecksumsCoverEveryColumn",
		func(m *memory.Partition) partition.Partition { return unsealed{m} }},
	{"digests rows that do not count", "DigestsAreOfTheRowsThatCount",
		func(m *memory.Partition) partition.Partition { return unbounded{m} }},
	{"shows no tombstones", "RowsIncludeTombstones",
		func(m *memory.Partition) partition.Partition { return unsealed{m} }},
	{"repairs whatever it finds", "RepairOfAChangedRowChangesNothing",
		func(m *memory.Partition) partition.Partition { return careless{m} }},
	{"repairs whatever it finds", "RepairRenamesARow",
		func(m *memory.Partition) partition.Partition { return careless{m} }},
	{"works on after Close", "CloseEndsEveryCallOfItsHandleAlone",
		func(m *memory.Partition) partition.Partition { return undead{m} }},
}

// pause lets other goroutines run, as a round trip to a server would.
func pause() {
	for range 20 {
		runtime.Gosched()
	}
}

// unguarded replaces newer entries by older entries.
type unguarded struct{ *memory.Partition }

func (p unguarded) Apply(ctx context.Context, c partition.Copy) error {
	if err := p.Partition.Apply(ctx, c); err != nil {
		return err
	}
	p.Plant(c.Entries...)
	return nil
}

// unsealed writes checksums of values, and hides tombstones from Rows.
type unsealed struct{ *memory.Partition }

func (p unsealed) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	c, err := p.Partition.Commit(ctx, b)
	for i := range b.Write {
		stored, _ := p.Get(ctx, []partition.Key{b.Write[i].Key})
		for _, e := range stored {
			e.Checksum = partition.Checksum(e.Value)
			p.Plant(e)
		}
	}
	return c, err
}

func (p unsealed) Rows(ctx context.Context, s partition.Span) ([]partition.Entry, error) {
	rows, err := p.Partition.Rows(ctx, s)
	return slices.DeleteFunc(rows, func(e partition.Entry) bool { return e.Deleted }), err
}

// unbounded digests tombstones that were collected elsewhere.
type unbounded struct{ *memory.Partition }

func (p unbounded) Digest(ctx context.Context, s partition.DigestSpan) (partition.Digest, error) {
	s.Bounds = slices.Clone(s.Bounds)
	for i := range s.Bounds {
		s.Bounds[i].Collected = 0
	}
	return p.Partition.Digest(ctx, s)
}

// careless writes the right row without a look at the stored row.
type careless struct{ *memory.Partition }

func (p careless) Repair(_ context.Context, r partition.Repair) error {
	p.Plant(r.Right)
	return nil
}

type rowless struct{ *memory.Partition }

func (p rowless) Apply(ctx context.Context, c partition.Copy) error {
	c.Entries = nil
	return p.Partition.Apply(ctx, c)
}

// unswapped changes the position without comparing it.
type unswapped struct{ *memory.Partition }

func (p unswapped) Apply(ctx context.Context, c partition.Copy) error {
	for {
		err := p.Partition.Apply(ctx, c)
		if !errors.Is(err, partition.ErrPositionMoved) {
			return err
		}
		positions, err := p.Positions(ctx)
		if err != nil {
			return err
		}
		p.Plant(c.Entries...)
		c.From, c.Entries = positions.Origins[c.Origin].Revision, nil
		c.To, c.Goal = max(c.To, c.From), max(c.Goal, c.From)
	}
}

// overreaching writes entries outside of the copy.
type overreaching struct{ *memory.Partition }

func (p overreaching) Apply(ctx context.Context, c partition.Copy) error {
	beyond := func(e partition.Entry) bool { return e.Revision > c.To }
	within := c
	within.Entries = slices.DeleteFunc(slices.Clone(c.Entries), beyond)
	if err := p.Partition.Apply(ctx, within); err != nil {
		return err
	}
	p.Plant(slices.DeleteFunc(slices.Clone(c.Entries), func(e partition.Entry) bool { return !beyond(e) })...)
	return nil
}

type unfenced struct{ *memory.Partition }

func (p unfenced) Apply(ctx context.Context, c partition.Copy) error {
	c.Fence = 0
	return p.Partition.Apply(ctx, c)
}

// claimsEarly commits the claim before it decides and writes.
type claimsEarly struct{ *memory.Partition }

func (p claimsEarly) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	claimed := b
	claimed.Write, claimed.Decide = nil, nil
	claim, err := p.Partition.Commit(ctx, claimed)
	if err != nil {
		return claim, err
	}
	pause()
	entries := slices.Clone(b.Write)
	for i := range entries {
		entries[i].Revision += claim.First
		entries[i].ModifiedAt = claim.Now
	}
	if b.Decide != nil {
		if entries, err = b.Decide(claim); err != nil {
			return claim, err
		}
	}
	for i := range entries {
		entries[i].Origin = partition.Origin(p.Name())
	}
	p.Plant(entries...)
	return claim, nil
}

// piecemeal writes each entry of a batch in a transaction of its own.
type piecemeal struct{ *memory.Partition }

func (p piecemeal) Commit(ctx context.Context, b partition.Batch) (first partition.Claim, err error) {
	for i, e := range b.Write {
		e.Revision = 0
		claim, err := p.Partition.Commit(ctx, partition.Batch{Epoch: b.Epoch, Revisions: 1, Write: []partition.Entry{e}})
		if err != nil {
			return claim, err
		}
		if i == 0 {
			first = claim
		}
		pause()
	}
	return first, nil
}

// forgiving claims with any counter.
type forgiving struct{ *memory.Partition }

func (p forgiving) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	b.AtLeast = 0
	return p.Partition.Commit(ctx, b)
}

type epochless struct{ *memory.Partition }

func (p epochless) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	if c, err := p.Cluster(ctx); err == nil {
		b.Epoch = c.Epoch
	}
	return p.Partition.Commit(ctx, b)
}

// goalless ignores the goals of a copy.
type goalless struct{ *memory.Partition }

func (p goalless) Apply(ctx context.Context, c partition.Copy) error {
	c.Goals = nil
	return p.Partition.Apply(ctx, c)
}

// earlyGoals raises the goals in a transaction of their own.
type earlyGoals struct{ *memory.Partition }

func (p earlyGoals) Apply(ctx context.Context, c partition.Copy) error {
	for o, goal := range c.Goals {
		at, err := p.Positions(ctx)
		if err != nil {
			return err
		}
		own := at.Origins[o]
		if err := p.Partition.Apply(ctx, partition.Copy{Origin: o, From: own.Revision, To: own.Revision, Goal: max(own.Revision, goal)}); err != nil {
			return err
		}
	}
	return p.Partition.Apply(ctx, c)
}

// forgetful leaves tombstones out of its snapshots.
type forgetful struct{ *memory.Partition }

func (p forgetful) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	s, err := p.Partition.Snapshot(ctx, o, after)
	return without{s, func(e partition.Entry) bool { return e.Deleted }}, err
}

// without is a snapshot that leaves entries out.
type without struct {
	partition.Snapshot
	out func(partition.Entry) bool
}

func (s without) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	for {
		entries, err := s.Snapshot.Next(ctx, maxEntries, maxBytes)
		entries = slices.DeleteFunc(entries, s.out)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
	}
}

// positioned is a snapshot with a changed position.
type positioned struct {
	partition.Snapshot
	position partition.Position
}

func (s positioned) Position() partition.Position { return s.position }

type latePosition struct{ *memory.Partition }

func (p latePosition) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	s, err := p.Partition.Snapshot(ctx, o, after)
	if err != nil {
		return nil, err
	}
	pause()
	late, err := p.Partition.Snapshot(ctx, o, after)
	if err != nil {
		return nil, err
	}
	return positioned{s, late.Position()}, late.Close()
}

type lateClock struct{ *memory.Partition }

func (p lateClock) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	s, err := p.Partition.Snapshot(ctx, o, after)
	if err != nil {
		return nil, err
	}
	pause()
	positions, err := p.Positions(ctx)
	if err != nil {
		return nil, err
	}
	position := s.Position()
	position.SyncedAt = positions.Now
	return positioned{s, position}, nil
}

// lateHeads reads the heads when they are asked for.
type lateHeads struct{ *memory.Partition }

func (p lateHeads) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	s, err := p.Partition.Snapshot(ctx, o, after)
	return lateHeadsSnapshot{s, p.Partition}, err
}

type lateHeadsSnapshot struct {
	partition.Snapshot
	p *memory.Partition
}

func (s lateHeadsSnapshot) Heads() (int64, map[partition.Origin]partition.Position) {
	late, err := s.p.Snapshot(context.Background(), "", 0)
	if err != nil {
		return 0, nil
	}
	return late.Heads()
}

// unisolated opens a new view for each part of a stream.
type unisolated struct{ *memory.Partition }

func (p unisolated) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	s, err := p.Partition.Snapshot(ctx, o, after)
	return &unisolatedSnapshot{s, p.Partition, o, after}, err
}

type unisolatedSnapshot struct {
	partition.Snapshot
	m      *memory.Partition
	origin partition.Origin
	after  partition.Revision
}

func (s *unisolatedSnapshot) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	now, err := s.m.Snapshot(ctx, s.origin, s.after)
	if err != nil {
		return nil, err
	}
	defer now.Close()
	entries, err := now.Next(ctx, maxEntries, maxBytes)
	if len(entries) > 0 {
		s.after = entries[len(entries)-1].Revision
	}
	return entries, err
}

// torn opens the snapshots of a view one by one.
type torn struct{ *memory.Partition }

func (p torn) View(ctx context.Context) (partition.View, error) {
	v, err := p.Partition.View(ctx)
	return tornView{v, p.Partition}, err
}

type tornView struct {
	partition.View
	m *memory.Partition
}

func (v tornView) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	return v.m.Snapshot(ctx, o, after)
}

type impatient struct{ *memory.Partition }

func (p impatient) List(ctx context.Context, s partition.Span) ([]partition.Entry, bool, error) {
	entries, more, err := p.Partition.List(ctx, s)
	now := partition.InstantOf(time.Now())
	return slices.DeleteFunc(entries, func(e partition.Entry) bool { return !e.Live(now) }), more, err
}

// stingy leaves out a value of exactly the limit.
type stingy struct{ *memory.Partition }

func (p stingy) GetSmall(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	return p.Partition.GetSmall(ctx, keys, most-1)
}

// greedy collects a revision too many.
type greedy struct{ *memory.Partition }

func (p greedy) Collect(ctx context.Context, o partition.Origin, upTo partition.Revision) (int, error) {
	n, err := p.Partition.Collect(ctx, o, upTo+1)
	if errors.Is(err, partition.ErrRefused) {
		return p.Partition.Collect(ctx, o, upTo)
	}
	return n, err
}

// hasty lists entries that will expire in the future.
type hasty struct{ *memory.Partition }

func (p hasty) Expired(ctx context.Context, s partition.ExpirySpan) (keys []partition.ExpiredKey, err error) {
	entries, _, err := p.Partition.List(ctx, partition.Span{Limit: 1000})
	for _, e := range entries {
		if e.ExpiresAt != 0 && e.Origin == s.Origin {
			keys = append(keys, partition.ExpiredKey{At: e.ExpiresAt, Key: e.Key})
		}
	}
	return keys, err
}

// boundless takes no notice of the bound.
type boundless struct{ *memory.Partition }

func (p boundless) Expired(ctx context.Context, s partition.ExpirySpan) ([]partition.ExpiredKey, error) {
	s.Until = 0
	return p.Partition.Expired(ctx, s)
}

// skipping goes on after an instant, not after a key.
type skipping struct{ *memory.Partition }

func (p skipping) Expired(ctx context.Context, s partition.ExpirySpan) ([]partition.ExpiredKey, error) {
	if s.After.At != 0 {
		s.After = partition.ExpiredKey{At: s.After.At + 1}
	}
	return p.Partition.Expired(ctx, s)
}

// generous gives the lease to every new holder.
type generous struct{ *memory.Partition }

func (p generous) Acquire(ctx context.Context, holder string, ttl time.Duration) (partition.Lease, error) {
	return p.Partition.Acquire(ctx, holder, -ttl)
}

type agreeable struct{ *memory.Partition }

func (p agreeable) Join(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	stands, err := p.Partition.Join(ctx, c)
	stands.ID, stands.Epoch = c.ID, c.Epoch
	return stands, err
}

// patient waits three seconds for other writers.
type patient struct{ *memory.Partition }

func (p patient) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	return p.Partition.Commit(ctx, b)
}

// eager migrates the tables at its start.
type eager struct{ *memory.Partition }

func (p eager) Prepare(ctx context.Context) error {
	return errors.Join(p.Migrate(ctx, func(partition.Step) {}), p.Partition.Prepare(ctx))
}

type unfinished struct{ *memory.Partition }

func (p unfinished) Finish(context.Context) error { return nil }

// downgrading changes the tables of newer binaries to its own.
type downgrading struct{ *memory.Partition }

func (p downgrading) Prepare(ctx context.Context) error {
	if s, err := p.Schema(ctx); err == nil && s.Version > partition.SchemaVersion {
		p.PlantSchema(partition.Created())
	}
	return p.Partition.Prepare(ctx)
}

// exclusive shuts older binaries out of new tables.
type exclusive struct{ *memory.Partition }

func (p exclusive) Prepare(ctx context.Context) error {
	return errors.Join(p.Partition.Prepare(ctx), p.Finish(ctx))
}

type undead struct{ *memory.Partition }

func (p undead) Close() error { return nil }

// miscounting counts rows of a list, which are of every origin, and may have expired.
type miscounting struct{ *memory.Partition }

func (p miscounting) Usage(ctx context.Context, s partition.Span) (partition.Usage, error) {
	u, err := p.Partition.Usage(ctx, s)
	if err != nil {
		return u, err
	}
	entries, _, err := p.List(ctx, s)
	u.Keys = int64(len(entries))
	return u, err
}

// compliant answers each promise as if it were the first.
type compliant struct{ *memory.Partition }

func (p compliant) Promise(ctx context.Context, ballot int64) (partition.Cluster, error) {
	row, err := p.Partition.Promise(ctx, ballot)
	if errors.Is(err, partition.ErrNoCluster) {
		return row, err
	}
	row.Promised = max(row.Promised, ballot)
	return row, nil
}

// faithless raises a ballot that was outvoted.
type faithless struct{ *memory.Partition }

func (p faithless) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	if row, err := p.Cluster(ctx); err == nil && c.Accepted != row.Accepted {
		c.Accepted = max(c.Accepted, row.Promised)
	}
	return p.Partition.Accept(ctx, c)
}

// aging ignores maps that are not of a later epoch.
type aging struct{ *memory.Partition }

func (p aging) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	if row, err := p.Cluster(ctx); err == nil && c.Epoch <= row.Epoch {
		return row, nil
	}
	return p.Partition.Accept(ctx, c)
}

type unchosen struct{ *memory.Partition }

func (p unchosen) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	c.Chosen = 0
	return p.Partition.Accept(ctx, c)
}

// unraised hides from the partition that it is a master.
type unraised struct{ *memory.Partition }

func (p unraised) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	masters := c.Masters
	c.Masters = slices.Clone(masters)
	for i, name := range c.Masters {
		if name == p.Name() {
			c.Masters[i] = "another"
		}
	}
	row, err := p.Partition.Accept(ctx, c)
	row.Masters = masters
	return row, err
}

// raisesLate raises the counter in a transaction of its own.
type raisesLate struct{ *memory.Partition }

func (p raisesLate) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	row, err := unraised(p).Accept(ctx, c)
	if err != nil {
		return row, err
	}
	pause()
	for {
		at, err := p.Positions(ctx)
		if err != nil {
			return row, err
		}
		floor, from := partition.Floor(row.EpochOf(p.Name())), at.Origins[partition.Origin(p.Name())].Revision
		if err := p.Apply(ctx, partition.Copy{Origin: partition.Origin(p.Name()), From: from, To: max(from, floor), Goal: max(from, floor)}); !errors.Is(err, partition.ErrPositionMoved) {
			return row, err
		}
	}
}

type moveless struct{ *memory.Partition }

func (p moveless) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	c.Moves = nil
	return p.Partition.Accept(ctx, c)
}

// forgetsBallots joins a cluster with ballots like any other.
type forgetsBallots struct{ *memory.Partition }

func (p forgetsBallots) Join(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	c.Accepted, c.Voters, c.Moves = 0, nil, nil
	return p.Partition.Join(ctx, c)
}

// firstData never replaces the data of a chunk.
type firstData struct{ *memory.Partition }

func (p firstData) PutChunk(ctx context.Context, hash partition.ChunkHash, data []byte) error {
	if missing, err := p.TouchChunks(ctx, []partition.ChunkHash{hash}); err != nil || len(missing) == 0 {
		return err
	}
	return p.Partition.PutChunk(ctx, hash, data)
}

// touchless only looks for chunks.
type touchless struct{ *memory.Partition }

func (p touchless) TouchChunks(ctx context.Context, hashes []partition.ChunkHash) (missing []partition.ChunkHash, err error) {
	for _, hash := range hashes {
		if _, err := p.GetChunk(ctx, hash, nil); errors.Is(err, partition.ErrNoChunk) {
			missing = append(missing, hash)
		}
	}
	return missing, nil
}

// dropsUsed drops chunks whenever they were used last.
type dropsUsed struct{ *memory.Partition }

func (p dropsUsed) DropChunks(ctx context.Context, chunks []partition.ChunkInfo) (int, error) {
	pause()
	infos, err := p.ListChunks(ctx, nil, 1000)
	if err != nil {
		return 0, err
	}
	return p.Partition.DropChunks(ctx, infos)
}

// repeating begins each page with the last chunk of the page before.
type repeating struct{ *memory.Partition }

func (p repeating) ListChunks(ctx context.Context, after *partition.ChunkHash, limit int) ([]partition.ChunkInfo, error) {
	if after != nil {
		at := *after
		at[31]--
		after = &at
	}
	infos, err := p.Partition.ListChunks(ctx, after, limit)
	return infos[:min(len(infos), limit)], err
}

// racyReports takes reports at the same time for one.
type racyReports struct{ *memory.Partition }

func (p racyReports) Report(ctx context.Context, masters []string) error {
	before, err := p.Reports(ctx)
	if err != nil {
		return err
	}
	pause()
	after, err := p.Reports(ctx)
	if err != nil {
		return err
	}
	return p.Partition.Report(ctx, slices.DeleteFunc(slices.Clone(masters), func(name string) bool { return before[name] != after[name] }))
}

// firstReport counts only the first master of a report.
type firstReport struct{ *memory.Partition }

func (p firstReport) Report(ctx context.Context, masters []string) error {
	return p.Partition.Report(ctx, masters[:min(1, len(masters))])
}

// endless knows of no ends.
type endless struct{ *memory.Partition }

func (p endless) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	c.Ends = nil
	return p.Partition.Accept(ctx, c)
}
