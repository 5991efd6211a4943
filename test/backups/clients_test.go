package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
	"github.com/runnelkv/runnel/test/runnel"
)

func TestMain(m *testing.M) { os.Exit(runnel.Main(m)) }

// load is a number of clients that write, and repeat writes while no server answers.
type load struct {
	mu    sync.Mutex
	url   string // of the server; changes with each start
	acked int
}

func (l *load) server() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.url
}

func (l *load) moveTo(url string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.url = url
}

// run writes random keys until the returned function is called.
func (l *load) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		group.Go(func() {
			for ctx.Err() == nil {
				method, body := http.MethodPut, fmt.Sprint(rng.Uint64())
				if rng.IntN(6) == 0 {
					method, body = http.MethodDelete, ""
				}
				path := fmt.Sprintf("/v1/keys/load/%d", rng.IntN(200))
				if status, _, _ := exchange(ctx, method, l.server()+path, body, nil); status/100 != 2 {
					select {
					case <-ctx.Done():
					case <-time.After(10 * time.Millisecond):
					}
					continue
				}
				l.mu.Lock()
				l.acked++
				l.mu.Unlock()
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(stop)
	return stop
}

// awaitMore waits for further acknowledged writes.
func (l *load) awaitMore(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.acked
	}
	want := count() + n
	runnel.Eventually(t, time.Minute, "acknowledged writes", func() error {
		if got := count(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
}

// exchange sends a request; status 0 is no answer.
func exchange(ctx context.Context, method, url, body string, header http.Header) (status int, answer string, h http.Header) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error(), nil
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header
}

// holding is everything that a partition holds.
type holding struct {
	rows map[partition.Key]partition.Entry
	at   map[partition.Origin]partition.Position
}

// openPartition opens a partition of a configuration directly. It is closed when t ends.
func openPartition(t *testing.T, file string, index int) partition.Partition {
	t.Helper()
	c, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	p, err := openSection(c.Partitions[index])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// read reads everything in a partition.
func read(t *testing.T, file string, index int) holding {
	t.Helper()
	p := openPartition(t, file, index)
	defer p.Close()
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := p.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	h := holding{make(map[partition.Key]partition.Entry), v.Positions().Origins}
	for origin := range h.at {
		snap, err := v.Snapshot(t.Context(), origin, 0)
		for err == nil {
			var entries []partition.Entry
			entries, err = snap.Next(t.Context(), 1000, 1<<20)
			for _, e := range entries {
				h.rows[e.Key] = e
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_ = snap.Close()
	}
	return h
}

func openSection(section config.Partition) (partition.Partition, error) {
	o, u := sqlengine.Options{Name: section.Name, Timeout: time.Minute}, section.URL
	if u.Scheme == config.SQLite {
		return sqlite.Open(u.Path, o)
	}
	return mysql.Open(mysql.Config{Addr: u.Addr(), User: u.User, Password: u.Password.Reveal(), Database: u.Database, Params: u.Params}, o)
}

// faultsOf returns the rows that differ between two holdings, by every column.
func faultsOf(a, b holding) (faults []string) {
	for k, x := range a.rows {
		if y, found := b.rows[k]; !found || fmt.Sprint(x) != fmt.Sprint(y) {
			faults = append(faults, fmt.Sprintf("%s is %+v and %+v", k, x, y))
		}
	}
	for k := range b.rows {
		if _, found := a.rows[k]; !found {
			faults = append(faults, fmt.Sprintf("only the second holds %s", k))
		}
	}
	return faults
}

// lost returns the entries of before that after holds neither as they were nor newer.
func lost(before, after holding) (faults []string) {
	for k, x := range before.rows {
		y, found := after.rows[k]
		if !found || y.Revision < x.Revision || y.Revision == x.Revision && fmt.Sprint(x) != fmt.Sprint(y) {
			faults = append(faults, fmt.Sprintf("%s was %+v and is %+v", k, x, y))
		}
	}
	return faults
}
