package testbed

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

	"github.com/runnelkv/runnel/test/bench/internal/report"
)

// System is a measured server, or several servers behind an address.
type System struct {
	Name    string
	Address string
	// Processes serve requests. Their processor time and memory count as the system's.
	Processes []*Process
	Templates map[string]RequestTemplate
	Direct    map[string]DirectOperation  // replaces address and templates
	Prepare   func(context.Context) error // of a system with files
	// Lacks maps missing cases to reasons.
	Lacks map[string]string
	URLs  []string // of Runnel's partitions
	Keys  int      // of 100 bytes, if different from the settings
	// CAFile is the authority of a server with TLS, and "" for plain HTTP.
	CAFile string
	Header []string // of every request, beside that of the template
	// AwaitIdle waits until the system has finished all work of earlier requests. It is nil for systems that never
	// postpone work.
	AwaitIdle func(context.Context) error
}

// Has reports whether a point can be measured on s.
func (s *System) Has(p report.Point) bool {
	if s.Direct != nil {
		// The disk has a single writer and a single size.
		return s.Direct[p.Case] != nil && (p.ValueBytes == 100 || s.Prepare != nil) && (s.Name != "fsync" || p.Clients == 1)
	}
	_, has := s.Templates[p.Case]
	return has && s.Lacks[p.Case] == ""
}

// Renamed returns a copy of s under another name, for figures that must stay apart from those of s.
func (s *System) Renamed(name string) *System {
	other := *s
	other.Name = name
	return &other
}

// CPU returns the processor time that the processes of s have used.
func (s *System) CPU() (total time.Duration) {
	for _, p := range s.Processes {
		total += p.cpu()
	}
	return total
}

// Resident returns the memory of the processes of s, in bytes.
func (s *System) Resident() (total int64) {
	for _, p := range s.Processes {
		total += p.resident()
	}
	return total
}

// Testbed holds the systems and processes of a run.
type Testbed struct {
	Dir    string
	Runnel string // path of the binary
	Self   string // path of the bench, if not the running program
	// BufferPool is the buffer pool of each MariaDB server, as in "256M".
	BufferPool string
	Database   *MariaDB // of most systems
	Systems    []*System
	Grown      []*System        // systems of the growth phase
	Missing    map[string]error // systems that are not available
	Started    []*Process
	// databases are the bench's own connections.
	databases []*sql.DB
	// stores close the stores in this process.
	stores []func() error
}

// Close ends all processes and removes the data.
func (s *Testbed) Close() error {
	for _, db := range s.databases {
		db.Close()
	}
	var errs []error
	for _, closeStore := range s.stores {
		errs = append(errs, closeStore())
	}
	var group sync.WaitGroup
	for _, p := range s.Started {
		group.Go(p.Stop)
	}
	group.Wait()
	return errors.Join(append(errs, os.RemoveAll(s.Dir))...)
}

// StopGrown ends the processes of the growth phase, so that they do not disturb later phases.
func (s *Testbed) StopGrown() {
	var group sync.WaitGroup
	for _, system := range s.Grown {
		group.Go(system.Processes[0].Stop)
	}
	group.Wait()
}

func (s *Testbed) start(name string, cmd *exec.Cmd) (*Process, error) {
	p, err := start(s.Dir, name, cmd)
	if err == nil {
		s.Started = append(s.Started, p)
	}
	return p, err
}

// Open starts every system. A system that is not available is left out, with the reason.
func (s *Testbed) Open(ctx context.Context) error {
	s.Missing = map[string]error{}
	var dbErr error
	s.Database, dbErr = s.startMariaDB(ctx, "mariadbd")
	for _, c := range []struct {
		name  string
		start func(context.Context) (*System, error)
		needs error
	}{
		{"ceiling", s.StartCeiling, nil},
		{"runnel-mariadb", s.StartRunnelOn(report.OnMariaDB), dbErr},
		{"runnel-embedded", s.StartRunnelOn(report.Embedded), nil},
		{"plain-mariadb", s.startPlain, dbErr},
		{"redis-webdis", s.startRedis, nil},
		{"etcd", s.startEtcd, nil},
		{"bare-mariadb", s.startBare, dbErr},
		{"fsync", s.StartDisk, nil},
	} {
		err := c.needs
		var system *System
		if err == nil {
			system, err = c.start(ctx)
		}
		if err != nil {
			s.Missing[c.name] = err
			continue
		}
		system.Name = c.name
		s.Systems = append(s.Systems, system)
	}
	if s.Find("ceiling") == nil {
		return s.Missing["ceiling"]
	}
	return ctx.Err()
}

