package backups

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// site is a configuration of three partitions with two masters, whose databases can be emptied.
type site struct {
	file  string
	empty func(index int)
}

const twoMasters = "[store]\nmasters = [\"partition-0\", \"partition-1\"]\n"

func onFiles(t *testing.T) site { return onFilesWith(t, twoMasters) }

func onFilesWith(t *testing.T, preamble string) site {
	urls := runnel.ThreeFiles(t)
	return site{runnel.WriteConfig(t, preamble, urls...), func(i int) { removeFile(t, urls[i]) }}
}

func removeFile(t *testing.T, url string) {
	t.Helper()
	path := strings.TrimPrefix(url, "sqlite:")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && (suffix == "" || !os.IsNotExist(err)) {
			t.Fatal(err)
		}
	}
}

func onServer(t *testing.T, server *servers.Server) site {
	var urls []string
	for range 3 {
		urls = append(urls, server.Database(t))
	}
	return site{runnel.WriteConfig(t, twoMasters, urls...), func(i int) {
		name := urls[i][strings.LastIndex(urls[i], "/")+1:]
		if _, err := servers.Open(t, urls[i]).ExecContext(t.Context(), "DROP DATABASE `"+name+"`"); err != nil {
			t.Fatal(err)
		}
	}}
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runnel.Run(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEachPartitionInTurnIsRestoredUnderLoad replaces each partition by an older backup, one after another, while clients
// write or try to. Everything that another partition holds at that time is held by all afterwards.
func TestEachPartitionInTurnIsRestoredUnderLoad(t *testing.T) {
	for kind, create := range map[string]func(*testing.T) site{
		"SQLite":  onFiles,
		"MariaDB": func(t *testing.T) site { return onServer(t, servers.MariaDB(t)) },
		"MySQL":   func(t *testing.T) site { return onServer(t, servers.MySQL(t)) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			restoreInTurn(t, create(t), true)
		})
	}
}

// TestOldBackupIsRestoredAfterDeletionsWereCollected: the backups are older than sync.tombstone_grace.
func TestOldBackupIsRestoredAfterDeletionsWereCollected(t *testing.T) {
	t.Parallel()
	restoreInTurn(t, onFilesWith(t, twoMasters+"[sync]\ntombstone_grace = \"0s\"\n"), false)
}

// restoreInTurn restores full backups, and incremental backups unless deletions are collected at once.
func restoreInTurn(t *testing.T, s site, incremental bool) {
	node := runnel.Serve(t, "--config", s.file)
	l := &load{url: node.URL}
	stop := l.run(t)
	l.awaitMore(t, 300)
	backups := t.TempDir()
	var chains [3][]string
	for i := range 3 {
		full, next := filepath.Join(backups, fmt.Sprintf("full-%d", i)), filepath.Join(backups, fmt.Sprintf("next-%d", i))
		from := []string{"backup", "--config", s.file, "--partition", fmt.Sprintf("partition-%d", i)}
		runnel.Eventually(t, time.Minute, "a backup of a partition that is not amid a catch-up", func() error {
			_, err := runnel.Run(t, append(from, full)...)
			return err
		})
		chains[i] = append(chains[i], full)
		l.awaitMore(t, 50)
		if !incremental {
			continue
		}
		runnel.Eventually(t, time.Minute, "an incremental backup", func() error {
			_, err := runnel.Run(t, append(from, "--since", full, next)...)
			return err
		})
		chains[i] = append(chains[i], next)
		mustRun(t, append([]string{"backup", "verify"}, chains[i]...)...)
	}
	for i := range 3 {
		l.awaitMore(t, 300)
		if err := node.Stop(t); err != nil {
			t.Fatal(err)
		}
		before := map[int]holding{}
		for other := range 3 {
			if other != i {
				before[other] = read(t, s.file, other)
			}
		}
		s.empty(i)
		mustRun(t, append([]string{"restore", "--config", s.file, "--partition", fmt.Sprintf("partition-%d", i)}, chains[i]...)...)
		if i < 2 {
			mustRun(t, "restore", "--config", s.file)
		}
		node = runnel.Serve(t, "--config", s.file)
		l.moveTo(node.URL)
		l.awaitMore(t, 50)
		runnel.Eventually(t, time.Minute, "all that was held before", func() error {
			for target := range 3 {
				now := read(t, s.file, target)
				for other, was := range before {
					if faults := lost(was, now); len(faults) > 0 {
						return fmt.Errorf("after the restore of %d, %d lacks %d entries that %d held: %s", i, target, len(faults), other, faults[0])
					}
				}
			}
			return nil
		})
	}
	stop()
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	runnel.SyncOnce(t, s.file)
	first := read(t, s.file, 0)
	for other := 1; other < 3; other++ {
		runnel.NoFaults(t, fmt.Sprintf("partition-%d", other), faultsOf(first, read(t, s.file, other)))
	}
}

// TestReplicaIsRestoredBesideARunningServer and joins the server by SIGHUP, without being filled from the start.
func TestReplicaIsRestoredBesideARunningServer(t *testing.T) {
	t.Parallel()
	urls := runnel.ThreeFiles(t)
	all, fewer := runnel.WriteConfig(t, "", urls...), runnel.WriteConfig(t, "", urls[:2]...)
	node := runnel.Serve(t, "--config", fewer)
	l := &load{url: node.URL}
	stop := l.run(t)
	l.awaitMore(t, 200)
	backup := filepath.Join(t.TempDir(), "backup")
	mustRun(t, "backup", "--config", fewer, "--partition", "partition-0", backup)
	l.awaitMore(t, 100)
	mustRun(t, "restore", "--config", all, "--partition", "partition-2", backup)
	restored := read(t, all, 2)
	text, err := os.ReadFile(all)
	if err == nil {
		err = os.WriteFile(fewer, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	node.Signal(syscall.SIGHUP)
	runnel.Eventually(t, time.Minute, "a later position", func() error {
		if now := read(t, all, 2).at["partition-0"]; now.Revision <= restored.at["partition-0"].Revision || !now.Whole() {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	stop()
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"filling", "refilling"} {
		if strings.Contains(node.Log.String(), "partition=partition-2 origin=partition-0 state="+state) {
			t.Error("it was filled from the start")
		}
	}
	runnel.SyncOnce(t, all)
	runnel.NoFaults(t, "partition-2", faultsOf(read(t, all, 0), read(t, all, 2)))
}

// TestRestoreOfEverythingIsRecognisedByClients: the answers to tokens of lost writes, and of kept ones.
func TestRestoreOfEverythingIsRecognisedByClients(t *testing.T) {
	t.Parallel()
	urls := runnel.ThreeFiles(t)
	file := runnel.WriteConfig(t, "", urls...)
	node := runnel.Serve(t, "--config", file)
	var answer string
	request := func(method, path, body string, header http.Header, want int) (h http.Header) {
		t.Helper()
		var status int
		status, answer, h = exchange(t.Context(), method, node.URL+path, body, header)
		if status != want {
			t.Errorf("%s %s: %d and not %d: %s", method, path, status, want, answer)
		}
		return h
	}
	tokenAfter := func(token string) string {
		t.Helper()
		var page struct{ Next string }
		request("GET", "/v1/changes?wait=100ms&since="+token, "", http.Header{"Accept": {"application/json"}}, 200)
		if err := json.Unmarshal([]byte(answer), &page); err != nil || page.Next == "" {
			t.Fatalf("no token in %s", answer)
		}
		return page.Next
	}
	kept := request("PUT", "/v1/keys/kept", "1", nil, 201)
	keptToken := tokenAfter("now")
	backup := filepath.Join(t.TempDir(), "backup")
	mustRun(t, "backup", "--config", file, "--partition", "partition-0", backup)
	lost := request("PUT", "/v1/keys/kept", "2", nil, 204)
	lostToken := keptToken
	runnel.Eventually(t, time.Minute, "the change in the feed", func() error {
		if lostToken = tokenAfter(lostToken); !strings.Contains(answer, strings.Trim(lost.Get("Etag"), `"`)) {
			return errors.New(answer)
		}
		return nil
	})
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	for _, url := range urls {
		removeFile(t, url)
	}
	out := mustRun(t, "restore", "--config", file, "--new-cluster", backup)
	if !strings.Contains(out, "epoch ") || !strings.Contains(out, " begins") {
		t.Errorf("printed %q", out)
	}
	node = runnel.Serve(t, "--config", file)
	request("GET", "/v1/keys/kept", "", http.Header{"Runnel-Session": {lost.Get("Runnel-Session")}}, 410)
	request("GET", "/v1/keys/kept", "", http.Header{"Runnel-Session": {kept.Get("Runnel-Session")}}, 200)
	request("GET", "/v1/changes?wait=10ms&since="+lostToken, "", nil, 410)
	request("GET", "/v1/changes?wait=10ms&since="+keptToken, "", nil, 200)
	request("PUT", "/v1/keys/kept", "x", http.Header{"If-Match": {lost.Get("Etag")}}, 412)
	request("PUT", "/v1/keys/kept", "3", http.Header{"If-Match": {kept.Get("Etag")}}, 204)
}
