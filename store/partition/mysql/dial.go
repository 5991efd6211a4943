package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// sessionSettings sets all session variables that change the results or the limits of statements,
// because a server's defaults may suit other applications. STRICT_TRANS_TABLES makes NULL in a NOT
// NULL column an error; the guard against stale epochs depends on that. Without
// NO_BACKSLASH_ESCAPES a backslash escapes. net_write_timeout is high because snapshots may be read
// slowly. With the character set binary, literals are bytes. Only MariaDB executes the comment that
// starts with M!, only MySQL from 8.0 the comment that starts with !80000.
const sessionSettings = `SET sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', completion_type = 'NO_CHAIN', time_zone = '+00:00',
	sql_select_limit = 18446744073709551615, max_join_size = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0,
	sql_auto_is_null = 0, foreign_key_checks = 1, unique_checks = 1, max_sort_length = 8192, group_concat_max_len = 1048576,
	lc_messages = 'en_US', lc_time_names = 'en_US', default_storage_engine = InnoDB,
	innodb_lock_wait_timeout = %[1]d, lock_wait_timeout = %[1]d, net_read_timeout = 60, net_write_timeout = 600, wait_timeout = %[2]d
	/*M! , max_statement_time = 0, idle_transaction_timeout = %[3]d */ /*!80000 , max_execution_time = 0 */;
	SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; SET NAMES binary;
	SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'sync_binlog', 'innodb_flush_log_at_trx_commit',
		'innodb_flush_method', 'innodb_doublewrite', 'wsrep_on');
	SELECT CONNECTION_ID(), VERSION() LIKE '%%MariaDB%%', @@max_allowed_packet, @@max_user_connections`

// driverBuffer is how much the driver reads at once. The driver's buffer is as long as the longest
// text sent, so the first text is padded. With the initial 4 KiB, reading many rows would need a
// system call for every twenty rows.
const driverBuffer = 64 << 10

// maxIdle is the number of seconds after which the server closes an idle writing connection. Inside
// a transaction MariaDB closes the connection earlier.
const maxIdle = 15

// minHeadroom is the space of a packet besides the padding, in bytes.
const minHeadroom = 4 << 10

// dial opens a connection in the database.
func (d *database) dial(ctx context.Context, r role) (*rawConn, error) {
	return d.dialIn(ctx, r, d.database)
}

func (d *database) dialIn(ctx context.Context, r role, database string) (l *rawConn, err error) {
	l = &rawConn{d: d, role: r, opened: time.Now(), generation: d.generation.Load(),
		useEnded: make(chan struct{}), killDone: make(chan struct{})}
	l.interrupt = l.interruptNow
	config := d.config.Clone()
	config.DBName = database
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if l.raw = (&socket{Conn: conn}); r == writing {
			l.raw.answerTimeout = max(d.timeout/2, time.Second)
		}
		return l.raw, nil
	}
	conn, err := d.login.connect(ctx, config)
	if err != nil {
		return nil, err
	}
	l.conn = conn.(driverConn)
	if err := l.withKill(ctx, l.setup); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// setup sets the session variables and reads the properties of the server.
func (l *rawConn) setup() error {
	autocommit, idle, idleInTransaction := 1, 600, 0
	if l.role == writing { // a process that pauses in a transaction must not keep its locks
		autocommit, idle, idleInTransaction = 0, maxIdle, l.d.lockWait+1
	}
	settings := fmt.Sprintf(sessionSettings, l.d.lockWait, idle, idleInTransaction)
	l.server.variables = make(map[string]string)
	err := l.runText(settings, func(_ int, row []driver.Value) error {
		if len(row) == 2 {
			l.server.variables[string(bytesOf(row[0]))] = string(bytesOf(row[1]))
			return nil
		}
		l.id.Store(intOf(row[0])) // stored at once: the connection may have to be killed before the end
		l.server.mariaDB = intOf(row[1]) != 0
		l.server.packet, l.server.userConns = intOf(row[2]), intOf(row[3])
		return nil
	})
	if err == nil {
		err = l.d.checkServer(&l.server)
	}
	if err != nil {
		return err
	}
	last := fmt.Sprintf("SET autocommit = %d", autocommit)
	if l.server.variables["wsrep_on"] == "ON" { // a read waits for commits of other nodes
		last += ", wsrep_sync_wait = 7"
	}
	return l.runText(last+strings.Repeat(" ", int(max(0, min(driverBuffer, l.server.packet-minHeadroom)))), nothing)
}

// server has the properties of a server that a new connection reads.
type server struct {
	mariaDB   bool
	packet    int64             // max_allowed_packet
	userConns int64             // max_user_connections of the account; 0: no limit
	variables map[string]string // by their names; those that the server lacks are missing
}

// warnings describe the settings by which a crash of the server's machine can take back or damage
// acknowledged writes.
func (s *server) warnings() (warnings []string) {
	const lost = "%s is %s: a crash of the machine takes acknowledged writes back; set it to %s"
	v := s.variables
	if doublewrite := v["innodb_doublewrite"]; doublewrite == "OFF" || doublewrite == "0" {
		warnings = append(warnings, "innodb_doublewrite is off: a crash of the machine can damage tables, unless the file system writes pages whole")
	}
	if flush, known := v["innodb_flush_log_at_trx_commit"]; known && flush != "1" {
		warnings = append(warnings, fmt.Sprintf(lost, "innodb_flush_log_at_trx_commit", flush, "1"))
	}
	if method := v["innodb_flush_method"]; method == "nosync" || method == "littlesync" {
		warnings = append(warnings, fmt.Sprintf(lost, "innodb_flush_method", method, "fsync or O_DIRECT"))
	}
	if sync := v["sync_binlog"]; v["log_bin"] == "ON" && sync != "1" {
		warnings = append(warnings, fmt.Sprintf(lost, "sync_binlog", sync+" with log_bin on", "1"))
	}
	return warnings
}

// checkServer stores the properties that a new connection has read. If max_allowed_packet has
// changed, the old connections are closed, because the change affects new connections only.
func (d *database) checkServer(s *server) error {
	if s.variables["log_bin"] == "ON" && s.variables["binlog_format"] == "STATEMENT" {
		return fmt.Errorf("%w: set binlog_format = ROW (or MIXED) on the server; it is STATEMENT", partition.ErrRefused)
	}
	d.mariaDB.Store(s.mariaDB)
	if old := d.packet.Swap(s.packet); old != 0 && old != s.packet {
		d.generation.Add(1)
	}
	warnings := s.warnings()
	d.warned.Store(&warnings)
	return nil
}
