package bank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	runnelsync "github.com/runnelkv/runnel/sync"
)

// node is a server over three memory partitions.
type node struct {
	parts  []*memory.Partition
	store  *store.Store
	server *client.Client
}

// newNode starts a server with its workers; masters by default p0. wrap, if not nil, stands before the server.
func newNode(t *testing.T, wrap func(http.Handler) http.Handler, masters ...string) *node {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	n := &node{}
	o := store.Options{Masters: masters, Poll: 10 * time.Millisecond, Logger: quiet}
	for i := range 3 {
		n.parts = append(n.parts, memory.New(fmt.Sprintf("p%d", i)))
		o.Partitions = append(o.Partitions, n.parts[i])
	}
	var err error
	if n.store, err = store.Open(o); err != nil {
		t.Fatal(err)
	}
	books := ledger.New(n.store, ledger.Options{Every: 5 * time.Millisecond, Grace: 20 * time.Millisecond, Logger: quiet})
	pass := runnelsync.New(n.store, runnelsync.Options{Schedule: cron.Every(time.Second), Logger: quiet})
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{n.store.Run, books.Run, pass.Run} {
		group.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	var h http.Handler = api.New(api.Options{Store: n.store, Ledger: books, Logger: quiet})
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.Close()
		stop()
		group.Wait()
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
	if n.server, err = client.New(s.URL, client.Options{RetryFor: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !n.isFilled(); time.Sleep(time.Millisecond) {
		if pass.Trigger(); time.Now().After(deadline) {
			t.Fatal("the partitions were not filled within 10 s")
		}
	}
	return n
}

func (n *node) isFilled() bool {
	for _, p := range n.store.Status().Partitions {
		if !p.Readable {
			return false
		}
	}
	return n.store.Status().Writable()
}

// bench runs the command.
func (n *node) bench(ctx context.Context, args ...string) (r report, err error) {
	var out bytes.Buffer
	s := console.Streams{Out: &out, Err: &out, Now: time.Now, IsTerminal: func(any) bool { return false }}
	cmd := New(&s, func() (*client.Client, error) { return n.server, nil })
	cmd.SetArgs(append([]string{"--json"}, args...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err = cmd.ExecuteContext(ctx); out.Len() > 0 {
		err = errors.Join(err, json.Unmarshal(out.Bytes(), &r))
	}
	return r, err
}

// openAccounts counts the accounts that are not closed.
func (n *node) openAccounts(t *testing.T) (open int) {
	t.Helper()
	p, err := n.server.Accounts(t.Context(), map[string][]string{"prefix": {"bench-"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range p.Accounts {
		a, err := n.server.Account(t.Context(), string(found.ID)) // from the master
		if err != nil {
			t.Fatal(err)
		}
		if a.State != "closed" {
			open++
		}
	}
	return open
}

// TestBankKeepsItsTotalOnARunningStore: with a single master and with three, while commits fail and lose their answers.
func TestBankKeepsItsTotalOnARunningStore(t *testing.T) {
	for _, masters := range [][]string{{"p0"}, {"p0", "p1", "p2"}} {
		n := newNode(t, nil, masters...)
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(1, 1))
		for _, p := range n.parts {
			p.Fail(func(op string) error {
				mu.Lock()
				defer mu.Unlock()
				if (op == memory.OpCommit || op == memory.OpCommitted) && rng.IntN(150) == 0 {
					return partition.ErrUnavailable
				}
				return nil
			})
		}
		r, err := n.bench(t.Context(), "--transfers", "150", "--duration", "1m", "-n", "8")
		if err != nil {
			t.Fatalf("%d masters: %+v, %v", len(masters), r, err)
		}
		if r.Transfers+r.Refused != 150 || r.Transfers < 50 || r.Masters != len(masters) || r.Total != 10_000 || r.Books < 3 || (r.Reads > 0) != (len(masters) == 1) {
			t.Errorf("%d masters: %+v", len(masters), r)
		}
		if open := n.openAccounts(t); open != 0 {
			t.Errorf("%d accounts are open", open)
		}
	}
}

// TestBankSeesMoneyThatIsMadeAndWrongReads: a server that pays money in on its own, a server that shows a wrong balance, and a server
// with books that are off.
func TestBankSeesMoneyThatIsMadeAndWrongReads(t *testing.T) {
	var puts, lists atomic.Int64
	change := func(h http.Handler, w http.ResponseWriter, r *http.Request, old, new string) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		body := strings.Replace(answer.Body.String(), old, new, 1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.Code)
		w.Write([]byte(body))
	}
	for what, c := range map[string]struct {
		masters []string
		serve   func(h http.Handler, w http.ResponseWriter, r *http.Request)
	}{
		"in place of": {[]string{"p0"}, func(h http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" && strings.HasPrefix(r.URL.Path, "/v1/transfers/") && puts.Add(1) == 50 {
				account := strings.Split(r.URL.Path, "/")[3]
				extra := httptest.NewRequest("PUT", "/v1/transfers/"+account+"/extra", strings.NewReader(`{"from":"@world","to":"`+account+`","amount":1}`))
				extra.Host = r.Host
				h.ServeHTTP(httptest.NewRecorder(), extra)
			}
			h.ServeHTTP(w, r)
		}},
		"a read of all accounts": {[]string{"p0"}, func(h http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("prefix") && lists.Add(1) == 2 {
				change(h, w, r, `"balance":`, `"balance":1`)
				return
			}
			h.ServeHTTP(w, r)
		}},
		"do not add up": {[]string{"p0", "p1"}, func(h http.Handler, w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/ledger/verify") && r.URL.Query().Get("partition") == "p2" {
				change(h, w, r, `"faults":[]`, `"faults":["the books are off by 1"]`)
				return
			}
			h.ServeHTTP(w, r)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			n := newNode(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(h, w, r) })
			}, c.masters...)
			if r, err := n.bench(t.Context(), "--transfers", "500", "--duration", "1m"); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestBankClosesItsAccountsAfterAnInterrupt: and ends soon.
func TestBankClosesItsAccountsAfterAnInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var puts atomic.Int64
	n := newNode(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" && puts.Add(1) == 100 {
				interrupt()
			}
			h.ServeHTTP(w, r)
		})
	})
	if r, err := n.bench(ctx, "--duration", "1h"); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
	if open := n.openAccounts(t); open != 0 {
		t.Errorf("%d accounts are open", open)
	}
}

func TestBankRefusesBadBounds(t *testing.T) {
	n := &node{}
	for _, args := range [][]string{{"-n", "0"}, {"-n", "1001"}, {"--duration", "0s"}, {"--duration", "25h"}, {"--transfers", "-1"}, {"--balance", "9"}, {"--balance", "9223372036854775807"}, {"more"}} {
		if _, err := n.bench(t.Context(), args...); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
