package locks_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/locks"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newClient returns a client of a new server.
func newClient(t *testing.T) *client.Client {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("p0")}, Poll: 20 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	server := httptest.NewServer(api.New(api.Options{Store: s, Logger: quiet}))
	t.Cleanup(func() { server.Close(); cancel(); <-done; s.Close() })
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func holder(c *client.Client, ttl time.Duration) (*locks.Holder, *bytes.Buffer) {
	var out bytes.Buffer
	return &locks.Holder{Client: c, Name: "a", Options: client.LockOptions{Owner: "test", TTL: ttl}, Out: &out, Err: &out}, &out
}

func wantStatus(t *testing.T, err error, code int) {
	t.Helper()
	if e, ok := errors.AsType[*console.ExitError](err); !ok || e.Code != code {
		t.Errorf("the error is %v, want exit status %d", err, code)
	}
}

func shell(text string) []string { return []string{"sh", "-c", text} }

func TestCommandRunsUnderTheLock(t *testing.T) {
	c := newClient(t)
	h, out := holder(c, time.Minute)
	if err := h.Run(t.Context(), shell(`echo "$RUNNEL_LOCK $RUNNEL_FENCE"`)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "a a=") {
		t.Errorf("the command printed %q", out)
	}
	if _, err := c.GetLock(t.Context(), "a"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("the lock was not released: %v", err)
	}
	wantStatus(t, h.Run(t.Context(), shell("exit 7")), 7)
	wantStatus(t, h.Run(t.Context(), shell("kill -9 $$")), 137)
	wantStatus(t, h.Run(t.Context(), []string{"/no/such/command"}), locks.ExitNoStart)
	if _, err := c.AcquireLock(t.Context(), "a", client.LockOptions{Owner: "other", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(t.TempDir(), "ran")
	wantStatus(t, h.Run(t.Context(), shell("touch "+ran)), locks.ExitLocked)
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran without the lock")
	}
	out.Reset()
	if err := locks.List(t.Context(), c, "", out); err != nil || !strings.HasPrefix(out.String(), "a\tother\t") {
		t.Errorf("List: %q, %v", out, err)
	}
}

func TestLockIsRenewedWhileTheCommandRuns(t *testing.T) {
	c := newClient(t)
	h, _ := holder(c, 600*time.Millisecond)
	if err := h.Run(t.Context(), shell("sleep 2")); err != nil {
		t.Errorf("a command of three times the time to live: %v", err)
	}
}

func TestCommandEndsWhenItsLockIsLost(t *testing.T) {
	c := newClient(t)
	h, out := holder(c, time.Second)
	done := make(chan error, 1)
	go func() {
		done <- h.Run(context.Background(), shell("trap 'echo ended; exit 0' TERM; while :; do sleep 0.05; done"))
	}()
	deadline := time.Now().Add(10 * time.Second)
	for c.ForceLock(t.Context(), "a") != nil {
		if time.Now().After(deadline) {
			t.Fatal("the lock was never acquired")
		}
		time.Sleep(10 * time.Millisecond)
	}
	wantStatus(t, <-done, locks.ExitLost)
	if !strings.Contains(out.String(), "ended") {
		t.Errorf("the command got no SIGTERM: %q", out)
	}
}
