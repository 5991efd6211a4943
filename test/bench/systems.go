package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A system is a server, or several behind one address, that is measured.
type system struct {
	name    string
	address string
	// processes serve requests: their processor time and memory is the system's.
	processes []*process
	shapes    map[string]shape
	direct    map[string]direct // in place of an address and shapes
	// settle returns when the system does nothing any more on account of earlier requests; nil: it never does.
	settle func(context.Context) error
}

// A shape is how a system writes a request of a case.
type shape struct {
	method, path, body string
	header             []string
	expect             []int
	sized              bool // the answer is as long as the value
}

// has reports whether a point can be measured on s.
func (s *system) has(p point) bool {
	if s.direct != nil {
		// One size, and one disk, which knows one writer at a time.
		return s.direct[p.Case] != nil && p.ValueBytes == 100 && (s.name != "fsync" || p.Clients == 1)
	}
	_, has := s.shapes[p.Case]
	return has
}

func (s *system) cpu() (total time.Duration) {
	for _, p := range s.processes {
		total += p.cpu()
	}
	return total
}

func (s *system) resident() (total int64) {
	for _, p := range s.processes {
		total += p.resident()
	}
	return total
}

const keysPath = "/v1/keys/{key}"

var (
	written = []int{200, 201, 204}
	text    = []string{"Content-Type: text/plain"}
)

// httpShapes are what the ceiling and the plain way take.
func httpShapes() map[string]shape {
	return map[string]shape{
		"get":    {method: "GET", path: keysPath, expect: []int{200}, sized: true},
		"put":    {method: "PUT", path: keysPath, body: "{value}", header: text, expect: written},
		"delete": {method: "DELETE", path: keysPath, expect: written},
	}
}

// runnelShapes are all of Runnel's cases.
func runnelShapes() map[string]shape {
	shapes := httpShapes()
	shapes["get-master"] = shape{method: "GET", path: keysPath + "?consistency=master", expect: []int{200}, sized: true}
	shapes["put-if-match"] = shape{method: "PUT", path: keysPath, body: "{value}", header: append([]string{"If-Match: {etag}"}, text...), expect: written}
	shapes["list"] = shape{method: "GET", path: "/v1/keys?limit=100&prefix=v100-", expect: []int{200}}
	return shapes
}

var webdisShapes = map[string]shape{
	"get":    {method: "GET", path: "/GET/{key}.txt", expect: []int{200}, sized: true},
	"put":    {method: "PUT", path: "/SET/{key}", body: "{value}", expect: []int{200}},
	"delete": {method: "GET", path: "/DEL/{key}", expect: []int{200}},
}

// etcdShapes read from the member that is asked ("serializable"), as Runnel's any does: it is the cheaper way.
var etcdShapes = map[string]shape{
	"get":    {method: "POST", path: "/v3/kv/range", body: `{"key":"{key64}","serializable":true}`, expect: []int{200}},
	"put":    {method: "POST", path: "/v3/kv/put", body: `{"key":"{key64}","value":"{value64}"}`, expect: []int{200}},
	"delete": {method: "POST", path: "/v3/kv/deleterange", body: `{"key":"{key64}"}`, expect: []int{200}},
}

// A stand holds everything that a run started.
type stand struct {
	dir      string
	runnel   string // path of the binary
	database *process
	dsn      string // of the plain way's database
	address  string // of the database
	systems  []*system
	missing  map[string]error // systems that cannot be had
	started  []*process
	// databases are this program's own connections.
	databases []*sql.DB
}

// close ends everything in the reverse order of starting, and removes the data.
func (s *stand) close() error {
	for _, db := range s.databases {
		db.Close()
	}
	for i := len(s.started) - 1; i >= 0; i-- {
		s.started[i].stop()
	}
	return os.RemoveAll(s.dir)
}

func (s *stand) start(name string, cmd *exec.Cmd) (*process, error) {
	p, err := start(s.dir, name, cmd)
	if err == nil {
		s.started = append(s.started, p)
	}
	return p, err
}

