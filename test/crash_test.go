package test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/servers"
)

// crashConfig has passes take over from killed ones quickly, and copy in small
// steps, so that many of them are cut.
const crashConfig = `[store]
masters = ["partition-0", "partition-1"]
timeout = "5s"
[sync]
lease = "1s"
backoff_max = "1s"
batch_entries = 20
`

// TestKilledServeLosesNothing kills serve, and in a third of the rounds a sync
// daemon beside it, again and again at random moments amid writes and passes.
func TestKilledServeLosesNothing(t *testing.T) {
	for name, urls := range map[string]func(testing.TB) []string{
		"SQLite":  threeFiles,
		"MariaDB": threeOnMariaDB,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &crashes{file: writeConfig(t, crashConfig, urls(t)...), rng: newRandom(t), history: newHistory()}
			for range rounds(10, 100) {
				if !t.Run("kill", c.round) {
					return
				}
			}
			c.finish(t)
		})
	}
}

// rounds is how often to repeat something: more when there is time.
func rounds(short, long int) int {
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		return long
	}
	return short
}

// newRandom prints its seed, and takes one from RUNNEL_TEST_SEED.
func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("RUNNEL_TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("RUNNEL_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func threeFiles(t testing.TB) []string {
	dir := t.TempDir()
	return []string{"sqlite:" + filepath.Join(dir, "0.db"), "sqlite:" + filepath.Join(dir, "1.db"), "sqlite:" + filepath.Join(dir, "2.db")}
}

func threeOnMariaDB(t testing.TB) []string {
	server := servers.MariaDB(t)
	return []string{server.Database(t), server.Database(t), server.Database(t)}
}

// crashes is a loop of them.
type crashes struct {
	file    string
	rng     *rand.Rand
	history *history

	kills    int
	advanced int // rounds in which some replica got further
	copied   partition.Revision
}

// round starts what the round before has killed, judges what it left behind,
// has writers at work, and kills.
func (c *crashes) round(t *testing.T) {
	args := []string{"--config", c.file}
	apart := c.rng.IntN(3) == 0
	if apart {
		args = append(args, "--no-sync")
	}
	node := serveUnready(t, args...)
	victims := []*process{node}
	if apart { // at once: with two masters only sync makes a new cluster ready
		victims = append(victims, start(t, "sync", "--config", c.file))
	}
	node.await(t, "/readyz?write")
	c.judge(t)

	stop := c.history.write(t, c.rng.Uint64(), node.url)
	c.history.awaitMore(t, 1+c.rng.IntN(100))
	time.Sleep(time.Duration(c.rng.Int64N(int64(1500 * time.Millisecond)))) // the random moment
	c.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, p := range victims {
		select {
		case <-p.exited:
			t.Fatalf("runnel ended by itself: %v\n%s", p.err, p.log.tail())
		default:
		}
		p.kill()
		c.kills++
	}
	stop()
}

// judge checks what a crash left behind, while nobody writes. A process that
// starts has repaired nothing and copies already.
func (c *crashes) judge(t testing.TB) {
	t.Helper()
	all := readContents(t, c.file)
	mustHold(t, "positions and rows", misplaced(all))
	mustHold(t, "acknowledged writes", c.history.lost(all))
	copied := partition.Revision(0)
	for origin, copies := range all.copies {
		for name, h := range copies {
			if name != string(origin) && h.position.Revision > 0 {
				copied += h.position.Revision - partition.Floor(1)
			}
		}
	}
	if copied > c.copied {
		c.advanced++
	}
	c.copied = copied
}

// finish has everything become level, in both ways there are.
func (c *crashes) finish(t *testing.T) {
	c.judge(t)
	eventually(t, time.Minute, "runnel sync --once", func() error { // the lease of the dead one has to expire
		_, err := runnel(t, "sync", "--once", "--config", c.file)
		return err
	})
	all := readContents(t, c.file)
	mustHold(t, "after sync --once", unequal(all))
	mustHold(t, "acknowledged writes", c.history.lost(all))

	node := serve(t, "--config", c.file)
	stop := c.history.write(t, c.rng.Uint64(), node.url)
	c.history.awaitMore(t, 200)
	stop()
	all = awaitEqual(t, c.file)
	if err := node.stop(t); err != nil {
		t.Errorf("serve stopped with %v", err)
	}
	mustHold(t, "positions and rows", misplaced(all))
	mustHold(t, "acknowledged writes", c.history.lost(all))
	if c.advanced < rounds(10, 100)/5 {
		t.Errorf("replicas got further in only %d rounds: passes were hardly ever under way", c.advanced)
	}
	live, tombstones := all.count()
	t.Logf("%d kills; replicas advanced in %d rounds; %s; at the end %d entries and %d tombstones everywhere",
		c.kills, c.advanced, c.history, live, tombstones)
}

// TestKilledDatabaseLosesNothing kills the MariaDB server of a master and a
// replica amid writes. serve stays up and goes on by itself.
func TestKilledDatabaseLosesNothing(t *testing.T) {
	t.Parallel()
	server := servers.NewMariaDB(t)
	random, h := newRandom(t), newHistory()
	file := writeConfig(t, crashConfig, server.Database(t), "sqlite:"+filepath.Join(t.TempDir(), "1.db"), server.Database(t))
	node := serve(t, "--config", file)
	stop := h.write(t, random.Uint64(), node.url)
	kills := rounds(3, 20)
	for range kills {
		h.awaitMore(t, 50)
		time.Sleep(time.Duration(random.Int64N(int64(time.Second)))) // the random moment
		server.Kill()
		server.Start()
		node.await(t, "/readyz?write")
	}
	h.awaitMore(t, 50)
	stop()
	all := awaitEqual(t, file)
	mustHold(t, "positions and rows", misplaced(all))
	mustHold(t, "acknowledged writes", h.lost(all))
	live, tombstones := all.count()
	t.Logf("%d kills of the server; %s; at the end %d entries and %d tombstones everywhere", kills, h, live, tombstones)
}

// TestChecksFindPlantedFaults damages what a server has left behind and
// altered records, and demands that the checks of these tests see each.
func TestChecksFindPlantedFaults(t *testing.T) {
	t.Parallel()
	dir, h := t.TempDir(), newHistory()
	urls := []string{"sqlite:" + dir + "/0.db", "sqlite:" + dir + "/1.db", "sqlite:" + dir + "/2.db"}
	file := writeConfig(t, "", urls...)
	node := serve(t, "--config", file, "--no-sync")
	writeSome := func() {
		stop := h.write(t, 1, node.url)
		h.awaitMore(t, 300)
		stop()
	}
	writeSome()
	mustRunOnce(t, file)
	level := readContents(t, file)
	mustHold(t, "equal", unequal(level))
	writeSome()
	if err := node.stop(t); err != nil {
		t.Fatal(err)
	}
	lagging := readContents(t, file)
	mustHold(t, "positions and rows", misplaced(lagging))
	mustHold(t, "acknowledged writes", h.lost(lagging))
	if len(unequal(lagging)) == 0 {
		t.Error("replicas that lag count as equal")
	}

	synced := copyFiles(t, dir)
	mustRunOnce(t, writeConfig(t, "", synced...))
	before := readContents(t, writeConfig(t, "", synced...))
	mustHold(t, "before the damage", slices.Concat(unequal(before), misplaced(before), h.lost(before)))

	const (
		newest  = " WHERE revision = (SELECT max(revision) FROM entries WHERE deleted = 0)"
		counter = "UPDATE positions SET revision = "
	)
	for name, damage := range map[string]struct {
		partition int
		statement string
		misplaced bool
		unequal   bool
		lost      bool
	}{
		"acknowledged write gone":       {0, "DELETE FROM entries" + newest, true, true, true},
		"acknowledged write altered":    {0, "UPDATE entries SET content_type = 'text/css'" + newest, true, true, true},
		"acknowledged delete undone":    {0, "DELETE FROM entries WHERE deleted = 1", true, true, true},
		"older write back":              {0, "UPDATE entries SET revision = 1099511627777" + newest, true, true, true},
		"counter back":                  {0, counter + "revision - 1", true, true, false},
		"row of a replica gone":         {1, "DELETE FROM entries" + newest, true, true, false},
		"old row in a replica":          {1, "UPDATE entries SET revision = 1099511627777" + newest, true, true, false},
		"unheard of row in a replica":   {1, "UPDATE entries SET `key` = x'6b2f78'" + newest, true, true, false},
		"row above the counter":         {1, "UPDATE entries SET revision = revision + 1000000" + newest, true, true, false},
		"position too high":             {1, counter + "revision + 1", true, true, false},
		"position too low":              {1, counter + "revision - 1", false, true, false},
		"value altered":                 {1, "UPDATE entries SET value = x'00'" + newest, true, true, false},
		"checksum altered":              {1, "UPDATE entries SET checksum = checksum + 1" + newest, true, true, false},
		"content type altered":          {1, "UPDATE entries SET content_type = 'text/css'" + newest, true, true, false},
		"metadata altered":              {1, "UPDATE entries SET metadata = '{}'" + newest, true, true, false},
		"expiry altered":                {1, "UPDATE entries SET expires_at = 1" + newest, true, true, false},
		"tombstone undone in a replica": {1, "UPDATE entries SET deleted = 0 WHERE revision = (SELECT max(revision) FROM entries WHERE deleted = 1)", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			copied := copyFiles(t, filepath.Dir(strings.TrimPrefix(synced[0], "sqlite:")))
			execSQLite(t, copied[damage.partition], damage.statement)
			all := readContents(t, writeConfig(t, "", copied...))
			seen(t, "positions and rows", misplaced(all), damage.misplaced)
			seen(t, "equality", unequal(all), damage.unequal)
			seen(t, "acknowledged writes", h.lost(all), damage.lost)
		})
	}
	t.Run("position raised over rows that were not copied", func(t *testing.T) {
		copied := copyFiles(t, dir)
		execSQLite(t, copied[2], fmt.Sprintf("%s %d", counter, lagging.copies["partition-0"]["partition-0"].position.Revision))
		seen(t, "positions and rows", misplaced(readContents(t, writeConfig(t, "", copied...))), true)
	})
	t.Run("history", func(t *testing.T) { plantInHistory(t, h, lagging) })
}

