package test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// TestReadersOfChangesGoOnAcrossServers runs two processes over MariaDB, MySQL and SQLite with two masters.
// Readers follow streams and poll, alternately at both processes, while a process is killed. Every reader must end
// with the contents of the store.
func TestReadersOfChangesGoOnAcrossServers(t *testing.T) {
	t.Parallel()
	file := runnel.WriteConfig(t, "[store]\nmasters = [\"partition-0\", \"partition-1\"]\n",
		servers.MariaDB(t).Database(t), servers.MySQL(t).Database(t), "sqlite:"+filepath.Join(t.TempDir(), "2.db"))
	nodes := [2]atomic.Pointer[runnel.Process]{}
	nodes[0].Store(runnel.Serve(t, "--config", file))
	nodes[1].Store(runnel.Serve(t, "--config", file))
	at := func(i int) string { return nodes[i%2].Load().URL }

	ctx, stopReaders := context.WithCancel(t.Context())
	defer stopReaders()
	var readers, writers sync.WaitGroup
	mirrors := make([]*httpMirror, 4)
	for i := range mirrors {
		m := &httpMirror{values: map[string]string{}}
		mirrors[i] = m
		readers.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				if i%2 == 0 {
					m.stream(ctx, at(n))
				} else {
					m.poll(ctx, at(n))
				}
			}
		})
	}
	const writes = 1200
	var written atomic.Int64
	for i := range 4 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := written.Add(1); n <= writes; n = written.Add(1) {
				key := fmt.Sprintf("key-%d", r.IntN(150))
				method, body := http.MethodPut, fmt.Sprint(n)
				if r.IntN(4) == 0 {
					method, body = http.MethodDelete, ""
				}
				send(method, at(int(n))+"/v1/keys/"+key, body) // some are lost with their process
			}
		})
	}
	runnel.Eventually(t, time.Minute, "half is written", func() error {
		if n := written.Load(); n < writes/2 {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})
	nodes[0].Load().Kill()
	nodes[0].Store(runnel.Serve(t, "--config", file))
	writers.Wait()
	awaitEqual(t, file)
	held := heldValues(t, at(1))
	for i, m := range mirrors {
		runnel.Eventually(t, time.Minute, fmt.Sprintf("reader %d is level", i), func() error { return m.compare(held) })
		t.Logf("reader %d was given %d changes", i, m.given.Load())
	}
	stopReaders()
	readers.Wait()
	for i, m := range mirrors {
		if m.back != "" {
			t.Errorf("reader %d: %s", i, m.back)
		}
	}
}

func send(method, target, body string) {
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return
	}
	if answer, err := http.DefaultClient.Do(r); err == nil {
		answer.Body.Close()
	}
}

// heldValues lists everything from the masters.
func heldValues(t *testing.T, base string) map[string]string {
	t.Helper()
	answer, err := http.Get(base + "/v1/keys?limit=1000&values=true&consistency=master")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var page struct {
		Keys []feedLine
		Next string
	}
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil || page.Next != "" {
		t.Fatal(err, page.Next)
	}
	held := map[string]string{}
	for _, k := range page.Keys {
		held[k.Key] = k.Value
	}
	return held
}

// feedLine is a change in the HTTP API.
type feedLine struct {
	Key      string
	Value    string
	Revision int64
	Deleted  bool
	Next     string
	Status   int
}

// httpMirror is the state that a reader derives from changes over HTTP.
type httpMirror struct {
	token string
	given atomic.Int64

	mu        sync.Mutex // guards the fields below
	values    map[string]string
	revisions map[string]int64
	back      string
}

func (m *httpMirror) apply(l feedLine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.given.Add(1)
	if m.revisions == nil {
		m.revisions = map[string]int64{}
	}
	if l.Revision < m.revisions[l.Key] {
		m.back = fmt.Sprintf("%s: %d after %d", l.Key, l.Revision, m.revisions[l.Key])
	}
	m.revisions[l.Key] = l.Revision
	if delete(m.values, l.Key); !l.Deleted {
		m.values[l.Key] = l.Value
	}
}

func (m *httpMirror) compare(held map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range held {
		if m.values[k] != v {
			return fmt.Errorf("%s is %q, the reader has %q", k, v, m.values[k])
		}
	}
	if len(m.values) != len(held) {
		return fmt.Errorf("%d keys, the reader has %d", len(held), len(m.values))
	}
	return nil
}

// get requests the changes after the token, until the context ends.
func (m *httpMirror) get(ctx context.Context, base, accept, more string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/changes?values=true&since="+url.QueryEscape(m.token)+more, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(r)
	if err == nil && answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		err = fmt.Errorf("answered %s", answer.Status)
	}
	return answer, err
}

// stream follows NDJSON for 100 ms to 1 s, or until the stream breaks.
func (m *httpMirror) stream(ctx context.Context, base string) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(100+rand.IntN(900))*time.Millisecond)
	defer cancel()
	answer, err := m.get(ctx, base, "application/x-ndjson", "")
	if err != nil {
		return
	}
	defer answer.Body.Close()
	for d := json.NewDecoder(answer.Body); ; {
		var l feedLine
		if d.Decode(&l) != nil || l.Next == "" {
			return
		}
		if l.Key != "" {
			m.apply(l)
		}
		m.token = l.Next
	}
}

// poll reads a page, for which the server waits up to 200 ms.
func (m *httpMirror) poll(ctx context.Context, base string) {
	answer, err := m.get(ctx, base, "application/json", "&wait=200ms&limit=50")
	if err != nil {
		return
	}
	defer answer.Body.Close()
	var page struct {
		Changes []feedLine
		Next    string
	}
	if json.NewDecoder(answer.Body).Decode(&page) != nil {
		return
	}
	for _, l := range page.Changes {
		m.apply(l)
	}
	m.token = page.Next
}
