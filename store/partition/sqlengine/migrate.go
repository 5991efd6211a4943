package sqlengine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/runnelkv/runnel/store/partition"
)

// Migrate brings the schema of db to the version of this binary, by the files of a folder. The
// caller holds a lock against other processes.
func Migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, files fs.FS, folder string, names *strings.Replacer) error {
	files, err := fs.Sub(files, folder)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, db, namedFS{files, names},
		goose.WithTableName(names.Replace("{p}schema_version")),
		goose.WithDisableGlobalRegistry(true),
		goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	if err := mendVersions(ctx, db, names.Replace("{p}schema_version")); err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return fmt.Errorf("%w: the schema is of version %d and this binary knows %d: use a newer runnel", partition.ErrRefused, current, target)
	}
	if _, err := p.Up(ctx); err != nil && !errors.Is(err, goose.ErrAlreadyApplied) {
		return err
	}
	return nil
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
