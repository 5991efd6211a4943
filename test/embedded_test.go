package test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// serveIn runs "runnel serve" without a word of configuration in a directory,
// which becomes the test's own.
func serveIn(t *testing.T, dir string) *runnel.Process {
	t.Helper()
	if _, err := runnel.Binary(); err != nil { // built from here
		t.Fatal(err)
	}
	t.Chdir(dir)
	return runnel.Serve(t)
}

// levelFor waits until a server shows so many partitions, all ready, readable
// and at the same revision.
func levelFor(t testing.TB, p *runnel.Process, partitions int) nodeState {
	t.Helper()
	var s nodeState
	runnel.Eventually(t, time.Minute, fmt.Sprintf("%d partitions are level", partitions), func() error {
		s = statusOf(t, p)
		if len(s.Partitions) != partitions {
			return fmt.Errorf("%d partitions", len(s.Partitions))
		}
		for _, one := range s.Partitions {
			if one.State != "ready" || !one.Readable || len(one.Origins) == 0 || one.Origins[0].LagRevisions != 0 ||
				one.Origins[0].Revision != s.Partitions[0].Origins[0].Revision {
				return fmt.Errorf("%+v", one)
			}
		}
		return nil
	})
	return s
}

// TestServeNeedsNothing: in an empty directory, without a configuration, three
// partitions are served within seconds, become level, and are there again after
// a restart.
func TestServeNeedsNothing(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	node := serveIn(t, dir)
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("ready only after %v", took)
	}
	for _, want := range []string{"runnel serves " + node.URL, "curl -X PUT", node.URL + "/v1/keys/greeting", "Ctrl-C"} {
		if !strings.Contains(node.Log.String(), want) {
			t.Errorf("the greeting lacks %q:\n%s", want, node.Log.String())
		}
	}
	r := expect(t, exchange(t, "PUT", node.URL+"/v1/keys/kept", "over a restart", "Content-Type: text/plain", "Runnel-Meta-Author: me"), 201)
	etag := r.header.Get("ETag")
	s := levelFor(t, node, 3)
	if s.Partitions[0].Role != "master" || s.Partitions[1].Role != "replica" || s.Partitions[0].Kind != "sqlite" {
		t.Errorf("status: %+v", s)
	}
	for i := range 3 {
		name := fmt.Sprintf("partition-%d", i)
		if value, _ := liveValue(t, openPartition(t, name, "sqlite:"+filepath.Join(dir, "data", name+".db")), "kept"); value != "over a restart" {
			t.Errorf("%s holds %q", name, value)
		}
	}
	if err := node.Stop(t); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}

	again := runnel.Serve(t)
	r = expect(t, exchange(t, "GET", again.URL+"/v1/keys/kept", ""), 200)
	if r.body != "over a restart" || r.header.Get("ETag") != etag || r.header.Get("Runnel-Meta-Author") != "me" {
		t.Errorf("after a restart: %q %v", r.body, r.header)
	}
	levelFor(t, again, 3)
}

// TestStopAnswersWhatWasAccepted: after SIGTERM the server answers every accepted request, also a request with an
// unfinished body, and every acknowledged write is on disk.
func TestStopAnswersWhatWasAccepted(t *testing.T) {
	data := t.TempDir()
	node := runnel.Serve(t, "--data", data)

	slow := &classicNode{Process: node}
	late := slow.connect(t) // a request whose body is unfinished at the time of the signal
	defer late.Close()
	io.WriteString(late, "PUT /v1/keys/late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf ")

	var mu sync.Mutex
	answered := map[string]bool{}
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("w%d/%d", w, i)
				status, err := put(node.URL+"/v1/keys/"+key, key)
				if err != nil {
					return // the listener is closed
				}
				mu.Lock()
				answered[key] = status == 201
				mu.Unlock()
			}
		})
	}
	runnel.Eventually(t, time.Minute, "500 writes are answered", func() error {
		mu.Lock()
		defer mu.Unlock()
		return wantAtLeast(len(answered), 500)
	})
	node.Signal(syscall.SIGTERM)
	runnel.Eventually(t, time.Minute, "the server has begun to stop", func() error {
		if !strings.Contains(node.Log.String(), "stopping") {
			return errors.New("it says nothing")
		}
		return nil
	})
	io.WriteString(late, "done")
	if r := readReply(t, bufio.NewReader(late), "PUT"); r.status != 201 {
		t.Errorf("the request that was under way: %d %s", r.status, r.body)
	}
	writers.Wait()
	<-node.Exited
	if node.Err != nil {
		t.Errorf("the exit: %v", node.Err)
	}

	master := openPartition(t, "partition-0", "sqlite:"+filepath.Join(data, "partition-0.db"))
	for key, created := range answered {
		if value, _ := liveValue(t, master, key); !created || value != key {
			t.Errorf("%s was answered (201: %t) and holds %q", key, created, value)
		}
	}
	if value, _ := liveValue(t, master, "late"); value != "half done" {
		t.Errorf("late holds %q", value)
	}
	t.Logf("%d writes were answered", len(answered))
}

