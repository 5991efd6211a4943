package partitiontest

import (
	"encoding/hex"
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
