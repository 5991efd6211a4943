package partition

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-sql-driver/mysql"
)

// link is a connection of the driver, kept and used by one goroutine at a
// time. Without database/sql in between, reading many keys is almost twice as
// fast (PERFORMANCE.md).
type link struct {
	conn   driver.Conn
	id     int64  // of the session, for KILL
	text   []byte // the statement being built; its memory is used again
	inTx   bool   // a transaction may be open
	broken bool   // the connection must not be used again
}

func (d *mysqlDB) dial(ctx context.Context) (*link, error) {
	conn, err := d.connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn}
	err = l.run(ctx, "SELECT CONNECTION_ID()", func(_ int, row []driver.Value) error {
		l.id = intOf(row[0])
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
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
func (l *link) run(ctx context.Context, text string, each func(result int, row []driver.Value) error) (err error) {
	defer func() {
		var server *mysql.MySQLError
		if err != nil && (!errors.As(err, &server) || cutShort(err)) {
			l.broken = true
		}
	}()
	rows, err := l.conn.(driver.QueryerContext).QueryContext(ctx, text, nil)
	if err != nil {
		return err
	}
	if err := scan(rows, each); err != nil {
		return errors.Join(err, closed(rows))
	}
	return rows.Close()
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

// exec runs a prepared statement with binary arguments, which the server
// takes up to max_allowed_packet as they are.
func (l *link) exec(ctx context.Context, statement string, args []any) error {
	st, err := l.conn.(driver.ConnPrepareContext).PrepareContext(ctx, statement)
	if err != nil {
		l.broken = mysqlNumber(err) == 0
		return err
	}
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	_, err = st.(driver.StmtExecContext).ExecContext(ctx, named)
	l.broken = l.broken || err != nil && mysqlNumber(err) == 0
	return errors.Join(err, st.Close())
}

// rest leaves no transaction open, or gives the connection up.
func (l *link) rest() {
	if !l.inTx || l.broken {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	l.inTx = l.run(ctx, "ROLLBACK", nothing) != nil
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

// killGrace is how long a commit whose time is over may take to answer.
const killGrace = time.Second

// killable runs f, whose statements may commit. When ctx ends, the server is
// asked to interrupt the session, and its answer is awaited a while: hanging up
// would leave a statement waiting for a lock that it then commits under.
func (d *mysqlDB) killable(ctx context.Context, l *link, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		grace, done := context.WithTimeout(inner, killGrace)
		defer done()
		_, _ = d.pool.ExecContext(grace, fmt.Sprintf("KILL QUERY %d", l.id)) // or else the grace ends
		<-grace.Done()
		cancel()
	})
	err := f(inner)
	if !stop() {
		cancel()
		<-killed
		l.broken = true // the interruption may still be under way
	}
	return err
}
