package memory

import (
	"cmp"
	"context"

	"github.com/runnelkv/runnel/store/partition"
)

// PlantSchema sets the version of the database and the binaries that may use it, as a binary of
// another version would.
func (m *Partition) PlantSchema(s partition.Schema) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	m.db.schema = s
}

// Schema implements partition.Migrator.
func (m *Partition) Schema(ctx context.Context) (partition.Schema, error) {
	if err := m.begin(ctx, OpSchema); err != nil {
		return partition.Schema{}, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.schema, nil
}

// KnownSchema implements partition.Migrator. The schema is always known.
func (m *Partition) KnownSchema() partition.Schema {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.schema
}

// Steps implements partition.Migrator. The steps contain no SQL.
func (m *Partition) Steps(from int) (steps []partition.Step, _ error) {
	for v := from + 1; v <= partition.SchemaVersion; v++ {
		steps = append(steps, partition.Step{Version: v, Name: "memory"})
	}
	return steps, nil
}

// Migrate implements partition.Migrator.
func (m *Partition) Migrate(ctx context.Context, begin func(partition.Step)) error {
	s, err := m.Schema(ctx)
	if err != nil {
		return err
	}
	steps, _ := m.Steps(s.Version)
	for _, step := range steps {
		begin(step)
		m.raise(step.Version, step.Version-1)
	}
	return nil
}

// Finish implements partition.Migrator.
func (m *Partition) Finish(ctx context.Context) error {
	s, err := m.Schema(ctx)
	if err == nil {
		err = s.CheckFinish()
	}
	if err != nil {
		return m.wrap("finish", err)
	}
	m.raise(partition.SchemaVersion, partition.SchemaVersion)
	return nil
}

// raise sets the version and shuts out binaries that are older than oldest.
func (m *Partition) raise(version, oldest int) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	s := &m.db.schema
	s.Version, s.OldestReader, s.OldestWriter = version, max(s.OldestReader, oldest), max(s.OldestWriter, oldest)
}

// checkSchema fails unless this binary may use the database, and write to it if op writes.
func (db *database) checkSchema(op string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.schema.CheckRead(); err != nil {
		return err
	}
	switch op {
	case OpJoin, OpPromise, OpAccept, OpCommit, OpCountGuards, OpApply, OpReset, OpCollect, OpAcquire, OpRelease, OpRepair:
		return db.schema.CheckWrite()
	case OpVerify:
		return cmp.Or(db.schema.CheckVerification(), db.schema.CheckWrite())
	case OpVerified:
		return db.schema.CheckVerification()
	case OpPutChunk, OpTouchChunks, OpDropChunks:
		return cmp.Or(db.schema.CheckChunks(), db.schema.CheckWrite())
	case OpGetChunk, OpListChunks:
		return db.schema.CheckChunks()
	case OpReport, OpReports:
		return cmp.Or(db.schema.CheckBallots(), db.schema.CheckWrite())
	}
	return nil
}
