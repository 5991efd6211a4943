package test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
)

// history holds the writes of clients and the answers.
type history struct {
	began  time.Time
	lazily bool // no write brings replicas level; set before writers start

	mu       sync.Mutex // guards the fields below
	attempts []attempt  // acknowledged, or with an unknown outcome
	refused  int
	faults   []string // answers that the API does not allow
	slowest  time.Duration
	id       int64
}

// attempt is a write that took effect or may have taken effect.
type attempt struct {
	key      string
	delete   bool
	kind     string // the content type
	checksum uint64
	size     int64

	match  int64 // the revision in If-Match, 0: none
	create bool  // If-None-Match: *

	began, ended time.Duration
	revision     int64 // of an acknowledged write; 0: the outcome is unknown
}

const (
	writers   = 8
	crashKeys = 48
)

func newHistory() *history { return &history{began: time.Now()} }

// startWriters starts writers at the servers. The returned function stops them and waits.
func (h *history) startWriters(t testing.TB, seed uint64, urls ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: writers}
	for i := range writers {
		w := &writer{history: h, rng: rand.New(rand.NewPCG(seed, uint64(i))), url: urls[i%len(urls)],
			client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
		group.Go(func() { w.runWrites(ctx) })
	}
	stop = sync.OnceFunc(func() { cancel(); group.Wait(); transport.CloseIdleConnections() })
	t.Cleanup(stop)
	return stop
}

// awaitMore waits until so many more writes were acknowledged.
func (h *history) awaitMore(t testing.TB, n int) {
	t.Helper()
	n += h.acknowledged()
	runnel.Eventually(t, time.Minute, fmt.Sprintf("%d acknowledged writes", n), func() error {
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

// writer is a client that makes random writes to keys that all writers share.
type writer struct {
	history *history
	rng     *rand.Rand
	url     string
	client  *http.Client
}

func (w *writer) runWrites(ctx context.Context) {
	for ctx.Err() == nil {
		if w.try(w.randomWrite()) != unable {
			continue
		}
		select { // the server is down or refuses: do not run hot
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// randomWrite returns the next write.
func (w *writer) randomWrite() (attempt, *http.Request) {
	a := attempt{key: fmt.Sprintf("crash/%d", w.rng.IntN(crashKeys))}
	path, query := "/v1/keys/", ""
	dice := w.rng.IntN(100)
	a.delete = dice%6 == 0
	switch {
	case dice < 30:
		a.match = w.current(a.key)
	case dice < 45 && !a.delete:
		a.create = true
	case dice < 50 && !a.delete && !w.history.lazily:
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

// value returns a unique value, large in one case of twenty.
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

// current returns the revision of a key on its master, or 0 without an entry.
func (w *writer) current(key string) int64 {
	resp, err := w.client.Head(w.url + "/v1/keys/" + key + runnel.MasterRead)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	revision, _ := strconv.ParseInt(resp.Header.Get("Runnel-Revision"), 10, 64)
	return revision
}

// outcome is the outcome of a write.
type outcome int

const (
	acknowledged outcome = iota
	refused              // the condition failed
	unable               // the server is not able to write, or the outcome is unknown
)

// try sends a write and records the outcome.
func (w *writer) try(a attempt, r *http.Request) outcome {
	o, _ := w.send(a, r)
	return o
}

// send is try and also returns the attempt with its revision and times.
func (w *writer) send(a attempt, r *http.Request) (outcome, attempt) {
	a.began = time.Since(w.history.began)
	resp, err := w.client.Do(r)
	a.ended = time.Since(w.history.began)
	if err != nil {
		var dial *net.OpError
		w.history.add(a, !errors.As(err, &dial) || dial.Op != "dial", "")
		return unable, a
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fault := fmt.Sprintf("%s %s: %s: %s", r.Method, a.key, resp.Status, body)
	switch problem := runnel.ProblemOf(body); {
	case resp.StatusCode < 300:
		if a.revision, err = strconv.ParseInt(resp.Header.Get("Runnel-Revision"), 10, 64); err == nil {
			fault = ""
		}
		w.history.add(a, true, fault)
		return acknowledged, a
	case problem == "precondition-failed" || problem == "not-found":
		w.history.add(a, false, "")
		return refused, a
	case problem == "master-unavailable" && resp.Header.Get("Retry-After") != "":
		w.history.add(a, false, "")
	case problem == "outcome-unknown":
		w.history.add(a, true, "")
	default:
		w.history.add(a, true, fault)
	}
	return unable, a
}

// add records an attempt that may have taken effect, and counts a refused attempt.
func (h *history) add(a attempt, mayStand bool, fault string) {
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

// violations returns the contradictions between the contents and the answers. The effect of every acknowledged
// write, or of a later write, must be present.
func (h *history) violations(all contents) (faults []string) {
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
		e, own := all.masterEntry(key)
		faults = append(faults, checkEntry(key, attempts, e, own)...)
		faults = append(faults, checkOrder(key, attempts)...)
	}
	slices.Sort(faults)
	return faults
}

// checkEntry checks the entry of a key, nil if absent, against the attempts. own is the origin's counter.
func checkEntry(key string, attempts []attempt, e *partition.Entry, own partition.Position) []string {
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
	return a.kind == e.ContentType && a.checksum == partition.Checksum(e.Value) && a.size == e.Size && e.Intact()
}

// checkOrder checks the acknowledged writes of a key: revisions follow real time, and a condition holds for the
// revision before.
func checkOrder(key string, attempts []attempt) (faults []string) {
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
