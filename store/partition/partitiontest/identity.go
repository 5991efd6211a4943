package partitiontest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var identityChecks = []check{
	{"PartitionKnowsItself", checkPartitionKnowsItself},
	{"PrepareMayBeRepeated", checkPrepareMayBeRepeated},
	{"PrepareRacesEndWell", checkPrepareRacesEndWell},
	{"ClusterBeforeJoinIsErrNoCluster", checkClusterBeforeJoin},
	{"JoinWritesTheClusterRow", checkJoinWritesTheRow},
	{"JoinKeepsTheRowThatStands", checkJoinKeepsTheRow},
	{"JoinRacesEndInOneRow", checkJoinRaces},
	{"JoinStartsAMasterAtTheFloorOfItsEpoch", checkJoinStartsAMaster},
	{"JoinGivesEachDatabaseAnID", checkJoinGivesIDs},
	{"AcceptBeginsAnEpoch", checkAcceptBeginsAnEpoch},
	{"AcceptRefusesWhatTheEndsContradict", checkAcceptRefuses},
	{"AcceptEndsACatchUpToALostRevision", checkAcceptRenews},
}

func checkPartitionKnowsItself(t *testing.T, s suite) {
	p := s.fresh(t, alpha)
	if p.Name() != alpha {
		t.Errorf("name is %q", p.Name())
	}
	if !slices.Contains([]string{"memory", "sqlite", "mysql", "mariadb"}, p.Kind()) {
		t.Errorf("kind is %q", p.Kind())
	}
	if p.MaxValueBytes() < 1 {
		t.Errorf("the largest value has %d bytes", p.MaxValueBytes())
	}
}

func checkPrepareMayBeRepeated(t *testing.T, s suite) {
	p := s.node(t, alpha)
	e := put("k/a", "1")
	claim := commit(t, p, e)
	must(t, p.Prepare(t.Context()))
	must(t, p.open(t).Prepare(t.Context()))
	wantEntries(t, get(t, p, "k/a"), stamped(alpha, claim, e))
}

func checkPrepareRacesEndWell(t *testing.T, s suite) {
	n := node{db: s.create(t, alpha)}
	var prepare []func() error
	for range 4 {
		p := n.unprepared(t)
		prepare = append(prepare, func() error { return p.Prepare(t.Context()) })
	}
	together(t, prepare...)
	p := n.open(t)
	_, err := p.Join(t.Context(), clusterOf(alpha))
	must(t, err)
	commit(t, p, put("k/a", "1"))
}

func checkClusterBeforeJoin(t *testing.T, s suite) {
	p := s.fresh(t, alpha)
	_, err := p.Cluster(t.Context())
	wantError(t, err, partition.ErrNoCluster)
	positions, err := p.Positions(t.Context())
	must(t, err)
	if len(positions.Origins) != 0 {
		t.Errorf("an unjoined partition has positions %v", positions.Origins)
	}
}

func checkJoinWritesTheRow(t *testing.T, s suite) {
	p := s.fresh(t, alpha)
	want := clusterOf("zeta", alpha, "beta-2")
	for i := range want.Slots {
		want.Slots[i] = uint16(i * 64)
	}
	got, err := p.Join(t.Context(), want)
	must(t, err)
	want.PartitionID, want.Name = got.PartitionID, alpha
	if !reflect.DeepEqual(got, want) {
		t.Errorf("join gave %+v, want %+v", got, want)
	}
	again, err := p.open(t).Cluster(t.Context())
	must(t, err)
	if !reflect.DeepEqual(again, want) {
		t.Errorf("another handle reads %+v, want %+v", again, want)
	}
}

func checkJoinKeepsTheRow(t *testing.T, s suite) {
	p := s.fresh(t, alpha)
	first, err := p.Join(t.Context(), clusterOf(alpha))
	must(t, err)
	commit(t, p, put("k/a", "1"))
	before := position(t, p, alpha)
	other := clusterOf(alpha, beta)
	other.ID, other.Epoch = "ffeeddccbbaa99887766554433221100", epoch+1
	second, err := p.Join(t.Context(), other)
	must(t, err)
	if !reflect.DeepEqual(first, second) {
		t.Errorf("a second join gave %+v, want %+v", second, first)
	}
	if after := position(t, p, alpha); after != before {
		t.Errorf("a second join moved the position from %+v to %+v", before, after)
	}
}