// open starts every system. One that cannot be had is left out, with its reason.
func (s *stand) open(ctx context.Context) error {
	s.missing = map[string]error{}
	dbErr := s.startMariaDB(ctx)
	for _, c := range []struct {
		name  string
		start func(context.Context) (*system, error)
		needs error
	}{
		{"ceiling", s.startCeiling, nil},
		{"runnel-mariadb", s.startRunnelMariaDB, dbErr},
		{"runnel-embedded", s.startRunnelEmbedded, nil},
		{"plain-mariadb", s.startPlain, dbErr},
		{"redis-webdis", s.startRedis, nil},
		{"etcd", s.startEtcd, nil},
		{"bare-mariadb", s.startBare, dbErr},
		{"fsync", s.startDisk, nil},
	} {
		err := c.needs
		var system *system
		if err == nil {
			system, err = c.start(ctx)
		}
		if err != nil {
			s.missing[c.name] = err
			continue
		}
		system.name = c.name
		s.systems = append(s.systems, system)
	}
	if s.find("ceiling") == nil {
		return s.missing["ceiling"]
	}
	return ctx.Err()
}

func (s *stand) find(name string) *system {
	for _, system := range s.systems {
		if system.name == name {
			return system
		}
	}
	return nil
}

const databasePassword = "runnel"

// startMariaDB starts a server as the tests' servers are, but with a buffer pool that holds all the data.
func (s *stand) startMariaDB(ctx context.Context) error {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/libexec")
	if _, err := exec.LookPath("mariadbd"); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "mariadb")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	cmd := exec.Command("sh", "test/servers/images/serve.sh", "mariadbd", dir, "--bind-address=127.0.0.1", "--port="+portOf(address),
		"--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M", "--max-allowed-packet=64M", "--max-connections=500",
		"--skip-name-resolve", "--performance-schema=OFF")
	cmd.Env = append(os.Environ(), "ROOT_PASSWORD="+databasePassword)
	if s.database, err = s.start("mariadbd", cmd); err != nil {
		return err
	}
	s.address = address
	s.dsn = fmt.Sprintf("root:%s@tcp(%s)/", databasePassword, address)
	db, err := sql.Open("mysql", s.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := s.database.await(ctx, db.PingContext); err != nil {
		return err
	}
	s.dsn += "bench_plain"
	_, err = db.ExecContext(ctx, "CREATE DATABASE bench_plain")
	return err
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

func (s *stand) startCeiling(ctx context.Context) (*system, error) {
	return s.startSelf(ctx, "ceiling")
}

func (s *stand) startPlain(ctx context.Context) (*system, error) {
	system, err := s.startSelf(ctx, "plain", s.dsn)
	if err == nil {
		system.processes = append(system.processes, s.database)
	}
	return system, err
}

// startSelf starts this program again as one of the handlers.
func (s *stand) startSelf(ctx context.Context, args ...string) (*system, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := s.start(args[0], exec.Command(self, append([]string{"serve", address}, args...)...))
	if err != nil {
		return nil, err
	}
	return &system{address: address, processes: []*process{p}, shapes: httpShapes()}, p.await(ctx, answers("http://"+address+"/readyz"))
}

func (s *stand) startRunnelMariaDB(ctx context.Context) (*system, error) {
	var b strings.Builder
	for i := range 3 {
		fmt.Fprintf(&b, "[[partition]]\nname = \"partition-%d\"\nurl = \"mysql://root:%s@%s/bench_%d\"\n", i, databasePassword, s.address, i)
	}
	file := filepath.Join(s.dir, "runnel.toml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	system, err := s.startRunnel(ctx, "runnel-mariadb", "--config", file)
	if err == nil {
		system.processes = append(system.processes, s.database)
	}
	return system, err
}

func (s *stand) startRunnelEmbedded(ctx context.Context) (*system, error) {
	return s.startRunnel(ctx, "runnel-embedded", "--data", filepath.Join(s.dir, "data"))
}

func (s *stand) startRunnel(ctx context.Context, name string, args ...string) (*system, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := s.start(name, exec.Command(s.runnel, append([]string{"serve", "--listen", address}, args...)...))
	if err != nil {
		return nil, err
	}
	url := "http://" + address
	system := &system{address: address, processes: []*process{p}, shapes: runnelShapes(), settle: func(ctx context.Context) error { return level(ctx, url) }}
	return system, errors.Join(p.await(ctx, answers(url+"/readyz?write")), p.await(ctx, answers(url+"/readyz")))
}