func wantAtLeast(got, want int) error {
	if got < want {
		return fmt.Errorf("%d of %d", got, want)
	}
	return nil
}

// TestStopEndsStreams: an open stream of operations ends with a problem at SIGTERM and does not delay the exit,
// whose status is 0. SIGHUP to a server without a configuration file has no effect.
func TestStopEndsStreams(t *testing.T) {
	node := runnel.Serve(t, "--data", t.TempDir())
	node.Signal(syscall.SIGHUP)
	out, in := io.Pipe()
	defer in.Close()
	go io.WriteString(in, `{"op":"put","key":"k","value":"v"}`+"\n")
	answer, err := http.Post(node.URL+"/v1/batch", "application/x-ndjson", out)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, `"status":201`) {
		t.Fatalf("%q, %v", line, err)
	}
	began := time.Now()
	node.Signal(syscall.SIGTERM)
	if rest, err := io.ReadAll(lines); err == nil || !strings.Contains(string(rest), "/problems/shutting-down") {
		t.Errorf("%q, %v", rest, err)
	}
	in.Close()
	<-node.Exited
	if took := time.Since(began); node.Err != nil || took > 20*time.Second {
		t.Errorf("it ended with %v after %v", node.Err, took)
	}
	if !strings.Contains(node.Log.String(), "no configuration file") {
		t.Errorf("the log says nothing of SIGHUP: %s", node.Log.Tail())
	}
}

// TestHangUpAddsAPartition: SIGHUP reads the configuration again. A new
// partition joins without a restart and is filled; a faulty file changes nothing
// and says every fault.
func TestHangUpAddsAPartition(t *testing.T) {
	dir := t.TempDir()
	file := runnel.WriteConfig(t, "", "sqlite:"+filepath.Join(dir, "0.db"), "sqlite:"+filepath.Join(dir, "1.db"))
	node := runnel.Serve(t, "--config", file)
	expect(t, exchange(t, "PUT", node.URL+"/v1/keys/early", "before it joined"), 201)
	before := levelFor(t, node, 2)

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	hangUp := func(content, says string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		node.Signal(syscall.SIGHUP)
		runnel.Eventually(t, time.Minute, "the log says "+says, func() error {
			if !strings.Contains(node.Log.String(), says) {
				return errors.New(node.Log.Tail())
			}
			return nil
		})
	}
	section := func(name, url string) string {
		return fmt.Sprintf("[[partition]]\nname = %q\nurl = %q\n", name, url)
	}
	url := servers.MariaDB(t).Database(t)
	hangUp(string(text)+section("partition-0", url)+"colour = \"red\"\n", "nothing changes")
	for _, fault := range []string{"colour", "partition-0"} {
		if !strings.Contains(node.Log.String(), fault) {
			t.Errorf("the log does not name %q:\n%s", fault, node.Log.Tail())
		}
	}
	if strings.Contains(node.Log.String(), "runnel@") || strings.Contains(node.Log.String(), ":runnel") {
		t.Errorf("the log shows a password:\n%s", node.Log.Tail())
	}
	if s := statusOf(t, node); len(s.Partitions) != len(before.Partitions) {
		t.Errorf("a faulty file changed the partitions: %+v", s)
	}
	hangUp("not TOML = = =", "nothing changes")
	expect(t, exchange(t, "GET", node.URL+"/v1/keys/early?consistency=master", ""), 200)

	hangUp(string(text)+section("partition-new", url), "partitions_added=1")
	s := levelFor(t, node, 3)
	if added := s.Partitions[2]; added.Name != "partition-new" || added.Kind != "mariadb" {
		t.Errorf("added: %+v", added)
	}
	if value, _ := liveValue(t, openPartition(t, "partition-new", url), "early"); value != "before it joined" {
		t.Errorf("the new partition holds %q", value)
	}
	expect(t, exchange(t, "PUT", node.URL+"/canonicalbucket/late", "x"), 201)
	if value, _ := liveValue(t, openPartition(t, "partition-new", url), "late"); value != "x" {
		t.Errorf("the new partition holds %q of a later write", value)
	}
}

