package mysql

import (
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

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
