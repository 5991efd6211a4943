package mysql

import (
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// server has the properties of a server that a new connection reads.
type server struct {
	mariaDB   bool
	packet    int64 // max_allowed_packet
	userConns int64 // max_user_connections of the account; 0: no limit
	galera    bool

	binlog, statementFormat bool
	syncBinlog              string
	unsafe                  []string
}

// recordVariable stores a variable of the server.
func (s *server) recordVariable(name, value string) {
	switch name {
	case "log_bin":
		s.binlog = value == "ON"
	case "binlog_format":
		s.statementFormat = value == "STATEMENT"
	case "sync_binlog":
		s.syncBinlog = value
	case "wsrep_on":
		s.galera = value == "ON"
	case "innodb_flush_log_at_trx_commit":
		if value != "1" {
			s.unsafe = append(s.unsafe, fmt.Sprintf("innodb_flush_log_at_trx_commit is %s: a crash of the machine takes acknowledged writes back; set it to 1", value))
		}
	case "innodb_doublewrite":
		if value == "OFF" || value == "0" {
			s.unsafe = append(s.unsafe, "innodb_doublewrite is off: a crash of the machine can damage tables, unless the file system writes pages whole")
		}
	case "innodb_flush_method":
		if value == "nosync" || value == "littlesync" {
			s.unsafe = append(s.unsafe, fmt.Sprintf("innodb_flush_method is %s: a crash of the machine takes acknowledged writes back; set it to fsync or O_DIRECT", value))
		}
	}
}

// warnings describe the settings by which a crash of the server's machine can take back or damage
// acknowledged writes.
func (s *server) warnings() []string {
	unsafe := slices.Clone(s.unsafe)
	if s.binlog && s.syncBinlog != "1" {
		unsafe = append(unsafe, fmt.Sprintf("sync_binlog is %s with log_bin on: a crash of the machine takes acknowledged writes back; set it to 1", s.syncBinlog))
	}
	slices.Sort(unsafe)
	return unsafe
}

// checkServer stores the properties that a new connection has read. If max_allowed_packet has
// changed, the old connections are closed, because the change affects new connections only.
func (d *database) checkServer(s *server) error {
	if s.binlog && s.statementFormat {
		return fmt.Errorf("%w: set binlog_format = ROW (or MIXED) on the server; it is STATEMENT", partition.ErrRefused)
	}
	d.mariaDB.Store(s.mariaDB)
	if old := d.packet.Swap(s.packet); old != 0 && old != s.packet {
		d.generation.Add(1)
	}
	unsafe := s.warnings()
	d.warned.Store(&unsafe)
	return nil
}