// plantInHistory adds outcomes that cannot be to what clients were told.
func plantInHistory(t *testing.T, h *history, all contents) {
	last := slices.MaxFunc(h.attempts, func(a, b attempt) int { return cmp.Compare(a.revision, b.revision) })
	other := h.attempts[slices.IndexFunc(h.attempts, func(a attempt) bool { return a.key != last.key && a.revision != 0 })]
	twice, late, stale, created := other, last, last, last
	twice.revision = last.revision
	late.revision, late.began, late.ended = last.revision+1, 0, 0
	stale.revision, stale.match = last.revision+1, last.revision-1
	created.revision, created.create, created.match = last.revision+1, true, 0
	h.attempts[slices.Index(h.attempts, last)].delete = false
	for fault, planted := range map[string]attempt{
		"were both acknowledged":                    twice,
		"before an earlier revision was asked for":  late,
		fmt.Sprintf("had If-Match %d", stale.match): stale,
		"had If-None-Match *":                       created,
		"stands at revision":                        late,
	} {
		altered := &history{attempts: append(slices.Clone(h.attempts), planted)}
		if found := strings.Join(altered.lost(all), "\n"); !strings.Contains(found, fault) {
			t.Errorf("nothing says %q of a planted %+v:\n%s", fault, planted, found)
		}
	}
}

