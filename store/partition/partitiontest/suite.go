package partitiontest

import (
	"context"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// Database is one database for one partition.
type Database struct {
	// Open returns a new handle on the database, as another process would
	// have it, not prepared yet. The suite closes it.
	Open func(t *testing.T) partition.Partition
	// Kill ends a handle of Open as kill -9 ends a process: its connections
	// drop without a word, whatever is under way, and its calls fail from
	// then on. It is called within a Decide. nil: the handle is closed.
	Kill func(p partition.Partition)
}

// Run checks an implementation. create makes an empty database for the
// partition called name, and removes it when t ends; it is called by many
// checks at once.
func Run(t *testing.T, create func(t *testing.T, name string) Database) {
	s := suite{create}
	for _, group := range [][]check{
		identityChecks, lifeChecks, entryChecks, listChecks, commitChecks, writerChecks,
		snapshotChecks, applyChecks, catchUpChecks, lineageChecks, convergenceChecks, removalChecks, expiryChecks, leaseChecks,
	} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, s)
			})
		}
	}
}

// check is one behaviour the contract promises.
type check struct {
	name string
	run  func(t *testing.T, s suite)
}

// suite makes what checks need.
type suite struct {
	create func(t *testing.T, name string) Database
}

// The partitions of the checks: one master, and one that only copies.
const (
	alpha = "alpha"
	beta  = "beta"
	epoch = 3
)

// node is a database with a first handle on it.
type node struct {
	partition.Partition
	db Database
}

// fresh makes a database that is prepared but not joined.
func (s suite) fresh(t *testing.T, name string) node {
	t.Helper()
	n := node{db: s.create(t, name)}
	n.Partition = n.open(t)
	return n
}

// node makes a database that is joined to the cluster whose master is alpha.
func (s suite) node(t *testing.T, name string) node {
	t.Helper()
	n := s.fresh(t, name)
	_, err := n.Join(t.Context(), clusterOf(alpha))
	must(t, err)
	return n
}

// open returns another handle, prepared, and closes it when t ends.
func (n node) open(t *testing.T) partition.Partition {
	t.Helper()
	p := n.unprepared(t)
	must(t, p.Prepare(t.Context()))
	return p
}

func (n node) unprepared(t *testing.T) partition.Partition {
	t.Helper()
	p := n.db.Open(t)
	t.Cleanup(func() { p.Close() })
	return p
}

// kill ends the handle p, from within a call on it.
func (n node) kill(ctx context.Context, p partition.Partition) error {
	if n.db.Kill != nil {
		n.db.Kill(p)
		return nil
	}
	go p.Close()
	return awaitClosed(ctx, p)
}

func clusterOf(masters ...string) partition.Cluster {
	return partition.Cluster{
		ID:      "00112233445566778899aabbccddeeff",
		Epoch:   epoch,
		Masters: masters,
		Slots:   make([]uint16, 1024),
	}
}
