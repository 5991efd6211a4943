package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// fakeServer is just enough of the contract over a map: keys decoded once and never cleaned, ETags, conditions, lists
// in pages and streams, and opaque cursors.
type fakeServer struct {
	url string

	// before may answer a request itself, by returning true. It may be nil.
	before func(w http.ResponseWriter, r *http.Request, key string) bool
	status string
	// trailer is the session in the trailer of streams; "" for none.
	trailer string

	mu sync.Mutex // guards the fields below
	// breakAfter, if positive, breaks the next stream off after so many lines.
	breakAfter int
	cutBatches int // so many of the next batches break off in the middle of their answer
	entries    map[string]*fakeEntry
	revision   int64
	puts       []string // keys, in the order they arrived
	requests   []*http.Request
}

type fakeEntry struct {
	value       []byte
	contentType string
	revision    int64
	ttl         string
	metadata    map[string]string
}

func (e *fakeEntry) etag() string { return fmt.Sprintf("%q", strconv.FormatInt(e.revision, 36)) }

// fakeTime is when everything in a fakeServer was written.
var fakeTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newFake(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{entries: map[string]*fakeEntry{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

// set stores a value without a request.
func (f *fakeServer) set(key, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	f.entries[key] = &fakeEntry{value: []byte(value), contentType: "text/plain; charset=utf-8", revision: f.revision}
}

// values returns all that is stored.
func (f *fakeServer) values() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]string{}
	for k, e := range f.entries {
		all[k] = string(e.value)
	}
	return all
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Request-Id", "req-1")
	w.Header().Set("Content-Type", cmp.Or(r.Header.Get("Accept"), "application/x-ndjson"))
	escaped, isKey := strings.CutPrefix(r.URL.EscapedPath(), "/v1/keys/")
	key, err := url.PathUnescape(escaped)
	if err != nil {
		refuse(w, 400, "invalid-key", err.Error())
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, r)
	f.mu.Unlock()
	if r.URL.Path != "/v1/batch" && f.before != nil && f.before(w, r, key) {
		return // of a batch each operation is asked about
	}
	if f.trailer != "" && (r.URL.Path == "/v1/batch" || r.Header.Get("Accept") == "application/x-ndjson") {
		w.Header().Set("Trailer", "Runnel-Session")
		defer w.Header().Set("Runnel-Session", f.trailer)
	}
	switch {
	case r.URL.Path == "/v1/batch":
		f.batch(w, r)
	case isKey && r.Method == http.MethodGet:
		f.get(w, r, key)
	case isKey && r.Method == http.MethodPut:
		f.put(w, r, key)
	case isKey && r.Method == http.MethodPost:
		f.touch(w, r, key)
	case isKey && r.Method == http.MethodDelete:
		f.delete(w, r, key)
	case r.URL.Path == "/v1/keys" && r.Method == http.MethodDelete:
		f.deleteSome(w, r)
	case r.URL.Path == "/v1/keys":
		f.list(w, r)
	case r.URL.Path == "/v1/sync" && r.Method == http.MethodPost, r.URL.Path == "/v1/txn" && r.Method == http.MethodPost:
		io.WriteString(w, f.status)
	case r.URL.Path == "/v1/status":
		io.WriteString(w, f.status)
	default:
		refuse(w, 404, "not-found", "no such route")
	}
}

func refuse(w http.ResponseWriter, status int, slug, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"type": "/problems/" + slug, "title": slug, "status": status, "detail": detail})
}