// Find returns the main system of a name, or nil.
func (s *Testbed) Find(name string) *System { return FindSystem(s.Systems, name) }

// FindSystem returns the system of a name, or nil.
func FindSystem(systems []*System, name string) *System {
	for _, system := range systems {
		if system.Name == name {
			return system
		}
	}
	return nil
}

// Resident returns the memory of every process, by name.
func (s *Testbed) Resident() map[string]int64 {
	all := map[string]int64{}
	for _, p := range s.Started {
		all[p.name] = p.resident()
	}
	return all
}

// StartCeiling starts the handler that answers from a map.
func (s *Testbed) StartCeiling(ctx context.Context) (*System, error) {
	return s.startSelf(ctx, "ceiling", entrance{}, "ceiling")
}

func (s *Testbed) startPlain(ctx context.Context) (*System, error) {
	if _, err := s.OpenDatabase(ctx, s.Database, plainDatabase); err != nil {
		return nil, err
	}
	system, err := s.startSelf(ctx, "plain", entrance{}, "plain", s.Database.dsn+plainDatabase)
	if err == nil {
		system.Processes = append(system.Processes, s.Database.process)
	}
	return system, err
}

// plainDatabase is the database of plain.
const plainDatabase = "bench_plain"

// startSelf starts this program as a handler behind an entrance.
func (s *Testbed) startSelf(ctx context.Context, name string, e entrance, args ...string) (*System, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self := s.Self
	if self == "" {
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	p, err := s.start(name, exec.Command(self, append([]string{"serve", address, e.certFile, e.keyFile}, args...)...))
	if err != nil {
		return nil, err
	}
	system := &System{Address: address, Processes: []*Process{p}, Templates: HTTPTemplates(), CAFile: e.certFile}
	return system, p.await(ctx, answers(client, e.url(address)+"/readyz"))
}

// Partitions returns the URLs of n partitions of a system: databases on the server, or files.
func (s *Testbed) Partitions(name, kind string, n int) (urls []string) {
	for i := range n {
		if kind == report.OnMariaDB {
			urls = append(urls, s.Database.URL(fmt.Sprintf("%s_%d", strings.ReplaceAll(name, "-", "_"), i)))
		} else {
			urls = append(urls, fmt.Sprintf("sqlite:%s", filepath.Join(s.Dir, name, fmt.Sprintf("partition-%d.db", i))))
		}
	}
	return urls
}

// Configure writes a configuration of the partitions, named in order, and returns the path. The sections follow.
func (s *Testbed) Configure(name string, urls []string, sections ...string) (file string, err error) {
	var b strings.Builder
	for i, url := range urls {
		fmt.Fprintf(&b, "[[partition]]\nname = \"partition-%d\"\nurl = %q\n", i, url)
	}
	b.WriteString(strings.Join(sections, ""))
	file = filepath.Join(s.Dir, name+".toml")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// StartRunnel starts "runnel serve" on partitions.
func (s *Testbed) StartRunnel(ctx context.Context, name string, urls []string, flags ...string) (*System, error) {
	return s.startRunnel(ctx, name, entrance{}, urls, flags...)
}

// startRunnel starts "runnel serve" on partitions behind an entrance.
func (s *Testbed) startRunnel(ctx context.Context, name string, e entrance, urls []string, flags ...string) (*System, error) {
	sections, err := e.sections()
	if err != nil {
		return nil, err
	}
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	file, err := s.Configure(name, urls, sections)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := s.start(name, exec.Command(s.Runnel, append([]string{"serve", "--listen", address, "--config", file}, flags...)...))
	if err != nil {
		return nil, err
	}
	url := e.url(address)
	system := &System{Name: name, Address: address, Processes: []*Process{p}, Templates: RunnelTemplates(), URLs: urls,
		CAFile: e.certFile, Header: e.header(), AwaitIdle: func(ctx context.Context) error { return level(ctx, client, url) }}
	if strings.HasPrefix(urls[0], "mysql:") && s.Database != nil {
		system.Processes = append(system.Processes, s.Database.process)
	}
	return system, errors.Join(p.await(ctx, answers(client, url+"/readyz?write")), p.await(ctx, answers(client, url+"/readyz")))
}

// StartRunnelOn returns a function that starts a Runnel of three partitions of a kind.
func (s *Testbed) StartRunnelOn(kind string) func(context.Context) (*System, error) {
	return func(ctx context.Context) (*System, error) {
		name := "runnel-" + kind
		return s.StartRunnel(ctx, name, s.Partitions(name, kind, 3))
	}
}
