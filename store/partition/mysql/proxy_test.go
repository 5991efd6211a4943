package mysql_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

func TestMariaDBKeepsTheContract(t *testing.T) { keepsTheContract(t, servers.MariaDB(t)) }
func TestMySQLKeepsTheContract(t *testing.T)   { keepsTheContract(t, servers.MySQL(t)) }

func keepsTheContract(t *testing.T, server *servers.Server) {
	partitiontest.Run(t, func(t *testing.T, name string) partitiontest.Database {
		address := server.Database(t)
		var mu sync.Mutex
		proxies := map[partition.Partition]*proxy{}
		return partitiontest.Database{
			Open: func(t *testing.T) partition.Partition {
				c := mysqltest.Config(t, address)
				x := newProxy(t, c.Addr)
				c.Addr = x.listener.Addr().String()
				p := mysqltest.Open(t, c, sqlengine.Options{Name: name, MaxConns: 40}) // some tests hold many snapshots
				mu.Lock()
				defer mu.Unlock()
				proxies[p] = x
				return p
			},
			Kill: func(p partition.Partition) {
				mu.Lock()
				defer mu.Unlock()
				proxies[p].cut()
			},
			PlantSchema: func(t *testing.T, s partition.Schema) { partitiontest.PlantSchema(t, servers.Open(t, address), s) },
			Damage: func(t *testing.T, k partition.Key, e partition.Entry) {
				partitiontest.DamageSQL(t, servers.Open(t, address), k, e)
			},
		}
	})
}

// proxy is a TCP proxy between a partition and its server that can be cut.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // both sides of all connections
	dead  bool

	limited  bool // limit applies to the bytes in a direction
	toServer bool
	limit    int64

	received atomic.Int64 // bytes from the server
	packets  atomic.Int64 // to the server, if packets are small
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &proxy{listener: l, target: target}
	x.running.Go(x.accept)
	t.Cleanup(func() { x.cut(); x.running.Wait() })
	return x
}

func (x *proxy) accept() {
	for {
		client, err := x.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", x.target)
		if err != nil {
			client.Close()
			continue
		}
		if !x.keep(client, server) {
			return
		}
		x.running.Go(func() { defer server.Close(); x.copy(server, client, true) })
		x.running.Go(func() { defer client.Close(); x.copy(client, server, false) })
	}
}

// keep records the connections, or closes them if the proxy is dead.
func (x *proxy) keep(conns ...net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead {
		for _, c := range conns {
			c.Close()
		}
		return false
	}
	x.conns = append(x.conns, conns...)
	return true
}

// cut closes all connections and accepts no more.
func (x *proxy) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dead = true
	x.listener.Close()
	for _, c := range x.conns {
		c.Close()
	}
}