// batch answers each line as the single request would be.
func (f *fakeServer) batch(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, 400, "incomplete-body", "the body was cut short")
		return
	}
	f.mu.Lock()
	cut := f.cutBatches > 0
	if cut {
		f.cutBatches--
	}
	f.mu.Unlock()
	lines := json.NewDecoder(bytes.NewReader(body))
	for i := 0; ; i++ {
		if cut && i == 1 {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		var o struct {
			Op          string            `json:"op"`
			Key         string            `json:"key"`
			Value       string            `json:"value"`
			ValueBase64 []byte            `json:"value_base64"`
			ContentType string            `json:"content_type"`
			TTL         string            `json:"ttl"`
			ExpiresAt   string            `json:"expires_at"`
			Metadata    map[string]string `json:"metadata"`
		}
		if err := lines.Decode(&o); err != nil {
			return
		}
		value := append(o.ValueBase64, o.Value...)
		path := wire.Path(wire.KeysPath, o.Key)
		if o.TTL != "" || o.ExpiresAt != "" {
			path += "?" + url.Values{"ttl": {o.TTL}, "expires_at": {o.ExpiresAt}}.Encode()
		}
		one := httptest.NewRequest(http.MethodPut, path, bytes.NewReader(value))
		one.Header.Set("Content-Type", o.ContentType)
		for name, text := range o.Metadata {
			one.Header.Set(wire.MetaHeader+name, text)
		}
		answer := httptest.NewRecorder()
		f.ServeHTTP(answer, one)
		result := map[string]any{"index": i, "op": o.Op, "key": o.Key, "status": answer.Code}
		if answer.Code >= 400 {
			result["problem"] = json.RawMessage(answer.Body.Bytes())
		}
		if err := json.NewEncoder(w).Encode(result); err != nil {
			return
		}
	}
}

func (f *fakeServer) get(w http.ResponseWriter, r *http.Request, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[key]
	if e == nil {
		refuse(w, 404, "not-found", "there is no such key")
		return
	}
	h := w.Header()
	h.Set("ETag", e.etag())
	h.Set("Runnel-Revision", strconv.FormatInt(e.revision, 10))
	h.Set("Last-Modified", fakeTime.Format(http.TimeFormat))
	for name, text := range e.metadata {
		h.Set(wire.MetaHeader+name, text)
	}
	h.Set("Content-Type", e.contentType)
	if at := f.expiry(e); at != nil {
		h.Set("Runnel-Expires-At", at.Format(time.RFC3339Nano))
	}
	if r.URL.Query().Get("entry") == "true" || r.Header.Get("Accept") == "application/json" && e.contentType != "application/json" {
		h.Set("Content-Type", "application/json")
		h.Set("ETag", strconv.Quote(strings.Trim(e.etag(), `"`)+"-json")) // another representation, another ETag
		w.Write(f.line(key, true))
		return
	}
	w.Write(e.value)
}

// consistencies returns the consistency parameters of all lists so far.
func (f *fakeServer) consistencies() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, r := range f.requests {
		if r.URL.Path == "/v1/keys" {
			all = append(all, r.URL.Query().Get("consistency"))
		}
	}
	return all
}

