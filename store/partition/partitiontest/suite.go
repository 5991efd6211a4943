package partitiontest

import (
	"context"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// Database is the database of a partition.
type Database struct {
	// Open returns a new handle on the database, as another process would open it, before Prepare.
	// The suite closes the handle.
	Open func(t *testing.T) partition.Partition
	// Kill ends a handle of Open as kill -9 ends a process: connections close without a message in
	// the midst of operations, and calls fail from then on. Kill is called within a Decide. nil:
	// the handle is closed instead.
	Kill func(p partition.Partition)
	// PlantSchema sets the version of the tables and the binaries that may use them, as a binary of
	// another version would.
	PlantSchema func(t *testing.T, s partition.Schema)
	// Damage replaces the row of a key by another, without regard to positions, revisions and checksums, as damage to a
	// database would. nil: see DamageSQL.
	Damage func(t *testing.T, k partition.Key, e partition.Entry)
}

// Run checks an implementation. create makes an empty database for the partition called name and
// removes the database when t ends. Checks call create concurrently.
func Run(t *testing.T, create func(t *testing.T, name string) Database) {
	s := suite{create}
	for _, group := range [][]check{
		identityChecks, ballotChecks, schemaChecks, lifeChecks, entryChecks, listChecks, commitChecks, guardChecks, writerChecks,
		snapshotChecks, viewChecks, applyChecks, catchUpChecks, lineageChecks, checksumChecks, verifyChecks, convergenceChecks, removalChecks, expiryChecks, leaseChecks, chunkChecks, reportChecks,
	} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, s)
			})
		}
	}
}

// check is a promise of the contract.
type check struct {
	name string
	run  func(t *testing.T, s suite)
}

// suite creates the databases of checks.
type suite struct {
	create func(t *testing.T, name string) Database
}

// The partitions of the checks: a master, and a partition that only copies.
const (
	alpha = "alpha"
	beta  = "beta"
	epoch = 3
)

// node is a database with its first handle.
type node struct {
	partition.Partition
	db Database
}

// fresh returns a database that is prepared but has not joined a cluster.
func (s suite) fresh(t *testing.T, name string) node {
	t.Helper()
	n := node{db: s.create(t, name)}
	n.Partition = n.open(t)
	return n
}

// node returns a database that has joined the cluster with the master alpha.
func (s suite) node(t *testing.T, name string) node {
	t.Helper()
	n := s.fresh(t, name)
	_, err := n.Join(t.Context(), clusterOf(alpha))
	must(t, err)
	return n
}

// open returns another handle, prepared. The handle is closed when t ends.
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

// kill ends the handle p, from within a call of p.
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