func checkJoinRaces(t *testing.T, s suite) {
	n := s.fresh(t, alpha)
	rows := make([]partition.Cluster, 4)
	var joins []func() error
	for i := range rows {
		p, c := n.open(t), clusterOf(alpha)
		c.ID, c.Epoch = fmt.Sprintf("%032x", i), int64(1+i)
		joins = append(joins, func() (err error) {
			rows[i], err = p.Join(t.Context(), c)
			return err
		})
	}
	together(t, joins...)
	stands, err := n.Cluster(t.Context())
	must(t, err)
	for _, row := range rows {
		if !reflect.DeepEqual(row, stands) {
			t.Errorf("a join gave %+v, but %+v stands", row, stands)
		}
	}
	if got := position(t, n, alpha).Revision; got != partition.Floor(stands.Epoch) {
		t.Errorf("the counter is at %d, want the floor of epoch %d", got, stands.Epoch)
	}
}

func checkJoinStartsAMaster(t *testing.T, s suite) {
	master, replica := s.node(t, alpha), s.node(t, beta)
	got := position(t, master, alpha)
	if got.Origin != alpha || got.Revision != partition.Floor(epoch) || got.Goal > got.Revision {
		t.Errorf("a new master is at %+v", got)
	}
	positions, err := replica.Positions(t.Context())
	must(t, err)
	if len(positions.Origins) != 0 {
		t.Errorf("a new replica has positions %v", positions.Origins)
	}
}

func checkJoinGivesIDs(t *testing.T, s suite) {
	a, b := s.fresh(t, alpha), s.fresh(t, alpha)
	seen := map[string]bool{"": true}
	for _, p := range []node{a, b} {
		c, err := p.Join(t.Context(), clusterOf(alpha))
		must(t, err)
		if id, err := hex.DecodeString(c.PartitionID); err != nil || len(id) != 16 || seen[c.PartitionID] {
			t.Errorf("partition id %q is not 128 bits in hex of its own", c.PartitionID)
		}
		seen[c.PartitionID] = true
	}
}

func checkAcceptBeginsAnEpoch(t *testing.T, s suite) {
	master, replica, empty := s.node(t, alpha), s.node(t, beta), s.fresh(t, "gamma")
	commit(t, master, put("k/a", "1"))
	last := position(t, master, alpha).Revision
	next := clusterOf(alpha)
	next.Epoch, next.Ends = epoch+1, []partition.End{{Origin: alpha, Cut: last, Below: partition.Floor(epoch + 1)}}
	for range 2 { // the repetition changes nothing
		for _, n := range []node{master, replica} {
			before, err := n.Cluster(t.Context())
			must(t, err)
			got, err := n.Accept(t.Context(), next)
			must(t, err)
			want := next
			want.PartitionID, want.Name = before.PartitionID, before.Name
			if !reflect.DeepEqual(got, want) {
				t.Errorf("accepted %+v, want %+v", got, want)
			}
		}
	}
	if got := position(t, master, alpha).Revision; got != partition.Floor(epoch+1) {
		t.Errorf("the counter is at %d, want the floor of epoch %d", got, epoch+1)
	}
	old := partition.Batch{Epoch: epoch, Revisions: 1, Write: []partition.Entry{put("k/a", "2")}}
	if _, err := master.Commit(t.Context(), old); !errors.Is(err, partition.ErrStaleEpoch) {
		t.Errorf("a commit of the earlier epoch: %v", err)
	}
	old.Epoch = epoch + 1
	if claim, err := master.Commit(t.Context(), old); err != nil || claim.First != partition.Floor(epoch+1)+1 {
		t.Errorf("a commit of the epoch: %+v, %v", claim, err)
	}
	if got, err := master.Accept(t.Context(), clusterOf(alpha)); err != nil || got.Epoch != epoch+1 {
		t.Errorf("an earlier epoch gave %+v, %v", got, err)
	}
	if _, err := empty.Accept(t.Context(), next); !errors.Is(err, partition.ErrNoCluster) {
		t.Errorf("without a row: %v", err)
	}
}