func (f *fakeServer) put(w http.ResponseWriter, r *http.Request, key string) {
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.ContentLength {
		refuse(w, 400, "bad-request", "the body was cut short")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts = append(f.puts, key)
	old := f.entries[key]
	if !f.conditionsHold(r, old) {
		refuse(w, 412, "precondition-failed", "the key has another ETag")
		return
	}
	f.revision++
	e := &fakeEntry{value: body, contentType: r.Header.Get("Content-Type"), revision: f.revision, ttl: r.URL.Query().Get("ttl")}
	if at, err := time.Parse(time.RFC3339, r.URL.Query().Get("expires_at")); err == nil {
		e.ttl = at.Sub(fakeTime).String()
	}
	for name, values := range r.Header {
		if meta, ok := strings.CutPrefix(name, wire.MetaHeader); ok {
			if e.metadata == nil {
				e.metadata = map[string]string{}
			}
			e.metadata[strings.ToLower(meta)] = values[0]
		}
	}
	f.entries[key] = e
	w.Header().Set("ETag", e.etag())
	w.Header().Set("Runnel-Revision", strconv.FormatInt(e.revision, 10))
	if r.URL.Query().Get("copies") == "all" { // a partition is unreachable
		w.Header().Set("Runnel-Copies", "2")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if old == nil {
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *fakeServer) touch(w http.ResponseWriter, r *http.Request, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[key]
	if e == nil {
		refuse(w, 404, "not-found", "there is no such key")
		return
	}
	f.revision++
	e.revision, e.ttl = f.revision, r.URL.Query().Get("ttl")
	w.Header().Set("ETag", e.etag())
	w.Header().Set("Runnel-Revision", strconv.FormatInt(e.revision, 10))
	w.WriteHeader(http.StatusNoContent)
}

func (f *fakeServer) conditionsHold(r *http.Request, old *fakeEntry) bool {
	if m := r.Header.Get("If-Match"); m != "" && (old == nil || m != "*" && m != old.etag()) {
		return false
	}
	m := r.Header.Get("If-None-Match")
	return m == "" || old == nil || m != "*" && m != old.etag()
}

func (f *fakeServer) delete(w http.ResponseWriter, r *http.Request, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.entries[key]
	switch {
	case old == nil:
		refuse(w, 404, "not-found", "there is no such key")
	case !f.conditionsHold(r, old):
		refuse(w, 412, "precondition-failed", "the key has another ETag")
	default:
		delete(f.entries, key)
		w.Header().Set("Runnel-Revision", strconv.FormatInt(f.revision, 10))
		w.WriteHeader(http.StatusNoContent)
	}
}

// deleteSome answers DELETE /v1/keys. The cursor carries no position: deleted keys need not be skipped.
func (f *fakeServer) deleteSome(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if (q.Get("prefix") == "") != (q.Get("all") == "true") {
		refuse(w, 400, "invalid-parameter", "which keys?")
		return
	}
	limit, _ := strconv.Atoi(q.Get("limit"))
	f.mu.Lock()
	defer f.mu.Unlock()
	var step struct {
		Deleted int64  `json:"deleted"`
		Next    string `json:"next"`
	}
	for _, k := range slices.Sorted(maps.Keys(f.entries)) {
		if !strings.HasPrefix(k, q.Get("prefix")) {
			continue
		}
		if step.Deleted == int64(limit) {
			step.Next = "more"
			break
		}
		delete(f.entries, k)
		step.Deleted++
	}
	json.NewEncoder(w).Encode(&step)
}

func (f *fakeServer) expiry(e *fakeEntry) *time.Time {
	ttl, err := time.ParseDuration(e.ttl)
	if err != nil {
		return nil
	}
	at := fakeTime.Add(ttl)
	return &at
}

// fakeLine is an entry as the API writes it.
type fakeLine struct {
	Key         string            `json:"key"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 []byte            `json:"value_base64,omitempty"`
	ContentType string            `json:"content_type"`
	Size        int               `json:"size"`
	ETag        string            `json:"etag"`
	Revision    int64             `json:"revision"`
	ModifiedAt  time.Time         `json:"modified_at"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// line returns an entry as JSON. The caller holds mu.
func (f *fakeServer) line(key string, withValue bool) []byte {
	e := f.entries[key]
	out := fakeLine{Key: key, ContentType: e.contentType, Size: len(e.value), ETag: e.etag(), Revision: e.revision, ModifiedAt: fakeTime, ExpiresAt: f.expiry(e)}
	switch text := string(e.value); {
	case withValue && utf8.ValidString(text):
		out.Value, out.Metadata = &text, e.metadata
	case withValue:
		out.ValueBase64, out.Metadata = e.value, e.metadata
	}
	text, err := json.Marshal(&out)
	if err != nil {
		panic(err)
	}
	return text
}

// list answers GET /v1/keys. A cursor encodes the prefix and the last key of the page.
func (f *fakeServer) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	prefix, delimiter, last := q.Get("prefix"), q.Get("delimiter"), ""
	if after := q.Get("after"); after != "" {
		text, err := base64.URLEncoding.DecodeString(after)
		of, key, ok := strings.Cut(string(text), "\x00")
		if err != nil || !ok || of != prefix {
			refuse(w, 400, "bad-cursor", "a cursor of another list")
			return
		}
		last = key
	}
	f.mu.Lock()
	keys := slices.Sorted(maps.Keys(f.entries))
	f.mu.Unlock()
	keys = slices.DeleteFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) || k <= last })
	if r.Header.Get("Accept") == "application/x-ndjson" {
		f.stream(w, keys, q.Get("values") == "true")
		return
	}
	f.page(w, keys, prefix, delimiter, last, q)
}

