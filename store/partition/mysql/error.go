package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/go-sql-driver/mysql"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// Error numbers of servers, common to MySQL and MariaDB unless noted.
const (
	errCheckRead          = 1020 // MariaDB ≥ 11.6: record has changed since last read
	errDiskFull           = 1021
	errTooManyConnections = 1040
	errDatabaseDenied     = 1044
	errAccessDenied       = 1045
	errNull               = 1048 // NULL in a NOT NULL column
	errNotReady           = 1047 // Galera: the node has left its cluster
	errUnknownDatabase    = 1049
	errShutdown           = 1053
	errDuplicateEntry     = 1062
	errTableFull          = 1114
	errTooBigRow          = 1118 // also: a value beyond a tenth of the redo log
	errTableDenied        = 1142
	errColumnDenied       = 1143
	errNoSuchTable        = 1146
	errPacketTooLarge     = 1153
	errDuringCommit       = 1180
	errTooManyUserConns   = 1203
	errUserLimit          = 1226 // max_user_connections of the account
	errLockWait           = 1205
	errDeadlock           = 1213
	errSpecificDenied     = 1227
	errReadOnlyServer     = 1290
	errLongData           = 1301 // result larger than max_allowed_packet
	errInterrupted        = 1317
	errDataTooLong        = 1406
	errReadOnlyTx         = 1792
	errReadOnlyMode       = 1836
	errConnectionKilled   = 1927 // MariaDB
	errStatementTime      = 1969 // MariaDB
	errBinlogFormat       = 1665
	errSocketDenied       = 1698
	errExecutionTime      = 3024 // MySQL
	errSecureTransport    = 3159
	errPreparedStatements = 1461 // max_prepared_stmt_count
	errSessionKilled      = 3169 // MySQL
	errPasswordExpired    = 1862
	errMustChangePassword = 1820
	errAccountLocked      = 3118 // MySQL
	errAccountLockedMaria = 4151 // MariaDB
	errInactive           = 4031 // MySQL: the session was idle for too long
)

// errorNumber returns the number of the server's error in err, or 0.
func errorNumber(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

func hasNumber(err error, numbers ...uint16) bool { return slices.Contains(numbers, errorNumber(err)) }

// Transient implements sqlengine.Dialect: the server rolled the transaction back in favour of another, or the
// connection has failed.
func (d *database) Transient(err error) bool {
	return errors.Is(err, errNotSent) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) ||
		hasNumber(err, errDeadlock, errLockWait, errCheckRead, errConnectionKilled, errSessionKilled, errInactive)
}

// Answered implements sqlengine.Dialect: a statement with an error of its own did not commit. An interrupted
// statement may have committed.
func (d *database) Answered(err error) bool {
	return errorNumber(err) != 0 && !isInterrupted(err) || notSent(err)
}

// isInterrupted reports whether the statement was stopped from outside.
func isInterrupted(err error) bool {
	return hasNumber(err, errInterrupted, errConnectionKilled, errSessionKilled, errShutdown, errDuringCommit, errStatementTime, errExecutionTime)
}

// errNotSent: the context ended before the statement was sent.
var errNotSent = errors.New("nothing was sent")

// notSent reports whether the statement was not sent.
func notSent(err error) bool {
	return errors.Is(err, errNotSent) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrPktTooLarge)
}

// Classify implements sqlengine.Dialect.
func (d *database) Classify(err error) error {
	switch errorNumber(err) {
	case 0:
		return classifyNetwork(err)
	case errAccessDenied, errSocketDenied:
		return fmt.Errorf("%w: the server denies access: check user and password%s; the user needs: %s (%w)", partition.ErrRefused, d.tlsHint(), d.grants, err)
	case errSecureTransport:
		return fmt.Errorf("%w: the server requires TLS%s: %w", partition.ErrRefused, d.tlsHint(), err)
	case errDatabaseDenied, errTableDenied, errColumnDenied, errSpecificDenied:
		return fmt.Errorf("%w: the user lacks a privilege: run %s (%w)", partition.ErrRefused, d.grants, err)
	case errPasswordExpired, errMustChangePassword, errAccountLocked, errAccountLockedMaria:
		return fmt.Errorf("%w: the user's account is locked or its password has expired: unlock it: %w", partition.ErrRefused, err)
	case errBinlogFormat:
		return fmt.Errorf("%w: set binlog_format = ROW (or MIXED) on the server: %w", partition.ErrRefused, err)
	case errPacketTooLarge, errLongData:
		return fmt.Errorf("%w: max_allowed_packet of the server is too small: %w", partition.ErrTooLarge, err)
	case errDiskFull, errTableFull:
		return fmt.Errorf("%w: %w: %w", partition.ErrUnavailable, partition.ErrNoSpace, err)
	case errTooBigRow, errDataTooLong:
		return fmt.Errorf("%w: %w", partition.ErrTooLarge, err)
	case errUnknownDatabase, errNoSuchTable:
		return fmt.Errorf("%w: %w: %w", partition.ErrUnavailable, partition.ErrNotPrepared, err)
	case errDuplicateEntry, errNull: // overwrite sets NULL for a row of another key
		return fmt.Errorf("%w: %w", sqlengine.ErrDuplicate, err)
	case errDeadlock, errLockWait, errCheckRead, errTooManyConnections, errNotReady, errShutdown,
		errDuringCommit, errTooManyUserConns, errUserLimit, errPreparedStatements, errReadOnlyServer, errReadOnlyTx, errReadOnlyMode,
		errInterrupted, errConnectionKilled, errStatementTime, errExecutionTime, errSessionKilled, errInactive:
		return fmt.Errorf("%w: %w", partition.ErrUnavailable, err)
	}
	return err
}

// tlsHint is a hint for servers and accounts that require TLS.
func (d *database) tlsHint() string {
	if d.config.TLS != nil {
		return ""
	}
	return ", and that neither server nor account requires TLS (the url takes ?tls=true)"
}

// needsNewSession reports whether a new session may succeed: the server is read-only, and another
// server may have taken over the address; or a privilege is missing, and a GRANT takes effect in
// new sessions.
func needsNewSession(err error) bool {
	return hasNumber(err, errReadOnlyServer, errReadOnlyTx, errReadOnlyMode, errDatabaseDenied, errTableDenied, errColumnDenied, errSpecificDenied)
}

// isServerFull reports whether the server or the account has reached its limit of connections.
func isServerFull(err error) bool {
	return hasNumber(err, errTooManyConnections, errTooManyUserConns, errUserLimit)
}

func classifyNetwork(err error) error {
	var network net.Error
	switch {
	case errors.Is(err, mysql.ErrPktTooLarge):
		return fmt.Errorf("%w: max_allowed_packet of the server is too small: %w", partition.ErrTooLarge, err)
	case errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrMalformPkt),
		errors.Is(err, mysql.ErrBusyBuffer), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", partition.ErrUnavailable, err)
	}
	return err
}
