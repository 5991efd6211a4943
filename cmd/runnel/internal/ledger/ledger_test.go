package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// bench runs commands against a node.
type bench struct {
	t        *testing.T
	server   *client.Client
	terminal bool
}

func newBench(t *testing.T) *bench {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("p0")}, Poll: 20 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	s := httptest.NewServer(api.New(api.Options{Store: db, Logger: quiet}))
	t.Cleanup(func() {
		s.Close()
		stop()
		if err := errors.Join(<-ended, db.Close()); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(s.URL, client.Options{RetryFor: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, server: c}
}

func (b *bench) run(in string, args ...string) (string, error) {
	b.t.Helper()
	var out bytes.Buffer
	s := console.Streams{In: strings.NewReader(in), Out: &out, Err: &out, Now: time.Now, IsTerminal: func(stream any) bool { return b.terminal }}
	cmd := New(&s, func() (*client.Client, error) { return b.server, nil })
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(b.t.Context())
	return out.String(), err
}

func (b *bench) must(args ...string) string {
	b.t.Helper()
	out, err := b.run("", args...)
	if err != nil {
		b.t.Fatalf("%q: %v %s", args, err, out)
	}
	return out
}

func TestCommandsMoveMoney(t *testing.T) {
	b := newBench(t)
	b.must("account", "open", "ann", "--name", "Ann Miller", "--min-balance", "-10")
	b.must("account", "open", "shop")
	for range 2 {
		b.must("deposit", "ann", "100", "--id", "in")
	}
	b.must("transfer", "ann", "shop", "30", "--id", "t1", "--memo", "coffee")
	b.must("hold", "make", "ann", "shop", "50", "--id", "h1")
	b.must("hold", "post", "ann", "h1", "--amount", "20")
	b.must("hold", "make", "ann", "shop", "10", "--id", "h2", "--ttl", "1h")
	b.must("hold", "void", "ann", "h2")
	b.must("reverse", "ann", "t1")
	b.must("withdraw", "shop", "5")
	var a client.Account
	if err := json.Unmarshal([]byte(b.must("account", "show", "ann", "--json")), &a); err != nil || a.Balance.Value != 80 || a.Available.Value != 90 {
		t.Errorf("%+v, %v", a, err)
	}
	if out := b.must("history", "ann", "--limit", "2"); strings.Count(out, "\n") != 3 || !strings.Contains(out, "balance 80") {
		t.Errorf("%s", out)
	}
	if out := b.must("account", "list", "-q", "miller"); !strings.HasPrefix(out, "ann\t80 EUR open Ann Miller") {
		t.Errorf("%s", out)
	}
	b.must("account", "change", "shop", "--freeze")
	if _, err := b.run("", "transfer", "ann", "shop", "1"); err == nil || !strings.Contains(err.Error(), "transfer-failed") {
		t.Errorf("%v", err)
	}
	if _, err := b.run("", "account", "close", "ann"); err == nil {
		t.Error("an account with money was closed")
	}
	if out := b.must("verify"); !strings.Contains(out, "off 0") {
		t.Errorf("%s", out)
	}
	for _, args := range [][]string{{"deposit", "ann", "1.5"}, {"transfer", "ann", "shop", "-1"}, {"transfer", "ann", "shop"}, {"nothing"}} {
		if _, err := b.run("", args...); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// TestMenuKeepsABank goes through the menu, as on a terminal; refusals are shown, and the menu goes on.
func TestMenuKeepsABank(t *testing.T) {
	b := newBench(t)
	b.terminal = true
	out, err := b.run(strings.Join([]string{"1", "ann", "Ann", "EUR", "100", "1", "bob", "Bob", "EUR", "", "2", "bob", "7", "3", "ann", "20", "4", "ann", "bob", "200", "4", "ann", "bob", "30", "5", "6", "ann", "9", "7"}, "\n") + "\n")
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, want := range []string{"refused: 409 insufficient-funds", "ann\t50 EUR open Ann", "bob\t37 EUR open Bob", "balance 50", "Choose a number"} {
		if !strings.Contains(out, want) {
			t.Errorf("the menu does not show %q: %s", want, out)
		}
	}
	if _, err := b.run("4\nann\n"); err != nil {
		t.Errorf("the input ends: %v", err)
	}
}
