package partition

import (
	"context"
	"fmt"
)

// SchemaVersion is the version of the tables that this binary creates. The binary also works on
// tables of the version before. A binary is known by its SchemaVersion.
const SchemaVersion = 6

// ballotVersion is the version of the tables that introduced ballots.
const ballotVersion = 5

// guardVersion is the version of the tables that introduced the number of guards.
const guardVersion = 5

// chunkVersion is the version of the tables that introduced chunks.
const chunkVersion = 5

// rowChecksumVersion is the version of the tables that introduced row checksums, and the state of verifications.
const rowChecksumVersion = 6

// Schema is the version of a partition's tables, and the binaries that may use them.
type Schema struct {
	Version      int // 0: there are no tables
	OldestReader int // oldest binary that may use the partition
	OldestWriter int // oldest binary that may write to the partition; at least OldestReader
}

// Created is the schema of new tables: binaries of the version before may use them too.
func Created() Schema {
	return Schema{Version: SchemaVersion, OldestReader: SchemaVersion - 1, OldestWriter: SchemaVersion - 1}
}

// Available returns the version to which Migrate can bring the tables, or 0.
func (s Schema) Available() int {
	if 0 < s.Version && s.Version < SchemaVersion {
		return SchemaVersion
	}
	return 0
}

// CheckRead fails with ErrRefused unless this binary may use the partition.
func (s Schema) CheckRead() error {
	switch {
	case s.OldestReader > SchemaVersion:
		return fmt.Errorf("%w: the schema is of version %d for binaries of %d and later, and this binary knows %d: use a newer runnel",
			ErrRefused, s.Version, s.OldestReader, SchemaVersion)
	case s.Version < SchemaVersion-1:
		return fmt.Errorf("%w: the schema is of version %d, and this binary works on %d and %d: run 'runnel migrate --run' with this binary, which shuts older binaries out",
			ErrRefused, s.Version, SchemaVersion-1, SchemaVersion)
	}
	return nil
}

// CheckWrite fails with ErrRefused unless this binary may write to the partition.
func (s Schema) CheckWrite() error {
	if s.OldestWriter > SchemaVersion {
		return fmt.Errorf("%w: the schema is of version %d, to which binaries of %d and later may write, and this binary knows %d: use a newer runnel",
			ErrRefused, s.Version, s.OldestWriter, SchemaVersion)
	}
	return nil
}

// HasGuards reports whether the tables hold the number of guards.
func (s Schema) HasGuards() bool { return s.Version >= guardVersion }

// CheckGuards fails with ErrRefused unless the tables hold the number of guards, and binaries that
// would ignore guards are shut out.
func (s Schema) CheckGuards() error {
	switch {
	case !s.HasGuards():
		return fmt.Errorf("%w: locks protect keys on tables of schema %d, and these are of %d: run 'runnel migrate --run'", ErrRefused, guardVersion, s.Version)
	case s.OldestWriter < guardVersion:
		return fmt.Errorf("%w: binaries of schema %d may still write here, and would ignore that a lock protects a key: end their processes, then run 'runnel migrate --finish'",
			ErrRefused, s.OldestWriter)
	}
	return nil
}

// HasRowChecksums reports whether commits write row checksums. Binaries that would take them for damage are shut out.
func (s Schema) HasRowChecksums() bool { return s.OldestReader >= rowChecksumVersion }

// HasVerification reports whether the tables hold the state of verifications.
func (s Schema) HasVerification() bool { return s.Version >= rowChecksumVersion }

// CheckVerification fails with ErrRefused unless the tables hold the state of verifications.
func (s Schema) CheckVerification() error {
	if !s.HasVerification() {
		return fmt.Errorf("%w: the state of a verification is kept in tables of schema %d, and these are of %d: run 'runnel migrate --run'", ErrRefused, rowChecksumVersion, s.Version)
	}
	return nil
}

// HasBallots reports whether the tables hold ballots.
func (s Schema) HasBallots() bool { return s.Version >= ballotVersion }

// CheckChunks fails with ErrRefused unless the tables hold chunks.
func (s Schema) CheckChunks() error {
	if s.Version < chunkVersion {
		return fmt.Errorf("%w: files need tables of schema %d, and these are of %d: run 'runnel migrate --run'", ErrRefused, chunkVersion, s.Version)
	}
	return nil
}

// CheckBallots fails with ErrRefused unless the tables hold ballots, and binaries that would ignore
// ballots and moves are shut out.
func (s Schema) CheckBallots() error {
	switch {
	case !s.HasBallots():
		return fmt.Errorf("%w: masters move on tables of schema %d, and these are of %d: run 'runnel migrate --run'", ErrRefused, ballotVersion, s.Version)
	case s.OldestWriter < ballotVersion:
		return fmt.Errorf("%w: binaries of schema %d may still write here, and would ignore that masters move: end their processes, then run 'runnel migrate --finish'",
			ErrRefused, s.OldestWriter)
	}
	return nil
}

// WithBallots returns the schema after shutting out the binaries that know no ballots. It fails with
// ErrRefused if the tables hold no ballots.
func (s Schema) WithBallots() (Schema, error) {
	s.OldestReader, s.OldestWriter = max(s.OldestReader, ballotVersion), max(s.OldestWriter, ballotVersion)
	return s, s.CheckBallots()
}

// CheckFinish fails with ErrRefused unless the tables are those of this binary.
func (s Schema) CheckFinish() error {
	if s.Version != SchemaVersion {
		return fmt.Errorf("%w: the schema is of version %d, and this binary finishes %d", ErrRefused, s.Version, SchemaVersion)
	}
	return nil
}

// Step is a migration of the tables from the version before to Version. Binaries of both versions
// work during the step and afterwards.
type Step struct {
	Version int
	Name    string
	SQL     string // statements, without comments
}

// Migrator changes the tables of a partition. Its methods need no Prepare and create no database:
// ErrNotPrepared, together with ErrUnavailable, says that the database is missing.
type Migrator interface {
	// Schema reads the version of the tables and changes nothing.
	Schema(ctx context.Context) (Schema, error)
	// KnownSchema is the schema that this handle read last: in Prepare, and since then with
	// Positions, at most once a second. Zero before Prepare has succeeded.
	KnownSchema() Schema
	// Steps returns the steps from a version to SchemaVersion, in their order.
	Steps(from int) ([]Step, error)
	// Migrate runs the missing steps and calls begin before each. Migrate has no time limit of its
	// own, excludes other migrations of the partition, and may be killed and repeated. Binaries
	// older than SchemaVersion-1 are shut out, the rest continue.
	Migrate(ctx context.Context, begin func(Step)) error
	// Finish shuts out all binaries older than SchemaVersion: running processes from their next
	// call of Positions that is a second later, and new processes at once. ErrRefused, without any
	// change: the tables are not of SchemaVersion.
	Finish(ctx context.Context) error
}
