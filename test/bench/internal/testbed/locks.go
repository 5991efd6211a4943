package testbed

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"

	"github.com/runnelkv/runnel/test/bench/internal/report"
)

// HeldLocks is the number of locks that protect nothing.
const HeldLocks = 10_000

// LockTemplate is the request that acquires the lock of a key's name for a day.
var LockTemplate = RequestTemplate{Method: "PUT", Path: "/v1/locks/{key}", Body: `{"owner":"bench","ttl":"24h"}`,
	Header: []string{"Content-Type: application/json"}, Expect: []int{http.StatusCreated}}

// StartLocks starts the Runnels of the locks phase. puts are written to, beside no locks, many locks and a lock that protects a
// key. Of lockers locks are acquired and released; the etcd of the main phase is one of them, unless it is missing.
func (s *Testbed) StartLocks(ctx context.Context) (puts, lockers []*System, err error) {
	for _, kind := range []string{report.OnMariaDB, report.Embedded} {
		if kind == report.OnMariaDB && s.Database == nil {
			continue
		}
		three, alone := report.Lockers(kind)
		for _, held := range []string{report.NoLocks, report.ManyLocks, report.OneGuard} {
			system, err := s.startLocking(ctx, report.LockPut(kind, held), kind, 3)
			if err != nil {
				return nil, nil, err
			}
			puts = append(puts, system)
			if held == report.NoLocks {
				lockers = append(lockers, system.locker(three))
			}
		}
		system, err := s.startLocking(ctx, alone, kind, 1)
		if err != nil {
			return nil, nil, err
		}
		lockers = append(lockers, system.locker(alone))
	}
	if etcd := s.Find("etcd"); etcd != nil {
		lockers = append(lockers, etcd.etcdLocker())
	}
	return puts, lockers, nil
}

// startLocking starts a Runnel on which locks may protect keys.
func (s *Testbed) startLocking(ctx context.Context, name, kind string, partitions int) (*System, error) {
	system, err := s.StartRunnel(ctx, name, s.Partitions(name, kind, partitions))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out, err := exec.CommandContext(ctx, s.Runnel, "migrate", "--finish", "--config", filepath.Join(s.Dir, name+".toml")).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, out)
	}
	system.Templates["lock"] = LockTemplate
	return system, nil
}

// Guard acquires a lock of a Runnel that protects a key, which no measurement writes.
func (s *System) Guard(ctx context.Context) error {
	_, err := exchange(ctx, http.DefaultClient, "PUT", "http://"+s.Address+"/v1/locks/guarded", nil,
		map[string]any{"owner": "bench", "ttl": "24h", "protects": true}, http.StatusCreated, nil)
	return err
}

// FirstLock returns the name of the first lock that a Runnel holds, or "".
func (s *System) FirstLock(ctx context.Context) (string, error) {
	var page struct{ Locks []struct{ Name string } }
	_, err := exchange(ctx, http.DefaultClient, "GET", "http://"+s.Address+"/v1/locks?limit=1", nil, nil, http.StatusOK, &page)
	if err != nil || len(page.Locks) == 0 {
		return "", err
	}
	return page.Locks[0].Name, nil
}

// lockClient returns a client of as many connections as the measurements need.
func lockClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = report.LockMany.Clients, report.LockMany.Clients
	return &http.Client{Transport: transport}
}

// locker returns a system that acquires and releases locks of a Runnel, each of a new name, in two requests.
func (s *System) locker(name string) *System {
	client, path := lockClient(), "http://"+s.Address+"/v1/locks/bench/"
	lock := func(ctx context.Context, _ int, stamp uint64) error {
		url := fmt.Sprintf("%s%016x", path, stamp)
		header, err := exchange(ctx, client, "PUT", url, nil, map[string]any{"owner": "bench", "ttl": "30s"}, http.StatusCreated, nil)
		if err == nil {
			_, err = exchange(ctx, client, "DELETE", url, http.Header{"If-Match": header["Etag"]}, nil, http.StatusNoContent, nil)
		}
		return err
	}
	return &System{Name: name, Processes: s.Processes, Direct: map[string]DirectOperation{"lock": lock}}
}

// etcdLocker returns a system that acquires and releases locks of etcd, each of a new name, in three requests to its JSON gateway: a
// lease; a transaction that creates the key with the lease unless the key exists; and the revocation, which deletes the key.
func (s *System) etcdLocker() *System {
	client, base := lockClient(), "http://"+s.Address
	lock := func(ctx context.Context, _ int, stamp uint64) error {
		var lease struct{ ID string }
		if _, err := exchange(ctx, client, "POST", base+"/v3/lease/grant", nil, map[string]any{"TTL": 30}, http.StatusOK, &lease); err != nil {
			return err
		}
		key := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "bench/%016x", stamp))
		owner := base64.StdEncoding.EncodeToString([]byte("bench"))
		var done struct{ Succeeded bool }
		_, err := exchange(ctx, client, "POST", base+"/v3/kv/txn", nil, map[string]any{
			"compare": []any{map[string]any{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}},
			"success": []any{map[string]any{"request_put": map[string]any{"key": key, "value": owner, "lease": lease.ID}}},
		}, http.StatusOK, &done)
		if err == nil && !done.Succeeded {
			err = fmt.Errorf("etcd has not granted the lock %016x", stamp)
		}
		if err == nil {
			_, err = exchange(ctx, client, "POST", base+"/v3/lease/revoke", nil, map[string]any{"ID": lease.ID}, http.StatusOK, nil)
		}
		return err
	}
	return &System{Name: report.EtcdLocks, Processes: s.Processes, Direct: map[string]DirectOperation{"lock": lock}}
}

// exchange sends a request with a body in JSON, unless the body is nil, and decodes the answer into answer, unless answer is nil.
func exchange(ctx context.Context, client *http.Client, method, url string, header http.Header, body any, want int, answer any) (http.Header, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if header != nil {
		r.Header = header
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return resp.Header, err
}
