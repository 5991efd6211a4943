package partition_test

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/servers"
)

func BenchmarkMariaDB(b *testing.B) { benchmarkServer(b, servers.MariaDB(b)) }
func BenchmarkMySQL(b *testing.B)   { benchmarkServer(b, servers.MySQL(b)) }

func benchmarkServer(b *testing.B, server *servers.Server) {
	p := openMySQL(b, mysqlOf(b, server.Database(b)), partition.Options{Name: "a"})
	if err := p.Prepare(b.Context()); err != nil {
		b.Fatal(err)
	}
	benchmark(b, p)
}
