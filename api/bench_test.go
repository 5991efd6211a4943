package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/transport"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// quickStore answers at once from memory, so that benchmarks measure the API alone.
type quickStore struct {
	api.Store
	read    store.Read
	created bool
}

func newQuickStore() *quickStore {
	return &quickStore{read: store.Read{
		Partition: "partition-1", Staleness: 412 * time.Millisecond,
		Entry: store.Entry{Key: "k/users/7", Origin: "partition-0", Revision: 1 << 41, ContentType: "text/plain",
			ModifiedAt: 1.8e15, Size: 100, Value: bytes.Repeat([]byte("x"), 100)},
	}}
}

func (*quickStore) Tag() store.ClusterTag { return 0xfedcba98 }

func (*quickStore) CheckName(name string) error { return store.CheckName(name, store.MaxKeyBytes) }

func (*quickStore) MaxValueBytes() int64 { return apitest.MaxTestValue }

func (q *quickStore) Get(_ context.Context, k store.Key, _ store.ReadOptions) (store.Read, error) {
	if k != q.read.Entry.Key {
		return store.Read{Partition: q.read.Partition, Staleness: q.read.Staleness}, store.ErrNotFound
	}
	return q.read, nil
}

func (q *quickStore) Put(_ context.Context, e store.Entry) (store.PutResult, error) {
	e.Origin, e.Revision, e.ModifiedAt = "partition-0", 1<<41, 1.8e15
	return store.PutResult{Entry: e, Created: q.created}, nil
}

func newQuickServer(s *quickStore) *api.Server {
	return api.New(api.Options{Store: s, Logger: slog.New(slog.DiscardHandler)})
}

// newKeyedServer returns a server that needs a key with two prefixes, and the header of this key.
func newKeyedServer(t testing.TB, s *quickStore) (server *api.Server, authorization string) {
	t.Helper()
	k, token, err := access.New(access.Key{Name: "bench", Grants: access.Spec{Prefixes: []access.Prefix{
		{Prefix: "orders/", Access: access.Read}, {Prefix: "users/", Access: access.Write},
	}}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewRegistry(nil, access.Static{Keys: []access.Key{k}}, access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return api.New(api.Options{Store: s, Keys: keys, Logger: slog.New(slog.DiscardHandler)}), "Bearer " + token.Reveal()
}

// newCeiling is the upper bound that test/bench compares with: gorilla/mux answering from a map.
func newCeiling() http.Handler {
	var mu sync.RWMutex
	values := map[string][]byte{"users": bytes.Repeat([]byte("x"), 100)}
	router := mux.NewRouter()
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		mu.RLock()
		value := values[mux.Vars(r)["key"]]
		mu.RUnlock()
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", strconv.Itoa(len(value)))
		w.Write(value)
	}).Methods(http.MethodGet)
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		values[mux.Vars(r)["key"]] = value
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}).Methods(http.MethodPut)
	return router
}

// answerer repeats a request without a network. Like net/http, each answer gets a new header map.
type answerer struct {
	handler http.Handler
	request *http.Request
	body    *strings.Reader
	sent    string
}

func newAnswerer(h http.Handler, method, target, body string, headers ...string) *answerer {
	a := &answerer{handler: h, sent: body, body: strings.NewReader(body)}
	a.request = httptest.NewRequest(method, target, a.body)
	for i := 0; i < len(headers); i += 2 {
		a.request.Header.Set(headers[i], headers[i+1])
	}
	return a
}

func (a *answerer) answer() {
	a.body.Reset(a.sent)
	a.handler.ServeHTTP(&apitest.Discard{Fields: http.Header{}}, a.request)
}

func BenchmarkAnswer(b *testing.B) {
	ours := newQuickServer(newQuickStore())
	keyed, key := newKeyedServer(b, newQuickStore())
	value := strings.Repeat("x", 100)
	for _, c := range []struct {
		name string
		a    *answerer
	}{
		{"GET/ceiling", newAnswerer(newCeiling(), "GET", "/v1/keys/users", "")},
		{"GET/ours", newAnswerer(ours, "GET", "/v1/keys/users/7", "")},
		{"GET/key", newAnswerer(keyed, "GET", "/v1/keys/users/7", "", "Authorization", key)},
		{"GET/unknown", newAnswerer(ours, "GET", "/v1/keys/users/8", "")},
		{"PUT/ceiling", newAnswerer(newCeiling(), "PUT", "/v1/keys/users", value, "Content-Type", "text/plain")},
		{"PUT/ours", newAnswerer(ours, "PUT", "/v1/keys/users/7", value, "Content-Type", "text/plain")},
		{"PUT/key", newAnswerer(keyed, "PUT", "/v1/keys/users/7", value, "Content-Type", "text/plain", "Authorization", key)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.a.answer()
			}
		})
	}
}

// BenchmarkServed includes net/http and the kernel. cpu-ns/op is the processor time of both ends.
func BenchmarkServed(b *testing.B) {
	get := "GET /v1/keys/users%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
	put := "PUT /v1/keys/users%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 100)
	ours := newQuickServer(newQuickStore())
	keyed, key := newKeyedServer(b, newQuickStore())
	withKey := func(request string) string {
		return strings.Replace(request, "\r\n", "\r\nAuthorization: "+key+"\r\n", 1)
	}
	for _, c := range []struct {
		name    string
		handler http.Handler
		limited bool
		request string
	}{
		{"GET/ceiling", newCeiling(), false, fmt.Sprintf(get, "")},
		{"GET/ours", ours, true, fmt.Sprintf(get, "/7")},
		{"GET/key", keyed, true, withKey(fmt.Sprintf(get, "/7"))},
		{"PUT/ceiling", newCeiling(), false, fmt.Sprintf(put, "")},
		{"PUT/ours", ours, true, fmt.Sprintf(put, "/7")},
		{"PUT/key", keyed, true, withKey(fmt.Sprintf(put, "/7"))},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := httptest.NewUnstartedServer(c.handler)
			if c.limited {
				api.Limits{}.Apply(server.Config)
				transport.Prepare(server.Config)
				server.Listener = transport.NewListener(server.Listener, transport.Accepting{})
			}
			server.Start()
			defer server.Close()
			b.ReportAllocs()
			served(b, server.Listener.Addr().String(), []byte(c.request))
		})
	}
}

// servedClients is how many connections ask at a time.
const servedClients = 16

func served(b *testing.B, address string, request []byte) {
	var group sync.WaitGroup
	before := cpuTime()
	b.ResetTimer()
	for i := range servedClients {
		group.Go(func() {
			if err := exchanges(address, request, (b.N+i)/servedClients); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// exchanges sends a request n times over a connection and skips the answers cheaply: all have the length of the first.
func exchanges(address string, request []byte, n int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	buffer := make([]byte, 4096)
	for range n {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		got, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(buffer[:got], []byte("HTTP/1.1 20")) {
			return fmt.Errorf("answered %q", buffer[:got])
		}
	}
	return nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