func (f *fakeServer) stream(w http.ResponseWriter, keys []string, values bool) {
	for i, k := range keys {
		f.mu.Lock()
		text := f.line(k, values)
		broken := f.breakAfter > 0 && i == f.breakAfter
		if broken {
			f.breakAfter = 0
		}
		f.mu.Unlock()
		if broken {
			w.Write(text[:len(text)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Write(append(text, '\n'))
	}
}

func (f *fakeServer) page(w http.ResponseWriter, keys []string, prefix, delimiter, last string, q url.Values) {
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 1000 {
		refuse(w, 400, "bad-limit", "limit")
		return
	}
	var page struct {
		Keys     []json.RawMessage `json:"keys"`
		Prefixes []string          `json:"prefixes"`
		Next     string            `json:"next"`
	}
	for _, k := range keys {
		if delimiter != "" {
			if i := strings.Index(k[len(prefix):], delimiter); i >= 0 {
				common := k[:len(prefix)+i+len(delimiter)]
				if strings.HasPrefix(last, common) {
					continue
				}
				if len(page.Keys)+len(page.Prefixes) == limit {
					break
				}
				page.Prefixes, last = append(page.Prefixes, common), k
				continue
			}
		}
		if len(page.Keys)+len(page.Prefixes) == limit {
			page.Next = base64.URLEncoding.EncodeToString([]byte(prefix + "\x00" + last))
			break
		}
		f.mu.Lock()
		page.Keys, last = append(page.Keys, f.line(k, q.Get("values") == "true")), k
		f.mu.Unlock()
	}
	json.NewEncoder(w).Encode(&page)
}

// outcome is the result of a command line.
type outcome struct {
	stdout, stderr string
	code           int
}

// testStreams are streams of which all, or none, are a terminal.
func testStreams(in io.Reader, out, errs io.Writer, terminal bool) console.Streams {
	return console.Streams{In: in, Out: out, Err: errs, Now: func() time.Time { return fakeTime }, IsTerminal: func(any) bool { return terminal }}
}

// cli is the environment of a run of the program.
type cli struct {
	ctx      context.Context
	stdin    string
	env      map[string]string
	terminal bool
	noBars   bool // standard error is no terminal
}

// run runs a command line against f, which may be nil.
func (c cli) run(t *testing.T, f *fakeServer, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{}
	if f != nil {
		env["RUNNEL_SERVER"] = f.url
	}
	maps.Copy(env, c.env)
	p := &program{
		Streams: testStreams(strings.NewReader(c.stdin), &stdout, &stderr, c.terminal),
		getenv:  func(name string) string { return env[name] },
	}
	if c.noBars {
		p.IsTerminal = func(stream any) bool { return c.terminal && stream != p.Err }
	}
	ctx := c.ctx
	if ctx == nil {
		ctx = t.Context()
	}
	code := p.execute(ctx, args)
	return outcome{stdout.String(), stderr.String(), code}
}

// ok runs a command line that must succeed and returns the standard output.
func (f *fakeServer) ok(t *testing.T, args ...string) string {
	t.Helper()
	o := cli{}.run(t, f, args...)
	if o.code != console.ExitOK {
		t.Fatalf("runnel %q: exit %d, stderr:\n%s", args, o.code, o.stderr)
	}
	return o.stdout
}