func seen(t testing.TB, what string, faults []string, want bool) {
	t.Helper()
	if (len(faults) > 0) != want {
		t.Errorf("the check of %s found %d faults, want some: %v\n%s", what, len(faults), want, strings.Join(faults, "\n"))
	}
}

func mustRunOnce(t testing.TB, file string) {
	t.Helper()
	if out, err := runnel(t, "sync", "--once", "--config", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// copyFiles copies the SQLite files of a directory, and returns their URLs.
func copyFiles(t testing.TB, dir string) (urls []string) {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		urls = append(urls, fmt.Sprintf("sqlite:%s/%d.db", to, i))
	}
	return urls
}

// execSQLite runs one statement that has to change something.
func execSQLite(t testing.TB, url, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	done, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if n, err := done.RowsAffected(); n == 0 {
		t.Fatalf("%s changed nothing: %v", statement, err)
	}
}

// history is what clients have tried, and what they were told.
type history struct {
	began time.Time

	mu       sync.Mutex // guards the fields below
	attempts []attempt  // acknowledged, or with an unknown outcome
	refused  int
	faults   []string // answers that nobody should get
	slowest  time.Duration
	id       int64
}

// attempt is one write that took effect, or may have.
type attempt struct {
	key      string
	delete   bool
	kind     string // the content type
	checksum uint64
	size     int64

	match  int64 // the revision in If-Match, 0: none
	create bool  // If-None-Match: *

	began, ended time.Duration
	revision     int64 // of an acknowledged one; 0: the outcome is unknown
}

const (
	writers    = 8
	crashKeys  = 48
	knownReads = "?consistency=master"
)

func newHistory() *history { return &history{began: time.Now()} }

// write starts writers against the servers, and returns what ends them and
// waits for them.
func (h *history) write(t testing.TB, seed uint64, urls ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: writers}
	for i := range writers {
		w := &writer{history: h, rng: rand.New(rand.NewPCG(seed, uint64(i))), url: urls[i%len(urls)],
			client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
		group.Go(func() { w.run(ctx) })
	}
	stop = sync.OnceFunc(func() { cancel(); group.Wait(); transport.CloseIdleConnections() })
	t.Cleanup(stop)
	return stop
}

// awaitMore waits until so many more writes were acknowledged.
func (h *history) awaitMore(t testing.TB, n int) {
	t.Helper()
	n += h.acknowledged()
	eventually(t, time.Minute, fmt.Sprintf("%d acknowledged writes", n), func() error {
		if done := h.acknowledged(); done < n {
			return fmt.Errorf("only %d", done)
		}
		return nil
	})
}

func (h *history) acknowledged() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.attempts {
		if h.attempts[i].revision != 0 {
			n++
		}
	}
	return n
}

