package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/client"
)

func TestLocksOfAClient(t *testing.T) {
	c, ctx := newClient(t, client.Options{}), t.Context()
	o := client.LockOptions{Owner: "one", TTL: time.Minute, Info: []byte(`{"job":7}`)}
	for _, name := range []string{"a//b", "100%", "=,", "日本語"} {
		held, err := c.AcquireLock(ctx, name, o)
		if err != nil || held.Name != name || held.Owner != "one" || held.TTL != time.Minute || string(held.Info) != `{"job":7}` {
			t.Fatalf("acquire %q: %+v, %v", name, held, err)
		}
		_, err = c.AcquireLock(ctx, name, client.LockOptions{Owner: "two", TTL: time.Minute})
		if e, ok := errors.AsType[*client.Error](err); !ok || !errors.Is(err, client.ErrLocked) || e.Owner != "one" {
			t.Errorf("acquire %q again: %v", name, err)
		}
		if got, err := c.GetLock(ctx, name); err != nil || got.Fence != held.Fence {
			t.Errorf("get %q: %+v, %v", name, got, err)
		}
		if _, err := c.Put(ctx, name, []byte("v"), client.PutOptions{If: client.Conditions{Fence: held.Condition()}}); err != nil {
			t.Errorf("put %q with its fence: %v", name, err)
		}
		if renewed, err := c.RenewLock(ctx, name, held.Fence, time.Hour); err != nil || renewed.TTL != time.Hour || renewed.Fence != held.Fence {
			t.Errorf("renew %q: %+v, %v", name, renewed, err)
		}
	}
	n := 0
	for l, err := range c.ListLocks(ctx, "") {
		if n++; err != nil {
			t.Fatal(err)
		}
		if err := c.ForceLock(ctx, l.Name); err != nil {
			t.Error(err)
		}
		_, err = c.Put(ctx, l.Name, []byte("v"), client.PutOptions{If: client.Conditions{Fence: l.Condition()}})
		if !errors.Is(err, client.ErrPreconditionFailed) {
			t.Errorf("put with a stale fence: %v", err)
		}
		_, err = c.Txn(ctx, client.Txn{Then: []client.Operation{client.GetOp(l.Name)}, Fence: l.Condition()})
		if !errors.Is(err, client.ErrPreconditionFailed) {
			t.Errorf("transaction with a stale fence: %v", err)
		}
		if err := c.ReleaseLock(ctx, l.Name, l.Fence); err != nil {
			t.Errorf("release of a free lock: %v", err)
		}
		if err := c.ForceLock(ctx, l.Name); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("force of a free lock: %v", err)
		}
	}
	if n != 4 {
		t.Errorf("%d locks are listed", n)
	}
}

// A process campaigns for leadership, acts as leader with the fence in each write, and resigns. Another process that
// campaigns meanwhile waits, and observes the leader.
func ExampleClient_AcquireLock_leaderElection() {
	c, stop := exampleClient()
	defer stop()
	ctx := context.Background()

	// campaign waits until this process is the leader, and calls lead. The context of lead ends when the leadership is lost.
	campaign := func(me string, lead func(context.Context, *client.Lock) error) error {
		const ttl = 15 * time.Second
		leader, err := c.AcquireLock(ctx, "scheduler", client.LockOptions{Owner: me, TTL: ttl, Wait: time.Minute})
		if err != nil {
			return err
		}
		leading, lose := context.WithCancel(ctx)
		renewed := make(chan struct{})
		go func() {
			defer close(renewed)
			defer lose()
			for valid := time.Now().Add(ttl); ; {
				select {
				case <-leading.Done():
					return
				case <-time.After(ttl / 3):
				}
				began := time.Now()
				_, err := c.RenewLock(leading, "scheduler", leader.Fence, ttl)
				switch {
				case err == nil:
					valid = began.Add(ttl)
				case errors.Is(err, client.ErrPreconditionFailed), time.Now().Add(ttl / 3).After(valid):
					return
				}
			}
		}()
		err = lead(leading, leader)
		lose()
		<-renewed
		return errors.Join(err, c.ReleaseLock(ctx, "scheduler", leader.Fence)) // resign
	}

	var old string // the fence of a former leader
	err := campaign("node-a", func(ctx context.Context, l *client.Lock) error {
		old = l.Condition()
		if observed, err := c.GetLock(ctx, "scheduler"); err == nil {
			fmt.Println("the leader is", observed.Owner)
		}
		_, err := c.Put(ctx, "plan", []byte("of node-a"), client.PutOptions{If: client.Conditions{Fence: l.Condition()}})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	err = campaign("node-b", func(ctx context.Context, l *client.Lock) error {
		_, err := c.Put(ctx, "plan", []byte("of node-b"), client.PutOptions{If: client.Conditions{Fence: l.Condition()}})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Put(ctx, "plan", []byte("of the past"), client.PutOptions{If: client.Conditions{Fence: old}})
	fmt.Println("a former leader writes nothing:", errors.Is(err, client.ErrPreconditionFailed))
	plan, err := c.Get(ctx, "plan", client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the plan is %s\n", plan.Value)
	// Output:
	// the leader is node-a
	// a former leader writes nothing: true
	// the plan is of node-b
}
