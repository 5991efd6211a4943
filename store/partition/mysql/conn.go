package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// link is a connection of the driver, kept and used by one goroutine at a
// time. Without database/sql in between, reading many keys is almost twice as
// fast. The driver is given no context that can end: it would wake a goroutine
// of its own around every statement. Instead the server is told to stop, and a
// deadline on the socket ends the waiting.
type rawConn struct {
	d      *database
	conn   driverConn
	raw    *socket // what conn speaks through
	role   role
	id     atomic.Int64 // of the server's session, for KILL
	text   []byte       // the statement being built; its memory is used again
	inTx   bool         // a transaction may be open
	gets   preparedGets
	smalls preparedGets           // of small values
	bulk   driver.StmtExecContext // prepared when it is needed, of bulkRows rows
	args   []driver.NamedValue
	broken bool  // the connection must not be used again
	last   int64 // what the session's LAST_INSERT_ID was set to last
	server server

	opened     time.Time
	generation int64 // of mysqlDB, when the connection was opened

	interrupt func()        // ends what the connection does; runs once at most
	over      chan struct{} // closed when what was interrupted has ended
	killed    chan struct{} // closed when interrupt has ended
}

// driverConn is what connections of the driver can do.
type driverConn interface {
	driver.QueryerContext
	driver.ExecerContext
	driver.ConnPrepareContext
	driver.SessionResetter
	io.Closer
}

// role is what a connection is for.
type role int

const (
	reading role = iota
	// writing connections are not in autocommit, so that no statement has to begin a transaction.
	writing
	killing
)

var _ sqlengine.RawConn = (*rawConn)(nil)

// alive reports whether the server still has the connection open, without sending anything.
func (l *rawConn) alive(ctx context.Context) bool { return l.conn.ResetSession(ctx) == nil }

// Close ends the connection.
func (l *rawConn) Close() error { return l.conn.Close() }

// rollbackGrace bounds a ROLLBACK after an operation whose own time may be over.
const rollbackGrace = 2 * time.Second

// killGrace is how long the server may take to stop a statement whose time is over.
const killGrace = time.Second

// killEvery is how often the server is told. It forgets a KILL QUERY that finds no
// statement: the packet may not have reached it yet, or be between two statements.
const killEvery = 100 * time.Millisecond

// stop is what interrupt runs. The server is told to stop the statement. The answer of a
// writing connection is awaited for a while: it tells whether a commit took place, and a
// statement that waits for a lock on a connection that hung up would go on waiting, and then
// keep the lock. Reading connections hang up at once.
func (l *rawConn) stop() {
	defer close(l.killed)
	grace, done := context.WithTimeout(context.Background(), killGrace)
	defer done()
	if l.role != writing {
		l.raw.cut()
	}
	l.d.kill(grace, l) // or else the grace ends
	if l.role != writing {
		return
	}
	defer l.raw.cut()
	again := time.NewTicker(killEvery)
	defer again.Stop()
	for {
		select {
		case <-grace.Done():
			return
		case <-l.over:
			return
		case <-again.C:
			l.d.kill(grace, l)
		}
	}
}

// within runs f, which uses the connection, and interrupts it when ctx ends.
func (l *rawConn) within(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w, %w", err, errNotSent)
	}
	if l.broken {
		return driver.ErrBadConn
	}
	stop := context.AfterFunc(ctx, l.interrupt)
	err := f()
	if l.ended(stop) && err != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// ended reports whether the use of the connection that just ended was interrupted.
func (l *rawConn) ended(stop func() bool) bool {
	if stop() {
		return false
	}
	l.broken = true // the interruption may still be under way
	close(l.over)
	if l.role == writing {
		<-l.killed
	}
	return true
}

// run sends statements in one packet and gives every row of every result to
// each, with the number of its result among those that have columns. A
// row's bytes are good until the next. It returns nil when all statements
// have succeeded.
func (l *rawConn) run(text string, each func(result int, row []driver.Value) error) error {
	rows, err := l.conn.QueryContext(context.Background(), text, nil)
	if err != nil {
		return l.noted(err)
	}
	return l.scan(rows, each)
}

func (l *rawConn) scan(rows driver.Rows, each func(result int, row []driver.Value) error) error {
	if err := scan(rows, each); err != nil {
		_ = rows.Close() // which says nothing new
		return l.noted(err)
	}
	return l.noted(rows.Close())
}

// send sends statements that have no rows in one packet, and tells what each
// of them did.
func (l *rawConn) send(text string) (mysql.Result, error) {
	done, err := l.conn.ExecContext(context.Background(), text, nil)
	if err != nil {
		return nil, l.noted(err)
	}
	return done.(mysql.Result), nil
}

// noted gives the connection up on an error that leaves it in an unknown state.
// All connections are given up when the server has become read-only or denies a privilege.
func (l *rawConn) noted(err error) error {
	if err != nil && (errorNumber(err) == 0 || cutShort(err)) {
		l.broken = true
	}
	if outdated(err) {
		l.d.expel()
	}
	return err
}

func scan(rows driver.Rows, each func(result int, row []driver.Value) error) error {
	var buffer [sqlengine.ColumnCount]driver.Value
	for result := 0; ; result++ {
		row := buffer[:len(rows.Columns())]
		err := rows.Next(row)
		for ; err == nil; err = rows.Next(row) {
			if err := each(result, row); err != nil {
				return err
			}
		}
		if err != io.EOF {
			return err
		}
		if err := rows.(driver.RowsNextResultSet).NextResultSet(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// execArgs runs a prepared statement with binary arguments, which the server
// takes up to max_allowed_packet as they are.
func (l *rawConn) execArgs(statement string, args []driver.NamedValue) (changed int64, err error) {
	st, err := l.conn.PrepareContext(context.Background(), statement)
	if errorNumber(err) == errPreparedStatements {
		if done, asText := l.conn.ExecContext(context.Background(), statement, args); asText == nil {
			return done.RowsAffected()
		} else if asText != driver.ErrSkip { // the text does not fit a packet
			err = asText
		}
	}
	if err != nil {
		return 0, l.noted(err)
	}
	done, err := st.(driver.StmtExecContext).ExecContext(context.Background(), args)
	if err == nil {
		changed, err = done.RowsAffected()
	}
	return changed, errors.Join(l.noted(err), st.Close())
}

// rollbackOpen leaves no transaction open, or gives the connection up.
func (l *rawConn) rollbackOpen() {
	if !l.inTx || l.broken {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackGrace)
	defer cancel()
	_ = l.RollbackTx(ctx) // or else inTx stays
}

func nothing(int, []driver.Value) error { return nil }

// intOf reads an integer of the text protocol; NULL is 0.
func intOf(v driver.Value) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case uint64:
		return int64(v)
	}
	return 0
}

func bytesOf(v driver.Value) []byte {
	b, _ := v.([]byte)
	return b
}
