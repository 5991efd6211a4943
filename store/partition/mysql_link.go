package partition

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// link is a connection of the driver, kept and used by one goroutine at a
// time. Without database/sql in between, reading many keys is almost twice as
// fast (PERFORMANCE.md). The driver is given no context that can end: it would
// wake a goroutine of its own around every statement. A deadline on the socket
// does the same for nothing.
type link struct {
	conn   driver.Conn
	raw    net.Conn // what conn speaks through
	id     int64    // of the session, for KILL
	text   []byte   // the statement being built; its memory is used again
	inTx   bool     // a transaction may be open
	gets   preparedGets
	smalls preparedGets           // of small values
	bulk   driver.StmtExecContext // prepared when it is needed, of bulkRows rows
	args   []driver.NamedValue
	broken bool  // the connection must not be used again
	last   int64 // what the session's LAST_INSERT_ID was set to last
}

// driverBuffer is what the driver reads at once: as much as the longest text
// that it has sent, so the first is padded. From its usual 4 KiB, reading many
// rows takes a system call for every twenty.
const driverBuffer = 64 << 10

func (d *mysqlDB) dial(ctx context.Context) (*link, error) {
	l := &link{}
	connector := d.connector
	connector.config = d.connector.config.Clone()
	connector.config.DialFunc = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		l.raw, err = new(net.Dialer).DialContext(ctx, network, address)
		return l.raw, err
	}
	var err error
	if l.conn, err = connector.Connect(ctx); err != nil {
		return nil, err
	}
	err = l.bounded(ctx, func() error {
		return l.run("SELECT CONNECTION_ID()"+strings.Repeat(" ", driverBuffer), func(_ int, row []driver.Value) error {
			l.id = intOf(row[0])
			return nil
		})
	})
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	return l, nil
}

// dialWriter opens a link whose statements are always in a transaction, so
// that none has to begin it.
func (d *mysqlDB) dialWriter(ctx context.Context) (*link, error) {
	l, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.bounded(ctx, func() error { return l.run("SET autocommit = 0", nothing) }); err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	return l, nil
}

// alive looks whether the server has hung up meanwhile, without asking it.
func (l *link) alive(ctx context.Context) bool {
	return l.conn.(driver.SessionResetter).ResetSession(ctx) == nil
}

// run sends statements in one packet and gives every row of every result to
// each, with the number of its result among those that have columns. A
// row's bytes are good until the next. It returns nil when all statements
// have succeeded.
func (l *link) run(text string, each func(result int, row []driver.Value) error) error {
	rows, err := l.conn.(driver.QueryerContext).QueryContext(context.Background(), text, nil)
	if err != nil {
		return l.noted(err)
	}
	return l.scan(rows, each)
}

func (l *link) scan(rows driver.Rows, each func(result int, row []driver.Value) error) error {
	if err := scan(rows, each); err != nil {
		return l.noted(errors.Join(err, closed(rows)))
	}
	return l.noted(rows.Close())
}

// exec sends statements that have no rows in one packet, and tells what each
// of them did.
func (l *link) exec(text string) (mysql.Result, error) {
	done, err := l.conn.(driver.ExecerContext).ExecContext(context.Background(), text, nil)
	if err != nil {
		return nil, l.noted(err)
	}
	return done.(mysql.Result), nil
}

// noted gives the connection up on an error that leaves it in an unknown state.
func (l *link) noted(err error) error {
	if err != nil && (mysqlNumber(err) == 0 || cutShort(err)) {
		l.broken = true
	}
	return err
}

// closed ends rows that have failed; what Close then says is no news.
func closed(rows driver.Rows) error {
	_ = rows.Close()
	return nil
}

func scan(rows driver.Rows, each func(result int, row []driver.Value) error) error {
	var buffer [columnCount]driver.Value
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
func (l *link) execArgs(statement string, args []any) error {
	st, err := l.conn.(driver.ConnPrepareContext).PrepareContext(context.Background(), statement)
	if err != nil {
		return l.noted(err)
	}
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	_, err = st.(driver.StmtExecContext).ExecContext(context.Background(), named)
	return errors.Join(l.noted(err), st.Close())
}

// rest leaves no transaction open, or gives the connection up.
func (l *link) rest() {
	if !l.inTx || l.broken {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	l.inTx = l.bounded(ctx, func() error { return l.run("ROLLBACK", nothing) }) != nil
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

// links lends a fixed number of links; each is dialled when it is needed.
type links struct {
	slots chan *link // nil: not connected
	dial  func(context.Context) (*link, error)
}

func newLinks(n int, dial func(context.Context) (*link, error)) *links {
	p := &links{slots: make(chan *link, n), dial: dial}
	for range n {
		p.slots <- nil
	}
	return p
}

// take waits for a link and makes sure that it is connected.
func (p *links) take(ctx context.Context) (*link, error) {
	var l *link
	var open bool
	select {
	case l, open = <-p.slots:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !open {
		return nil, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if l != nil && l.alive(ctx) {
		return l, nil
	}
	if l != nil {
		_ = l.conn.Close()
	}
	l, err := p.dial(ctx)
	if err != nil {
		p.slots <- nil
		return nil, err
	}
	return l, nil
}

// give takes a link back.
func (p *links) give(l *link) {
	if l.rest(); l.broken || l.inTx {
		_ = l.conn.Close()
		l = nil
	}
	p.slots <- l
}

// close waits for the links that are lent: their contexts are cancelled.
func (p *links) close() (err error) {
	for range cap(p.slots) {
		if l := <-p.slots; l != nil {
			err = errors.Join(err, l.conn.Close())
		}
	}
	close(p.slots)
	return err
}

// longAgo is a deadline that makes whoever waits for a socket give up.
var longAgo = time.Unix(1, 0)

// bounded runs f, and cuts the connection under it when ctx ends.
func (l *link) bounded(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.raw.SetDeadline(longAgo) })
	err := f()
	if stop() {
		return err
	}
	l.broken = true
	if err != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return nil
}

// killGrace is how long a commit whose time is over may take to answer.
const killGrace = time.Second

// killable runs f, whose statements may commit. When ctx ends, the server is
// asked to interrupt the session, and its answer is awaited a while: hanging up
// would leave a statement waiting for a lock that it then commits under.
func (d *mysqlDB) killable(ctx context.Context, l *link, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	over, killed := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		grace, done := context.WithTimeout(context.Background(), killGrace)
		defer done()
		_, _ = d.pool.ExecContext(grace, fmt.Sprintf("KILL QUERY %d", l.id)) // or else the grace ends
		select {
		case <-grace.Done():
		case <-over:
		}
		_ = l.raw.SetDeadline(longAgo)
	})
	err := f()
	if !stop() {
		close(over)
		<-killed
		l.broken = true // the interruption may still be under way
	}
	return err
}
