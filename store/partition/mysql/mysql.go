package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// database is the dialect of MySQL and MariaDB.
type database struct {
	origin   partition.Origin
	names    *strings.Replacer
	grants   string // a GRANT statement for the operator
	database string
	timeout  time.Duration // of an operation
	lockWait int           // seconds to wait for a row lock

	config     *mysql.Config
	login      *login
	generation atomic.Int64 // connections of older generations are closed
	expelled   atomic.Int64 // time of the last change of generation, in ns
	maxConns   int

	// The pools, with at most maxConns connections in total. To exclude deadlocks, a goroutine that
	// holds a reader, a writer or the committer acquires no further connection; a goroutine that
	// holds a stream, possibly for long, may acquire one of those.
	readers   *rawPool
	streams   *rawPool
	writers   *rawPool
	committer *rawPool // may be the same pool as writers
	killer    *rawPool // interrupts statements, and prepares the database
	pools     []*sqlengine.Pool[*rawConn]

	mariaDB   atomic.Bool
	packet    atomic.Int64 // max_allowed_packet
	warned    atomic.Pointer[[]string]
	closeOnce sync.Once

	upsert, newer                 upsert
	small, smallIn                string // before and after the size of the largest value that is read
	claim, heads, fullRows        string // statements with all names replaced
	moveText, fenceText, bulkText string
	epochText, ballotText         string
	self                          []byte // the origin as an SQL literal
	readGuards, addGuards         string
}

const (
	defaultConns = 12
	minConns     = 4 // a writer, a reader, a stream and the killer
	// minPacket is the smallest max_allowed_packet that is supported.
	minPacket = 1 << 20
	// usualPacket is the default of MariaDB; MySQL's is larger.
	usualPacket = 16 << 20
	// packetHeadroom is the space for an entry without its value in a statement with binary
	// arguments.
	packetHeadroom = 256 << 10
)

// Open returns the partition in a MySQL or MariaDB database. The first connection is made by
// Prepare.
func Open(c Config, o sqlengine.Options) (*sqlengine.Engine, error) {
	o, err := o.Complete()
	if err != nil {
		return nil, err
	}
	d, err := newDatabase(c, o)
	if err != nil {
		return nil, err
	}
	return sqlengine.New(o, fragments, d), nil
}

func newDatabase(c Config, o sqlengine.Options) (*database, error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	if c.Database == "" || len(c.Database) > 64 || strings.ContainsAny(c.Database, "`\x00") {
		return nil, fmt.Errorf("database name %q", c.Database)
	}
	d := &database{origin: partition.Origin(o.Name), names: o.Names(fragments), database: c.Database, timeout: o.Timeout, grants: c.grants(),
		config: config, login: newLogin(c, config, o.Logger), lockWait: max(1, int(o.Timeout.Seconds()/3)), maxConns: cmp.Or(max(o.MaxConns, 0), defaultConns)}
	d.killer = d.newPool(1, killing)
	d.statements()
	return d, nil
}

