package sqlengine

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/runnelkv/runnel/store/partition"
)

// compatVersion is the version of the tables that introduced the table compat. Binaries from before
// read the table schema_version only, and refuse a database with a later version there. So
// schema_version gets compatVersion when such binaries are shut out, and not before.
const compatVersion = 4

// Tables is a connection for changes of a database's tables.
type Tables struct {
	DB      *sql.DB // with a single connection
	Dialect goose.Dialect
	// Lock excludes other processes that change the tables, until the connection is closed.
	Lock func(context.Context) error
}

// rowReader returns a function that reads on the connection.
func (t *Tables) rowReader(ctx context.Context) rowReader {
	return func(text string, columns ...*int) (bool, error) {
		targets := make([]any, len(columns))
		for i, column := range columns {
			targets[i] = column
		}
		err := t.DB.QueryRowContext(ctx, text).Scan(targets...)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	}
}

// Folder returns a folder of embedded files, which exists.
func Folder(files embed.FS, name string) fs.FS {
	folder, err := fs.Sub(files, name)
	if err != nil {
		panic(err)
	}
	return folder
}

// Steps implements partition.Migrator.
func (s *Engine) Steps(from int) (steps []partition.Step, err error) {
	files, err := fs.Glob(s.dialect.Migrations(), "*.sql")
	for _, file := range files { // in the order of their numbers
		number, name, _ := strings.Cut(strings.TrimSuffix(file, ".sql"), "_")
		version, failed := strconv.Atoi(number)
		text, unread := fs.ReadFile(s.dialect.Migrations(), file)
		if err := errors.Join(failed, unread); err != nil {
			return nil, s.wrap("steps", err)
		}
		if version > from {
			steps = append(steps, partition.Step{Version: version, Name: name, SQL: withoutComments(s.names.Replace(string(text)))})
		}
	}
	return steps, err
}

// withoutComments leaves out the lines that are comments, and empty lines.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// provider returns goose's runner of the migrations.
func (s *Engine) provider(ctx context.Context, t *Tables) (*goose.Provider, error) {
	v, err := s.versions(t)
	if err != nil {
		return nil, err
	}
	if err := mendVersions(ctx, t.DB, v.Tablename()); err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectCustom, t.DB, namedFS{s.dialect.Migrations(), s.names},
		goose.WithStore(v),
		goose.WithDisableGlobalRegistry(true),
		goose.WithSlog(slog.New(slog.DiscardHandler)))
}

// mendVersions completes the table of versions of a process that died between creating and filling
// the table.
func mendVersions(ctx context.Context, db *sql.DB, table string) error {
	var rows int
	if db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&rows) != nil || rows > 0 {
		return nil // the table is missing, or is not empty
	}
	_, err := db.ExecContext(ctx, "INSERT INTO "+table+" (version_id, is_applied) VALUES (0, 1)")
	return err
}

// versions records for goose which migrations were made: in the table schema_version those before
// compatVersion, in the compat row the others.
type versions struct {
	database.Store // of the table schema_version
	names          *strings.Replacer
	countTables    string // Fragments.CountTables
}

func (s *Engine) versions(t *Tables) (versions, error) {
	store, err := database.NewStore(t.Dialect, s.names.Replace("{p}schema_version"))
	return versions{store, s.names, s.sql.CountTables}, err
}

// TableExists implements database.StoreExtender.
func (v versions) TableExists(ctx context.Context, db database.DBTxConn) (bool, error) {
	var n int
	err := db.QueryRowContext(ctx, strings.ReplaceAll(v.countTables, "{table}", v.Tablename())).Scan(&n)
	return n > 0, err
}

// GetMigration implements database.Store. The caller applies missing versions only.
func (v versions) GetMigration(context.Context, database.DBTxConn, int64) (*database.GetMigrationResult, error) {
	return nil, database.ErrVersionNotFound
}

// Insert implements database.Store. On SQLite, Insert is part of the migration's transaction, so a
// migration that another process has made meanwhile fails as a whole.
func (v versions) Insert(ctx context.Context, db database.DBTxConn, r database.InsertRequest) error {
	if r.Version < compatVersion {
		return v.Store.Insert(ctx, db, r)
	}
	return v.record(ctx, db, int(r.Version), int(r.Version)-1)
}

const updateCompat = `UPDATE {p}compat SET version = ?,
		oldest_reader = CASE WHEN oldest_reader < ? THEN ? ELSE oldest_reader END,
		oldest_writer = CASE WHEN oldest_writer < ? THEN ? ELSE oldest_writer END
	WHERE id = 1 AND version IN (?, ?)`

// record sets the version of the tables, which had the version before or this version, and shuts
// out binaries that are older than oldest.
func (v versions) record(ctx context.Context, db database.DBTxConn, version, oldest int) error {
	if oldest >= compatVersion {
		if err := v.shutOutUnaware(ctx, db); err != nil {
			return err
		}
	}
	_, err := db.ExecContext(ctx, v.names.Replace(updateCompat), version, oldest, oldest, oldest, oldest, version-1, version)
	return err
}

// shutOutUnaware shuts out the binaries from before the compat row.
func (v versions) shutOutUnaware(ctx context.Context, db database.DBTxConn) error {
	var latest int
	err := db.QueryRowContext(ctx, v.names.Replace(selectVersion)).Scan(&latest)
	if err != nil || latest >= compatVersion {
		return err
	}
	return v.Store.Insert(ctx, db, database.InsertRequest{Version: compatVersion})
}

// namedFS replaces the placeholders of tables and columns in the files of FS.
type namedFS struct {
	fs.FS
	names *strings.Replacer
}

// Open implements fs.FS.
func (f namedFS) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || info.IsDir() {
		return file, err
	}
	defer file.Close()
	text, err := fs.ReadFile(f.FS, name)
	if err != nil {
		return nil, err
	}
	return namedFile{file, strings.NewReader(f.names.Replace(string(text)))}, nil
}

// namedFile reads the replaced text. Stat is that of the original file.
type namedFile struct {
	fs.File
	text *strings.Reader
}

func (f namedFile) Read(p []byte) (int, error) { return f.text.Read(p) }
func (f namedFile) Close() error               { return nil }
