package runnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

// OpenPartitions opens the databases of a configuration directly. The caller closes them with ClosePartitions.
func OpenPartitions(t testing.TB, file string) (parts []partition.Partition) {
	t.Helper()
	c, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range c.Partitions {
		p, err := OpenPartition(section)
		if err == nil {
			err = p.Prepare(t.Context())
		}
		if err != nil {
			t.Fatalf("open %s: %v", section.Name, err)
		}
		parts = append(parts, p)
	}
	return parts
}

// OpenPartition opens a partition's database, with a minute for each operation.
func OpenPartition(section config.Partition) (partition.Partition, error) {
	o, u := sqlengine.Options{Name: section.Name, Timeout: time.Minute}, section.URL
	if u.Scheme == config.SQLite {
		return sqlite.Open(u.Path, o)
	}
	return mysql.Open(mysql.Config{
		Addr: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), User: u.User, Password: u.Password.Reveal(),
		Database: u.Database, Params: u.Params,
	}, o)
}

// ClosePartitions closes databases.
func ClosePartitions(t testing.TB, parts []partition.Partition) {
	t.Helper()
	for _, p := range parts {
		if err := p.Close(); err != nil {
			t.Errorf("close %s: %v", p.Name(), err)
		}
	}
}

// ReadEntries reads all entries of an origin that a partition holds, tombstones included, and the partition's position as of
// the same moment.
func ReadEntries(t testing.TB, p partition.Partition, origin partition.Origin) (partition.Position, map[partition.Key]partition.Entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	snap, err := p.Snapshot(ctx, origin, 0)
	if err != nil {
		t.Fatalf("read %s: %v", p.Name(), err)
	}
	defer snap.Close()
	all := make(map[partition.Key]partition.Entry)
	for {
		entries, err := snap.Next(ctx, 1000, 16<<20)
		for _, e := range entries {
			if _, twice := all[e.Key]; twice {
				t.Fatalf("%s holds %q twice", p.Name(), e.Key)
			}
			all[e.Key] = e
		}
		if errors.Is(err, io.EOF) {
			return snap.Position(), all
		}
		if err != nil {
			t.Fatalf("read %s: %v", p.Name(), err)
		}
	}
}