const clock = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`

var fragments = sqlengine.Fragments{
	BeginSnapshot: []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"},
	LockShared:    " LOCK IN SHARE MODE", // MariaDB knows no FOR SHARE
	LockExclusive: " FOR UPDATE",
	InsertIgnore:  "INSERT IGNORE",
	Barrier:       `UPDATE {p}barrier SET counter = counter + 1 WHERE id = 1`, // the redo log is flushed in order, with all before it
	UpsertChunk:   "ON DUPLICATE KEY UPDATE size = VALUES(size), touched_at = GREATEST(touched_at + 1, VALUES(touched_at))",
	// The server compares the data, and writes no equal data.
	UpsertChunkData: "ON DUPLICATE KEY UPDATE data = VALUES(data)",
	DeleteByKey:     "DELETE {p}entries FROM {p}entries FORCE INDEX (PRIMARY)",
	ByKey:           "FORCE INDEX (PRIMARY)",
	ByRevision:      "FORCE INDEX (by_revision)",
	ByExpiry:        "FORCE INDEX (by_expiry)",
	ByLive:          "FORCE INDEX (by_live)",
	CountTables:     "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{table}'",
	CountRows:       "SELECT CAST(COALESCE(MAX(table_rows), 0) AS SIGNED) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{p}entries'",
	DigestLine:      "CONCAT_WS('|', {key}, origin, revision, deleted, content_type, COALESCE(metadata, ''), modified_at, COALESCE(expires_at, 0), checksum, size)",
	ValueLimit:      "max_allowed_packet of the server",
	Pipelined:       true,
}

func (d *database) statements() {
	d.upsert, d.newer = newUpsert(d.names, overwrite, "VALUES(x)"), newUpsert(d.names, overwriteOlder, "IF(VALUES(revision) > revision, VALUES(x), x)")
	d.bulkText = d.newer.plain.bulk()
	d.moveText, d.fenceText = d.names.Replace(movePosition), d.names.Replace(underLease)
	d.epochText, d.ballotText = d.names.Replace(notAfter), d.names.Replace(byBallot)
	d.claim, d.self = d.names.Replace(claimText), appendBytes(nil, d.origin)
	d.readGuards, d.addGuards = d.names.Replace(readGuards), d.names.Replace(addGuards)
	d.heads, d.fullRows = d.names.Replace(sqlengine.SelectHeadsIn), d.names.Replace(sqlengine.SelectEntriesIn)
	d.small, d.smallIn = d.names.Replace(sqlengine.SelectSmall), d.names.Replace(sqlengine.SelectSmallIn)
}

// Kind implements sqlengine.Dialect.
func (d *database) Kind() string {
	if d.mariaDB.Load() {
		return "mariadb"
	}
	return "mysql"
}

// MaxValueBytes implements sqlengine.Dialect. Before Prepare it assumes usualPacket.
func (d *database) MaxValueBytes() int64 {
	packet := cmp.Or(d.packet.Load(), usualPacket)
	return packet - min(packetHeadroom, packet/4)
}

// Warnings implements sqlengine.Dialect.
func (d *database) Warnings() []string {
	if unsafe := d.warned.Load(); unsafe != nil {
		return *unsafe
	}
	return nil
}

// Prepare implements sqlengine.Dialect. It takes no longer than any operation: a server that hangs
// must not hold up a start.
func (d *database) Prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	d.generation.Add(1) // open connections may belong to a deleted database
	l, err := d.killer.Acquire(ctx)
	if errorNumber(err) == errUnknownDatabase {
		if err := d.createDatabase(ctx); err != nil {
			return err
		}
		l, err = d.killer.Acquire(ctx)
	}
	if err != nil {
		return err
	}
	d.killer.release(l)
	if d.readers == nil {
		limit := d.maxConns
		if own := int(l.server.userConns); own > 0 { // of the account
			limit = min(limit, own)
		}
		d.createPools(limit)
	}
	if packet := d.packet.Load(); packet < minPacket {
		return fmt.Errorf("%w: max_allowed_packet is %d; set it to 16M or more, at least to %d", partition.ErrRefused, packet, minPacket)
	}
	return nil
}

func (d *database) createDatabase(ctx context.Context) error {
	l, err := d.dialIn(ctx, killing, "")
	if err != nil {
		return err
	}
	_, err = l.Exec(ctx, sqlengine.Statement{Text: "CREATE DATABASE IF NOT EXISTS `" + d.database + "` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"})
	return errors.Join(err, l.Close())
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations implements sqlengine.Dialect.
func (d *database) Migrations() fs.FS { return sqlengine.Folder(migrations, "migrations") }

// Tables implements sqlengine.Dialect.
func (d *database) Tables(ctx context.Context, f func(*sqlengine.Tables) error) error {
	l, err := d.killer.Acquire(ctx)
	if err != nil {
		return err
	}
	defer d.killer.release(l)
	l.broken = true // it is closed with db
	db := sql.OpenDB(&onlyConnector{l.conn.(driver.Conn)})
	defer db.Close()
	db.SetMaxOpenConns(1)
	return f(&sqlengine.Tables{DB: db, Dialect: goose.DialectMySQL, Lock: func(ctx context.Context) error { return d.lockTables(ctx, db) }})
}

// lockTables takes a lock of the server, which ends with the only connection of db.
func (d *database) lockTables(ctx context.Context, db *sql.DB) error {
	name := fmt.Sprintf("runnel_%016x", xxh3.HashString(d.database+"."+d.names.Replace("{p}")))
	for got := (sql.NullInt64{}); got.Int64 != 1; {
		if err := db.QueryRowContext(ctx, "SELECT GET_LOCK(?, 2)", name).Scan(&got); err != nil {
			return err
		}
	}
	return nil
}

// onlyConnector has one connection to give, once.
type onlyConnector struct{ conn driver.Conn }

// Connect implements driver.Connector.
func (c *onlyConnector) Connect(context.Context) (driver.Conn, error) {
	conn := c.conn
	if c.conn = nil; conn == nil {
		return nil, driver.ErrBadConn
	}
	return conn, nil
}

// Driver implements driver.Connector.
func (*onlyConnector) Driver() driver.Driver { return mysql.MySQLDriver{} }

// Acquire implements sqlengine.Dialect.
func (d *database) Acquire(ctx context.Context, use sqlengine.Use) (*sqlengine.Conn, error) {
	p := d.readers
	switch use {
	case sqlengine.Writing:
		p = d.writers
	case sqlengine.Streaming:
		p = d.streams
	}
	l, err := p.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return sqlengine.NewConn(l, func(inTx bool) {
		l.broken = l.broken || inTx
		p.release(l)
		d.closeIdle(time.Now().Add(-maxAge))
	}), nil
}

// Clock is the start of the statement, independent of the time zone.
func (d *database) Clock() string { return clock }

// Close implements sqlengine.Dialect.
func (d *database) Close() (err error) {
	d.closeOnce.Do(func() { err = d.closePools() })
	return err
}
