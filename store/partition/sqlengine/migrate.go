package sqlengine

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Schema implements partition.Migrator.
func (s *Engine) Schema(ctx context.Context) (schema partition.Schema, err error) {
	ctx, done := s.withTimeout(ctx, s.timeout)
	defer done()
	err = cmp.Or(s.life.Err(), s.dialect.Tables(ctx, func(t *Tables) error {
		schema, err = s.readSchema(t.rowReader(ctx), false)
		return err
	}))
	return schema, s.wrap("schema", err)
}

// KnownSchema implements partition.Migrator.
func (s *Engine) KnownSchema() partition.Schema {
	if known := s.schema.Load(); known != nil {
		return *known
	}
	return partition.Schema{}
}

// Migrate implements partition.Migrator.
func (s *Engine) Migrate(ctx context.Context, begin func(partition.Step)) error {
	begun := 0 // a step that fails on a busy SQLite file begins again
	return s.changeTables(ctx, "migrate", func(ctx context.Context, t *Tables) error {
		return s.runSteps(ctx, t, func(step partition.Step) {
			if step.Version > begun {
				begun = step.Version
				begin(step)
			}
		})
	})
}

// Finish implements partition.Migrator.
func (s *Engine) Finish(ctx context.Context) error {
	return s.changeTables(ctx, "finish", func(ctx context.Context, t *Tables) error {
		schema, err := s.readSchema(t.rowReader(ctx), false)
		if err == nil {
			err = schema.CheckFinish()
		}
		if err != nil {
			return err
		}
		v, err := s.versions(t)
		if err != nil {
			return err
		}
		return v.record(ctx, t.DB, partition.SchemaVersion, partition.SchemaVersion)
	})
}

// changeTables runs f while no other process changes the tables.
func (s *Engine) changeTables(ctx context.Context, op string, f func(context.Context, *Tables) error) error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.life, cancel)
	defer stop()
	return s.wrap(op, cmp.Or(s.life.Err(), s.dialect.Tables(ctx, func(t *Tables) error {
		if err := t.Lock(ctx); err != nil {
			return err
		}
		return f(ctx, t)
	})))
}

// runSteps runs the steps that the tables lack. The caller has locked the tables.
func (s *Engine) runSteps(ctx context.Context, t *Tables, begin func(partition.Step)) error {
	schema, err := s.readSchema(t.rowReader(ctx), false)
	if err != nil {
		return err
	}
	steps, err := s.Steps(schema.Version)
	if err != nil || len(steps) == 0 {
		return err
	}
	p, err := s.provider(ctx, t)
	if err != nil {
		return err
	}
	for _, step := range steps {
		begin(step)
		if _, err := p.ApplyVersion(ctx, int64(step.Version), true); err != nil {
			return err
		}
	}
	return nil
}

// prepareTables creates the tables of an unused database, and checks whether this binary may use
// the tables.
func (s *Engine) prepareTables(ctx context.Context, t *Tables) error {
	read := t.rowReader(ctx)
	schema, err := s.readSchema(read, false)
	if err != nil {
		return err
	}
	if schema.Version < partition.SchemaVersion {
		unused, err := s.isUnused(read, schema)
		if err == nil && unused {
			if err = t.Lock(ctx); err == nil {
				err = s.runSteps(ctx, t, func(partition.Step) {})
			}
			if err == nil {
				schema, err = s.readSchema(read, false)
			}
		}
		if err != nil {
			return err
		}
	}
	if err := schema.CheckRead(); err != nil {
		return err
	}
	if s.schema.Store(&schema); schema.Version < partition.SchemaVersion {
		s.log.Info("the partition's tables can be migrated: see 'runnel migrate --plan'",
			"partition", s.name, "schema", schema.Version, "available", partition.SchemaVersion)
	}
	return nil
}

// isUnused reports whether no cluster uses the tables, so that starting may complete them. Also a
// process of the version before, which may be about to join, works on the completed tables.
func (s *Engine) isUnused(read rowReader, schema partition.Schema) (bool, error) {
	rows := 0
	if schema.Version == 0 {
		return true, nil
	}
	_, err := read(s.names.Replace(`SELECT COUNT(*) FROM {p}cluster`), &rows)
	return rows == 0, err
}

// schemaInterval is the least time between two looks of a process at the compat row.
const schemaInterval = time.Second