// TestTestModeKeepsAwayFromProduction: K10. With RUNNEL_ENV=test every MySQL database name gets the prefix test_,
// regardless of the configuration.
func TestTestModeKeepsAwayFromProduction(t *testing.T) {
	production := []string{servers.MariaDB(t).Database(t), servers.MySQL(t).Database(t)}
	file := runnel.WriteConfig(t, "", production...)
	t.Setenv("RUNNEL_ENV", "test")
	node := runnel.Serve(t, "--config", file)
	levelFor(t, node, 2)
	expect(t, exchange(t, "PUT", node.URL+"/canonicalbucket/only", "a test"), 201)
	for i, address := range production {
		tables := 0
		err := servers.Open(t, address).QueryRowContext(t.Context(),
			"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()").Scan(&tables)
		if err != nil || tables != 0 {
			t.Errorf("the production database has %d tables: %v", tables, err)
		}
		name := fmt.Sprintf("partition-%d", i)
		if value, _ := liveValue(t, openPartition(t, name, testDatabase(t, address)), "only"); value != "a test" {
			t.Errorf("the test database of %s holds %q", name, value)
		}
	}
}

// testDatabase is an address with test_ before the database's name.
func testDatabase(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/test_" + strings.TrimPrefix(u.Path, "/")
	return u.String()
}

