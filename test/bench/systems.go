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
	"sync"
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
	// lacks are the cases that it turned out not to have, with the reason.
	lacks map[string]string
	urls  []string // of Runnel's partitions
	keys  int      // of 100 bytes, where it is not the settings' number
	// settle returns when the system does nothing any more on account of earlier requests; nil: it never does.
	settle func(context.Context) error
}

// has reports whether a point can be measured on s.
func (s *system) has(p point) bool {
	if s.direct != nil {
		// One size, and one disk, which knows one writer at a time.
		return s.direct[p.Case] != nil && p.ValueBytes == 100 && (s.name != "fsync" || p.Clients == 1)
	}
	_, has := s.shapes[p.Case]
	return has && s.lacks[p.Case] == ""
}

// as is s under another name, for figures that are not to be mixed with those it has.
func (s *system) as(name string) *system {
	other := *s
	other.name = name
	return &other
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

// A stand holds everything that a run started.
type stand struct {
	dir    string
	runnel string // path of the binary
	self   string // of this one, where it is not the one that runs
	// bufferPool is that of each MariaDB server.
	bufferPool string
	database   *mariadb // that most are on
	systems    []*system
	grown      []*system        // those of the growth phase
	missing    map[string]error // systems that cannot be had
	started    []*process
	// databases are this program's own connections.
	databases []*sql.DB
}

// close ends everything and removes the data, so that nobody need wait for what a server would still write.
func (s *stand) close() error {
	for _, db := range s.databases {
		db.Close()
	}
	var group sync.WaitGroup
	for _, p := range s.started {
		group.Go(p.stop)
	}
	group.Wait()
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
	var dbErr error
	s.database, dbErr = s.startMariaDB(ctx, "mariadbd")
	for _, c := range []struct {
		name  string
		start func(context.Context) (*system, error)
		needs error
	}{
		{"ceiling", s.startCeiling, nil},
		{"runnel-mariadb", s.startRunnelOn(onMariaDB), dbErr},
		{"runnel-embedded", s.startRunnelOn(embedded), nil},
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

func (s *stand) find(name string) *system { return named(s.systems, name) }

func named(systems []*system, name string) *system {
	for _, system := range systems {
		if system.name == name {
			return system
		}
	}
	return nil
}

// resident is the memory of every process, by its name.
func (s *stand) resident() map[string]int64 {
	all := map[string]int64{}
	for _, p := range s.started {
		all[p.name] = p.resident()
	}
	return all
}

func (s *stand) startCeiling(ctx context.Context) (*system, error) {
	return s.startSelf(ctx, "ceiling")
}

func (s *stand) startPlain(ctx context.Context) (*system, error) {
	if _, err := s.openDatabase(ctx, s.database, plainDatabase); err != nil {
		return nil, err
	}
	system, err := s.startSelf(ctx, "plain", s.database.dsn+plainDatabase)
	if err == nil {
		system.processes = append(system.processes, s.database.process)
	}
	return system, err
}

// plainDatabase is the plain way's.
const plainDatabase = "bench_plain"

// startSelf starts this program again as one of the handlers.
func (s *stand) startSelf(ctx context.Context, args ...string) (*system, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self := s.self
	if self == "" {
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	p, err := s.start(args[0], exec.Command(self, append([]string{"serve", address}, args...)...))
	if err != nil {
		return nil, err
	}
	return &system{address: address, processes: []*process{p}, shapes: httpShapes()}, p.await(ctx, answers("http://"+address+"/readyz"))
}

// partitions are the URLs of so many partitions of a system: databases on the server, or files.
func (s *stand) partitions(name, kind string, n int) (urls []string) {
	for i := range n {
		if kind == onMariaDB {
			urls = append(urls, s.database.url(fmt.Sprintf("%s_%d", strings.ReplaceAll(name, "-", "_"), i)))
		} else {
			urls = append(urls, fmt.Sprintf("sqlite:%s", filepath.Join(s.dir, name, fmt.Sprintf("partition-%d.db", i))))
		}
	}
	return urls
}

// The kinds of partitions that are measured.
const (
	onMariaDB = "mariadb"
	embedded  = "embedded"
)

// configure writes a configuration of partitions, which are named in their order, and returns its file.
func (s *stand) configure(name string, urls []string) (file string, err error) {
	var b strings.Builder
	for i, url := range urls {
		fmt.Fprintf(&b, "[[partition]]\nname = \"partition-%d\"\nurl = %q\n", i, url)
	}
	file = filepath.Join(s.dir, name+".toml")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// startRunnel starts "runnel serve" on partitions.
func (s *stand) startRunnel(ctx context.Context, name string, urls []string, flags ...string) (*system, error) {
	file, err := s.configure(name, urls)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := s.start(name, exec.Command(s.runnel, append([]string{"serve", "--listen", address, "--config", file}, flags...)...))
	if err != nil {
		return nil, err
	}
	url := "http://" + address
	system := &system{name: name, address: address, processes: []*process{p}, shapes: runnelShapes(), urls: urls,
		settle: func(ctx context.Context) error { return level(ctx, url) }}
	if strings.HasPrefix(urls[0], "mysql:") && s.database != nil {
		system.processes = append(system.processes, s.database.process)
	}
	return system, errors.Join(p.await(ctx, answers(url+"/readyz?write")), p.await(ctx, answers(url+"/readyz")))
}

func (s *stand) startRunnelOn(kind string) func(context.Context) (*system, error) {
	return func(ctx context.Context) (*system, error) {
		name := "runnel-" + kind
		return s.startRunnel(ctx, name, s.partitions(name, kind, 3))
	}
}