// recheckSchema reads the compat row again, once in schemaInterval: another process may have
// migrated the tables, or shut this binary out.
func (s *Engine) recheckSchema(ctx context.Context, c *Conn) error {
	now, last := time.Now().UnixNano(), s.schemaReadAt.Load()
	if now-last < int64(schemaInterval) || !s.schemaReadAt.CompareAndSwap(last, now) {
		return nil
	}
	schema, err := s.readSchema(connRows(ctx, c), s.schema.Load().Version >= compatVersion)
	if err != nil {
		return err
	}
	s.schema.Store(&schema)
	if err := schema.CheckRead(); err != nil {
		s.ready.Store(false) // until Prepare succeeds
		return err
	}
	return nil
}

// admitBallots shuts out the binaries that know no ballots, in the open transaction.
func (s *Engine) admitBallots(ctx context.Context, c *Conn) error {
	schema, err := s.readSchema(connRows(ctx, c), true)
	if err == nil {
		schema, err = schema.WithBallots()
	}
	if err == nil {
		_, err = c.Exec(ctx, s.statement(updateCompat), schema.Version, schema.OldestReader, schema.OldestReader,
			schema.OldestWriter, schema.OldestWriter, schema.Version, schema.Version)
	}
	return err
}

// checkBallots fails unless the tables hold ballots and older binaries are shut out, as of now.
func (s *Engine) checkBallots(ctx context.Context, c *Conn) error {
	schema, err := s.readSchema(connRows(ctx, c), true)
	if err == nil {
		err = schema.CheckBallots()
	}
	return err
}

// hasBallots reports whether the tables hold ballots. Another process may have migrated the tables
// since they were read last.
func (s *Engine) hasBallots(ctx context.Context, c *Conn) (bool, error) {
	if s.schema.Load().HasBallots() {
		return true, nil
	}
	schema, err := s.readSchema(connRows(ctx, c), true)
	return schema.HasBallots(), err
}

// hasGuards reports whether the tables hold the number of guards. See hasBallots.
func (s *Engine) hasGuards(ctx context.Context, c *Conn) (bool, error) {
	if s.schema.Load().HasGuards() {
		return true, nil
	}
	schema, err := s.readSchema(connRows(ctx, c), true)
	return schema.HasGuards(), err
}

// checkWritable fails unless this binary may write to the tables. The partition is prepared.
func (s *Engine) checkWritable() error { return s.schema.Load().CheckWrite() }

// rowReader reads the integers of the only row of a query, and reports whether the row exists.
type rowReader func(text string, columns ...*int) (bool, error)

// connRows returns a rowReader that reads on a connection of a pool.
func connRows(ctx context.Context, c *Conn) rowReader {
	return func(text string, columns ...*int) (bool, error) {
		err := c.QueryRow(ctx, Kept(text), nil, func(r Rows) {
			for i, column := range columns {
				*column = int(r.Int(i))
			}
		})
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	}
}

const (
	selectCompat  = `SELECT version, oldest_reader, oldest_writer FROM {p}compat WHERE id = 1`
	selectVersion = `SELECT COALESCE(MAX(version_id), 0) FROM {p}schema_version`
)

// readSchema reads the compat row, or without the row the version that binaries from before the
// compat row recorded. hasCompat: the table compat is known to exist.
func (s *Engine) readSchema(read rowReader, hasCompat bool) (schema partition.Schema, err error) {
	if !hasCompat {
		hasCompat, err = s.hasTable(read, "{p}compat")
	}
	if err == nil && hasCompat {
		var found bool
		found, err = read(s.names.Replace(selectCompat), &schema.Version, &schema.OldestReader, &schema.OldestWriter)
		if found {
			return schema, nil
		}
	}
	if err != nil {
		return partition.Schema{}, err
	}
	version := 0
	if found, err := s.hasTable(read, "{p}schema_version"); err != nil || !found {
		return partition.Schema{}, err
	}
	_, err = read(s.names.Replace(selectVersion), &version)
	return partition.Schema{Version: version, OldestReader: version, OldestWriter: version}, err
}

func (s *Engine) hasTable(read rowReader, name string) (bool, error) {
	n := 0
	_, err := read(strings.ReplaceAll(s.sql.CountTables, "{table}", s.names.Replace(name)), &n)
	return n > 0, err
}
