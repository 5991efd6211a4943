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

// system is a measured server, or several servers behind an address.
type system struct {
	name    string
	address string
	// processes serve requests. Their processor time and memory count as the system's.
	processes []*process
	templates map[string]requestTemplate
	direct    map[string]directOperation // replaces address and templates
	// lacks maps missing cases to reasons.
	lacks map[string]string
	urls  []string // of Runnel's partitions
	keys  int      // of 100 bytes, if different from the settings
	// awaitIdle waits until the system has finished all work of earlier requests. It is nil for systems that never
	// postpone work.
	awaitIdle func(context.Context) error
}

// has reports whether a point can be measured on s.
func (s *system) has(p point) bool {
	if s.direct != nil {
		// The disk has a single writer and a single size.
		return s.direct[p.Case] != nil && p.ValueBytes == 100 && (s.name != "fsync" || p.Clients == 1)
	}
	_, has := s.templates[p.Case]
	return has && s.lacks[p.Case] == ""
}

// renamed returns a copy of s under another name, for figures that must stay apart from those of s.
func (s *system) renamed(name string) *system {
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

// testbed holds the systems and processes of a run.
type testbed struct {
	dir    string
	runnel string // path of the binary
	self   string // path of the bench, if not the running program
	// bufferPool is the buffer pool of each MariaDB server, as in "256M".
	bufferPool string
	database   *mariadb // of most systems
	systems    []*system
	grown      []*system        // systems of the growth phase
	missing    map[string]error // systems that are not available
	started    []*process
	// databases are the bench's own connections.
	databases []*sql.DB
}

// close ends all processes and removes the data.
func (s *testbed) close() error {
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

func (s *testbed) start(name string, cmd *exec.Cmd) (*process, error) {
	p, err := start(s.dir, name, cmd)
	if err == nil {
		s.started = append(s.started, p)
	}
	return p, err
}

// open starts every system. A system that is not available is left out, with the reason.
func (s *testbed) open(ctx context.Context) error {
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

func (s *testbed) find(name string) *system { return findSystem(s.systems, name) }

func findSystem(systems []*system, name string) *system {
	for _, system := range systems {
		if system.name == name {
			return system
		}
	}
	return nil
}

// resident returns the memory of every process, by name.
func (s *testbed) resident() map[string]int64 {
	all := map[string]int64{}
	for _, p := range s.started {
		all[p.name] = p.resident()
	}
	return all
}

func (s *testbed) startCeiling(ctx context.Context) (*system, error) {
	return s.startSelf(ctx, "ceiling")
}

func (s *testbed) startPlain(ctx context.Context) (*system, error) {
	if _, err := s.openDatabase(ctx, s.database, plainDatabase); err != nil {
		return nil, err
	}
	system, err := s.startSelf(ctx, "plain", s.database.dsn+plainDatabase)
	if err == nil {
		system.processes = append(system.processes, s.database.process)
	}
	return system, err
}

// plainDatabase is the database of plain.
const plainDatabase = "bench_plain"

// startSelf starts this program as a handler.
func (s *testbed) startSelf(ctx context.Context, args ...string) (*system, error) {
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
	return &system{address: address, processes: []*process{p}, templates: httpTemplates()}, p.await(ctx, answers("http://"+address+"/readyz"))
}

// partitions returns the URLs of n partitions of a system: databases on the server, or files.
func (s *testbed) partitions(name, kind string, n int) (urls []string) {
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

// configure writes a configuration of the partitions, named in order, and returns the path.
func (s *testbed) configure(name string, urls []string) (file string, err error) {
	var b strings.Builder
	for i, url := range urls {
		fmt.Fprintf(&b, "[[partition]]\nname = \"partition-%d\"\nurl = %q\n", i, url)
	}
	file = filepath.Join(s.dir, name+".toml")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// startRunnel starts "runnel serve" on partitions.
func (s *testbed) startRunnel(ctx context.Context, name string, urls []string, flags ...string) (*system, error) {
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
	system := &system{name: name, address: address, processes: []*process{p}, templates: runnelTemplates(), urls: urls,
		awaitIdle: func(ctx context.Context) error { return level(ctx, url) }}
	if strings.HasPrefix(urls[0], "mysql:") && s.database != nil {
		system.processes = append(system.processes, s.database.process)
	}
	return system, errors.Join(p.await(ctx, answers(url+"/readyz?write")), p.await(ctx, answers(url+"/readyz")))
}

func (s *testbed) startRunnelOn(kind string) func(context.Context) (*system, error) {
	return func(ctx context.Context) (*system, error) {
		name := "runnel-" + kind
		return s.startRunnel(ctx, name, s.partitions(name, kind, 3))
	}
}