func checkAcceptRefuses(t *testing.T, s suite) {
	master, replica := s.node(t, alpha), s.node(t, beta)
	floor, below := partition.Floor(epoch), partition.Floor(epoch+1)
	for i := range 3 {
		commit(t, master, put(fmt.Sprint("k/", i), "1"))
	}
	must(t, replica.Apply(t.Context(), partition.Copy{Origin: alpha, To: floor + 3, Goal: floor + 3, SyncedAt: 1}))
	next := clusterOf(alpha)
	next.Epoch = epoch + 1
	for name, c := range map[string]struct {
		n   node
		cut partition.Revision
		id  string
	}{
		"a master with lost writes":       {master, floor + 2, next.ID},
		"a replica with lost writes":      {replica, floor + 2, next.ID},
		"a master that lacks what counts": {master, floor + 4, next.ID},
		"a row of another cluster":        {replica, floor + 3, "ffeeddccbbaa99887766554433221100"},
	} {
		next := next
		next.ID, next.Ends = c.id, []partition.End{{Origin: alpha, Cut: c.cut, Below: below}}
		if _, err := c.n.Accept(t.Context(), next); !errors.Is(err, partition.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		row, err := c.n.Cluster(t.Context())
		must(t, err)
		if at := position(t, c.n, alpha).Revision; row.Epoch != epoch || len(row.Ends) > 0 || at != floor+3 {
			t.Errorf("%s: now at %d, with %+v", name, at, row)
		}
	}
	next.Ends = []partition.End{{Origin: alpha, Cut: floor + 4, Below: below}}
	_, err := replica.Accept(t.Context(), next) // a replica may lack entries up to the cut
	must(t, err)
}

// checkAcceptRenews: of a catch-up to a lost revision nothing is left but the end as its goal.
func checkAcceptRenews(t *testing.T, s suite) {
	const floor, below = epoch << 40, (epoch + 1) << 40
	for name, c := range map[string]struct {
		before partition.Copy
		want   partition.Position
	}{
		"to a lost revision":  {partition.Copy{To: floor + 3, Goal: floor + 9, SyncedAt: 1}, partition.Position{Goal: floor + 5}},
		"a fill":              {partition.Copy{To: floor + 3, Goal: floor + 9}, partition.Position{Goal: floor + 5}},
		"to the end":          {partition.Copy{To: floor + 3, Goal: floor + 5, SyncedAt: 1}, partition.Position{Revision: floor + 3, Goal: floor + 5, SyncedAt: 1}},
		"to a later revision": {partition.Copy{To: floor + 3, Goal: below + 9, SyncedAt: 1}, partition.Position{Revision: floor + 3, Goal: below + 9, SyncedAt: 1}},
	} {
		n := s.node(t, beta)
		c.before.Origin, c.want.Origin = alpha, alpha
		must(t, n.Apply(t.Context(), c.before))
		other := partition.Copy{Origin: "gamma", To: 1, Goal: floor + 9, SyncedAt: 1}
		must(t, n.Apply(t.Context(), other))
		next := clusterOf(beta)
		next.Epoch, next.Ends = epoch+1, []partition.End{{Origin: alpha, Cut: floor + 5, Below: below}}
		_, err := n.Accept(t.Context(), next)
		must(t, err)
		if got := position(t, n, alpha); got != c.want {
			t.Errorf("%s: at %+v, want %+v", name, got, c.want)
		}
		if got := position(t, n, "gamma"); got.Revision != 1 || got.Goal != other.Goal || got.SyncedAt != 1 {
			t.Errorf("%s: another origin is at %+v", name, got)
		}
	}
}
