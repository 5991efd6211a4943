package partition

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// sessionSettings are all variables of a session that change what statements do, or for how
// long: a server's defaults for them are for other applications. STRICT_TRANS_TABLES makes
// a NULL in a NOT NULL column an error, on which the guard against stale epochs rests; without
// NO_BACKSLASH_ESCAPES a backslash escapes; snapshots may be written slowly; in binary,
// literals are bytes. MariaDB alone runs what stands in the first kind of comment,
// and MySQL from 8.0 on what stands in the second.
const sessionSettings = `SET sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', completion_type = 'NO_CHAIN', time_zone = '+00:00',
	sql_select_limit = 18446744073709551615, max_join_size = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0,
	sql_auto_is_null = 0, foreign_key_checks = 1, unique_checks = 1, max_sort_length = 8192, group_concat_max_len = 1048576,
	lc_messages = 'en_US', lc_time_names = 'en_US', default_storage_engine = InnoDB,
	innodb_lock_wait_timeout = %[1]d, lock_wait_timeout = %[1]d, net_read_timeout = 60, net_write_timeout = 600, wait_timeout = 600
	/*M! , max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */;
	SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; SET NAMES binary;
	SELECT CONNECTION_ID(), VERSION() LIKE '%%MariaDB%%', @@max_allowed_packet`

// driverBuffer is what the driver reads at once: as much as the longest text
// that it has sent, so the first is padded. From its usual 4 KiB, reading many
// rows takes a system call for every twenty.
const driverBuffer = 64 << 10

// dial opens a connection in the database.
func (d *mysqlDB) dial(ctx context.Context, r role) (*link, error) {
	return d.dialIn(ctx, r, d.database)
}

func (d *mysqlDB) dialIn(ctx context.Context, r role, database string) (l *link, err error) {
	l = &link{d: d, role: r, opened: time.Now(), generation: d.generation.Load(),
		over: make(chan struct{}), killed: make(chan struct{})}
	l.interrupt = l.stop
	config := d.config.Clone()
	config.DBName = database
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if l.raw = (&socket{Conn: conn}); r == writing {
			l.raw.patience = max(d.timeout/2, time.Second)
		}
		return l.raw, nil
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	l.conn = conn.(driverConn)
	if err := l.within(ctx, l.settle); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// settle makes the session's settings and learns about the server.
func (l *link) settle() error {
	err := l.run(fmt.Sprintf(sessionSettings, l.d.lockWait), func(_ int, row []driver.Value) error {
		l.id = intOf(row[0])
		l.d.mariaDB.Store(intOf(row[1]) != 0)
		l.d.packet.Store(intOf(row[2]))
		return nil
	})
	if err != nil {
		return err
	}
	autocommit := 1
	if l.role == writing {
		autocommit = 0
	}
	return l.run(fmt.Sprintf("SET autocommit = %d", autocommit)+strings.Repeat(" ", driverBuffer), nothing)
}

// kill has the server stop what a connection does: a writing one's statement, or else all of it.
func (d *mysqlDB) kill(ctx context.Context, l *link) {
	if l.id == 0 || l.role == killing {
		return
	}
	what := "CONNECTION"
	if l.role == writing {
		what = "QUERY"
	}
	k, err := d.killer.take(ctx)
	if err != nil {
		return
	}
	defer d.killer.give(k)
	_ = k.within(ctx, func() error { return k.run(fmt.Sprintf("KILL %s %d", what, l.id), nothing) })
}
