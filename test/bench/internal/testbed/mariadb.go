package testbed

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DatabasePassword is root's password on every server of the testbed.
const DatabasePassword = "runnel"

// MariaDB is a MariaDB server of the bench.
type MariaDB struct {
	process *Process
	Address string
	dsn     string // without a database
}

// mariadbSettings are common to all servers. The buffer pool holds all data. The redo log is so large that no
// checkpoint stalls a run; with the default of 96 MiB checkpoints do. Only servers with replication write a binary
// log.
func mariadbSettings(bufferPool string) []string {
	return []string{"--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=" + bufferPool,
		"--innodb-log-file-size=1G", "--max-allowed-packet=64M", "--max-connections=1000", "--skip-name-resolve", "--performance-schema=OFF"}
}

// startMariaDB starts a server with the common settings and additional arguments.
func (s *Testbed) startMariaDB(ctx context.Context, name string, settings ...string) (*MariaDB, error) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/libexec")
	if _, err := exec.LookPath("mariadbd"); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	args := append([]string{"test/servers/images/serve.sh", "mariadbd", dir, "--port=" + PortOf(address)}, mariadbSettings(s.BufferPool)...)
	cmd := exec.Command("sh", append(args, settings...)...)
	// Servers that are made at the same time must not share a directory for temporary tables.
	cmd.Env = append(os.Environ(), "ROOT_PASSWORD="+DatabasePassword, "TMPDIR="+dir)
	m := &MariaDB{Address: address, dsn: fmt.Sprintf("root:%s@tcp(%s)/", DatabasePassword, address)}
	if m.process, err = s.start(name, cmd); err != nil {
		return nil, err
	}
	db, err := sql.Open("mysql", m.dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return m, m.process.await(ctx, db.PingContext)
}

// PortOf returns the port of an address.
func PortOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// URL returns the URL of a partition in the database.
func (m *MariaDB) URL(database string) string {
	return fmt.Sprintf("mysql://root:%s@%s/%s", DatabasePassword, m.Address, database)
}

// OpenDatabase creates a database and opens connections of the bench itself, which the testbed closes.
func (s *Testbed) OpenDatabase(ctx context.Context, m *MariaDB, database string) (*sql.DB, error) {
	root, err := sql.Open("mysql", m.dsn)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+database); err != nil {
		return nil, err
	}
	db, err := sql.Open("mysql", m.dsn+database+"?interpolateParams=true")
	if err != nil {
		return nil, err
	}
	s.databases = append(s.databases, db)
	db.SetMaxOpenConns(256)
	db.SetMaxIdleConns(256)
	return db, nil
}