// TestWrongDatabasesAreRefused: a database of a foreign cluster, a database of a different partition, and two
// partitions on one database are refused with clear messages. Nothing is written there.
func TestWrongDatabasesAreRefused(t *testing.T) {
	mine, theirs := mixedDatabases(t), mixedDatabases(t)
	for _, urls := range [][]string{mine, theirs} {
		node := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", urls...))
		levelFor(t, node, 3)
		expect(t, exchange(t, "PUT", node.URL+"/canonicalbucket/mine", urls[0]), 201)
		node.Stop(t)
	}

	for i, says := range map[int]string{1: "belongs to another cluster", 2: "belongs to another cluster"} {
		urls := []string{mine[0], mine[1], mine[2]}
		urls[i] = theirs[i]
		node := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", urls...))
		refusedAs(t, node, i, says)
		expect(t, exchange(t, "PUT", node.URL+"/canonicalbucket/mine", mine[0]), 201)
		node.Stop(t)
		if value, _ := liveValue(t, openPartition(t, fmt.Sprintf("partition-%d", i), theirs[i]), "mine"); value != theirs[0] {
			t.Errorf("the other cluster's %d holds %q", i, value)
		}
	}

	swapped := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", mine[0], mine[2], mine[1]))
	refusedAs(t, swapped, 1, `already partition "partition-2"`)
	refusedAs(t, swapped, 2, `already partition "partition-1"`)
	swapped.Stop(t)

	// Two names of the same database, which the configuration cannot detect.
	alias := strings.Replace(mine[1], "127.0.0.1", "localhost", 1)
	aliased := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", mine[0], mine[1], mine[2], alias))
	refusedAs(t, aliased, 3, `already partition "partition-1"; two partitions cannot share one`)
	aliased.Stop(t)

	same := runnel.WriteConfig(t, "", mine[0], mine[1], mine[1])
	for _, args := range [][]string{{"config", "check", same}, {"serve", "--config", same}, {"sync", "--once", "--config", same}} {
		_, err := runnel.Run(t, args...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(err.Error(), "is the database of another partition too") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// refusedAs waits until the status and the log report a refused partition with the reason.
func refusedAs(t testing.TB, p *runnel.Process, i int, says string) {
	t.Helper()
	runnel.Eventually(t, time.Minute, fmt.Sprintf("partition %d is refused: %s", i, says), func() error {
		one := statusOf(t, p).Partitions[i]
		if one.State != "refused" || one.Readable || one.Writable || !strings.Contains(one.Error, says) {
			return fmt.Errorf("%+v", one)
		}
		return nil
	})
	runnel.Eventually(t, 10*time.Second, "the log says so too", func() error { // a pipe brings the log
		if log := strings.ReplaceAll(p.Log.String(), `\"`, `"`); !strings.Contains(log, says) {
			return fmt.Errorf("%q is not in it:\n%s", says, p.Log.Tail())
		}
		return nil
	})
}

// TestMissingGrantIsNamed: the message about a missing privilege contains the GRANT to run. After the GRANT the
// partition joins by itself.
func TestMissingGrantIsNamed(t *testing.T) {
	for _, server := range []*servers.Server{servers.MariaDB(t), servers.MySQL(t)} {
		address := server.Database(t)
		limited := server.User(t, address, "SELECT", "INSERT")
		u, err := url.Parse(limited)
		if err != nil {
			t.Fatal(err)
		}
		file := runnel.WriteConfig(t, "", "sqlite:"+filepath.Join(t.TempDir(), "0.db"), limited)
		node := runnel.ServeUnready(t, "--config", file) // a new cluster needs all partitions first
		node.AwaitOK(t, "/healthz")
		grant := fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON `%s`.* TO '%s'@'%%'",
			strings.ReplaceAll(strings.TrimPrefix(u.Path, "/"), "_", `\_`), u.User.Username())
		refusedAs(t, node, 1, "lacks a privilege")
		said := statusOf(t, node).Partitions[1].Error
		if !strings.Contains(said, grant) {
			t.Errorf("the message is no GRANT to run as it is:\n%s\n%s", said, grant)
		}
		if password, _ := u.User.Password(); strings.Contains(node.Log.String()+said, password) {
			t.Error("the message shows the password")
		}
		// An operator copies the statement out of the message.
		from := strings.Index(said, "GRANT SELECT")
		to := strings.Index(said, "@'%'")
		if from < 0 || to < from {
			continue
		}
		if _, err := servers.Open(t, address).ExecContext(t.Context(), said[from:to+len("@'%'")]); err != nil {
			t.Errorf("the statement of the message: %v", err)
		}
		levelFor(t, node, 2)
		node.Stop(t)
	}
}

// put stores a value over a new connection, so that no connection is idle when the server stops. The error is a
// connection's.
func put(url, value string) (status int, err error) {
	r, err := http.NewRequest("PUT", url, strings.NewReader(value))
	if err != nil {
		return 0, err
	}
	r.Close = true
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// onlyWithTLS is a metric that servers of plain HTTP do not have; the tests of the certificate read the gauge.
const onlyWithTLS = "runnel_tls_certificate_expiry_seconds"

// TestMetricsAreDocumented: /metrics and the list in docs/operations.md name the same metrics of Runnel.
func TestMetricsAreDocumented(t *testing.T) {
	hook := "[[webhook]]\nurl = \"http://127.0.0.1:1/\"\nprefix = \"hooked/\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n"
	quota := "[[quota]]\nmax_keys = 1000\nmax_bytes = 1000000\n"
	dir := t.TempDir()
	node := runnel.Serve(t, "--config", runnel.WriteConfig(t, hook+quota, "sqlite:"+dir+"/0.db", "sqlite:"+dir+"/1.db", "sqlite:"+dir+"/2.db"))
	levelFor(t, node, 3)
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, "GET", node.URL+"/v1/changes?since=now&wait=10ms", "") // the gauge of readers exists from the first reader on
	given := exchange(t, "GET", node.URL+"/metrics", "").body
	metric := regexp.MustCompile(`(?m)^# TYPE (runnel_\w+)`)
	for _, m := range metric.FindAllStringSubmatch(given, -1) {
		if !strings.Contains(string(page), "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not list %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`(runnel_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		if m[1] != onlyWithTLS && !strings.Contains(given, "# TYPE "+m[1]+" ") {
			t.Errorf("docs/operations.md lists %s, which is not given", m[1])
		}
	}
}

// TestVacuumIntoIsABackup copies the file of a replica during writes, by the command in docs/backup.md, and
// checks the copy like a partition.
func TestVacuumIntoIsABackup(t *testing.T) {
	t.Parallel()
	dir, h := t.TempDir(), newHistory()
	urls := []string{"sqlite:" + dir + "/0.db", "sqlite:" + dir + "/1.db"}
	node := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", urls...))
	stop := h.startWriters(t, 2, node.URL)
	h.awaitMore(t, 200)
	backup := filepath.Join(t.TempDir(), "backup.db")
	db, err := sql.Open("sqlite", strings.TrimPrefix(urls[1], "sqlite:")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", backup); err != nil {
		t.Fatal(err)
	}
	h.awaitMore(t, 100)
	stop()
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	all := readContents(t, runnel.WriteConfig(t, "", urls[0], "sqlite:"+backup))
	if at := all.copies["partition-0"]["partition-1"].position.Revision; at < 1<<40+50 {
		t.Errorf("the copy holds up to %d alone", at)
	}
	runnel.NoFaults(t, "the copy", inconsistencies(all))
}