func (h *history) String() string {
	n := h.acknowledged()
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d writes acknowledged, %d of unknown outcome, %d refused, the slowest answered after %v",
		n, len(h.attempts)-n, h.refused, h.slowest.Round(time.Millisecond))
}

func (h *history) nextID() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.id++
	return h.id
}

// writer is one client that makes random writes to keys it shares with others.
type writer struct {
	history *history
	rng     *rand.Rand
	url     string
	client  *http.Client
}

func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.try(w.choose()) != unable {
			continue
		}
		select { // the server is down or refuses: do not run hot
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// choose makes up the next write.
func (w *writer) choose() (attempt, *http.Request) {
	a := attempt{key: fmt.Sprintf("crash/%d", w.rng.IntN(crashKeys))}
	path, query := "/v1/keys/", ""
	dice := w.rng.IntN(100)
	a.delete = dice%6 == 0
	switch {
	case dice < 30:
		a.match = w.current(a.key)
	case dice < 45 && !a.delete:
		a.create = true
	case dice < 50 && !a.delete:
		path = "/canonicalbucket/"
	case dice < 60 && !a.delete:
		query = "?ttl=10h"
	}
	var body []byte
	if !a.delete {
		body = w.value()
		a.kind = fmt.Sprintf("text/x-%d", w.rng.IntN(3))
		a.checksum, a.size = partition.Checksum(body), int64(len(body))
	}
	r, err := http.NewRequest(http.MethodPut, w.url+path+a.key+query, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	if a.delete {
		r.Method, r.Body, r.ContentLength = http.MethodDelete, nil, 0
	} else {
		r.Header.Set("Content-Type", a.kind)
		r.Header.Set("Runnel-Meta-Dice", strconv.Itoa(dice))
	}
	r.Header.Set("Accept", "application/json") // the classic paths explain in HTML otherwise
	if a.match != 0 {
		r.Header.Set("If-Match", fmt.Sprintf(`"%d"`, a.match))
	}
	if a.create {
		r.Header.Set("If-None-Match", "*")
	}
	return a, r
}

// value is unlike every other: mostly small, at times large.
func (w *writer) value() []byte {
	size := w.rng.IntN(2 << 10)
	if w.rng.IntN(20) == 0 {
		size = w.rng.IntN(100 << 10)
	}
	value := make([]byte, size, size+20)
	for i := range value {
		value[i] = byte(w.rng.Uint32())
	}
	return fmt.Appendf(value, "#%d", w.history.nextID())
}

// current asks for the revision of a key on its master; 0: there is none.
func (w *writer) current(key string) int64 {
	resp, err := w.client.Head(w.url + "/v1/keys/" + key + knownReads)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	revision, _ := strconv.ParseInt(resp.Header.Get("Runnel-Revision"), 10, 64)
	return revision
}

// outcome is what became of a write.
type outcome int

const (
	acknowledged outcome = iota
	refused              // by its condition
	unable               // the server cannot now, or nobody knows
)

// try sends a write and notes what became of it.
func (w *writer) try(a attempt, r *http.Request) outcome {
	o, _ := w.send(a, r)
	return o
}

// send is try, and returns the attempt with its revision and times.
func (w *writer) send(a attempt, r *http.Request) (outcome, attempt) {
	a.began = time.Since(w.history.began)
	resp, err := w.client.Do(r)
	a.ended = time.Since(w.history.began)
	if err != nil {
		var dial *net.OpError
		w.history.note(a, !errors.As(err, &dial) || dial.Op != "dial", "")
		return unable, a
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fault := fmt.Sprintf("%s %s: %s: %s", r.Method, a.key, resp.Status, body)
	switch problem := problemOf(body); {
	case resp.StatusCode < 300:
		if a.revision, err = strconv.ParseInt(resp.Header.Get("Runnel-Revision"), 10, 64); err == nil {
			fault = ""
		}
		w.history.note(a, true, fault)
		return acknowledged, a
	case problem == "precondition-failed" || problem == "not-found":
		w.history.note(a, false, "")
		return refused, a
	case problem == "master-unavailable" && resp.Header.Get("Retry-After") != "":
		w.history.note(a, false, "")
	case problem == "outcome-unknown":
		w.history.note(a, true, "")
	default:
		w.history.note(a, true, fault)
	}
	return unable, a
}

// problemOf is the last part of a problem's type, "" if it is none.
func problemOf(body []byte) string {
	var p struct{ Type string }
	if json.Unmarshal(body, &p) != nil {
		return ""
	}
	return strings.TrimPrefix(p.Type, "/problems/")
}

// note records an attempt that took effect or may have, counts another.
func (h *history) note(a attempt, mayStand bool, fault string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slowest = max(h.slowest, a.ended-a.began)
	if mayStand {
		h.attempts = append(h.attempts, a)
	} else {
		h.refused++
	}
	if fault != "" {
		h.faults = append(h.faults, fault)
	}
}

// lost says where what stands contradicts what clients were told: the
// effect of every acknowledged write stands, or that of a later one.
func (h *history) lost(all contents) (faults []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	faults = slices.Clone(h.faults)
	byKey := make(map[string][]attempt)
	type place struct {
		origin   partition.Origin
		revision int64
	}
	taken := make(map[place]string)
	for _, a := range h.attempts {
		byKey[a.key] = append(byKey[a.key], a)
		if a.revision == 0 {
			continue
		}
		at := place{all.master(partition.Key("k/" + a.key)), a.revision}
		if other, twice := taken[at]; twice {
			faults = append(faults, fmt.Sprintf("%s and %s were both acknowledged as revision %d", a.key, other, a.revision))
		}
		taken[at] = a.key
	}
	for key, attempts := range byKey {
		e, own := all.entry(key)
		faults = append(faults, contradicted(key, attempts, e, own)...)
		faults = append(faults, disordered(key, attempts)...)
	}
	slices.Sort(faults)
	return faults
}

// contradicted checks the entry of a key, nil if there is none, against the writes
// that clients made. own is the origin's counter.
func contradicted(key string, attempts []attempt, e *partition.Entry, own partition.Position) []string {
	last := slices.MaxFunc(attempts, func(a, b attempt) int { return cmp.Compare(a.revision, b.revision) })
	maybe := func(matches func(attempt) bool) bool {
		return slices.ContainsFunc(attempts, func(a attempt) bool { return a.revision == 0 && matches(a) })
	}
	fault := func(format string, args ...any) []string {
		return []string{key + ": " + fmt.Sprintf(format, args...)}
	}
	switch {
	case e == nil && last.revision == 0:
		return nil
	case e == nil:
		deleted := last.delete || maybe(func(a attempt) bool { return a.delete })
		if deleted && last.revision <= int64(own.Collected) {
			return nil // and the tombstone collected
		}
		return fault("is gone, revision %d was acknowledged", last.revision)
	case int64(e.Revision) < last.revision:
		return fault("stands at revision %d, %d was acknowledged", e.Revision, last.revision)
	case int64(e.Revision) == last.revision && !last.wrote(e):
		return fault("what stands as revision %d is not what was acknowledged as it", e.Revision)
	case int64(e.Revision) > last.revision && !maybe(func(a attempt) bool { return a.wrote(e) }):
		return fault("nobody wrote what stands as revision %d", e.Revision)
	}
	return nil
}

// wrote reports whether the attempt's effect is the entry.
func (a attempt) wrote(e *partition.Entry) bool {
	if a.delete || e.Deleted {
		return a.delete == e.Deleted
	}
	return a.kind == e.ContentType && a.checksum == e.Checksum && a.size == e.Size && e.Intact()
}

// disordered checks the acknowledged writes of one key among themselves:
// revisions follow time, and no condition held that another write had broken.
func disordered(key string, attempts []attempt) (faults []string) {
	maybeDeleted := slices.ContainsFunc(attempts, func(a attempt) bool { return a.revision == 0 && a.delete })
	sorted := slices.DeleteFunc(slices.Clone(attempts), func(a attempt) bool { return a.revision == 0 })
	slices.SortFunc(sorted, func(a, b attempt) int { return cmp.Compare(a.revision, b.revision) })
	var before attempt // of the highest revision so far
	began := time.Duration(0)
	for _, a := range sorted {
		if a.ended < began {
			faults = append(faults, fmt.Sprintf("%s: revision %d was acknowledged before an earlier revision was asked for", key, a.revision))
		}
		if a.match != 0 && before.revision > a.match {
			faults = append(faults, fmt.Sprintf("%s: revision %d had If-Match %d, but %d had been written", key, a.revision, a.match, before.revision))
		}
		if a.create && before.revision != 0 && !before.delete && !maybeDeleted {
			faults = append(faults, fmt.Sprintf("%s: revision %d had If-None-Match *, but %d had been written", key, a.revision, before.revision))
		}
		before, began = a, max(began, a.began)
	}
	return faults
}
