package locks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/client"
)

// clientsVariable holds the workload of a process of clients, in JSON.
const clientsVariable = "RUNNEL_TEST_LOCK_CLIENTS"

// workload is the work of a process of clients.
type workload struct {
	Seed           uint64
	First, Clients int // numbers of the clients
	Servers        []string
	Locks          int
	TTL            time.Duration
}

// lockClient acquires locks in a sequence.
type lockClient struct {
	workload
	id      int
	random  *mathrand.Rand
	servers []*client.Client
	record  func(event)
	over    context.Context
}

// runClients runs clients until the standard input ends, and writes the record to the standard output. It returns the exit status.
func runClients(text string) int {
	var w workload
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		log.Print(err)
		return 2
	}
	over, end := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); end() }()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	var group sync.WaitGroup
	record := func(e event) {
		mu.Lock()
		defer mu.Unlock()
		if err := out.Encode(e); err != nil {
			log.Fatal(err) // the test has ended
		}
	}
	for i := range w.Clients {
		c, err := newLockClient(over, w, w.First+i, record)
		if err != nil {
			log.Print(err)
			return 2
		}
		group.Go(func() {
			for over.Err() == nil {
				c.holdOnce()
			}
		})
	}
	group.Wait()
	return 0
}

// newLockClient returns a client that works until over ends.
func newLockClient(over context.Context, w workload, id int, record func(event)) (*lockClient, error) {
	c := &lockClient{workload: w, id: id, random: mathrand.New(mathrand.NewPCG(w.Seed, uint64(id))), record: record, over: over}
	for _, url := range w.Servers {
		s, err := client.New(url, client.Options{Timeout: 3 * time.Second, RetryFor: -1})
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, s)
	}
	return c, nil
}

func (c *lockClient) server() *client.Client { return c.servers[c.random.IntN(len(c.servers))] }

// pause waits for up to d.
func (c *lockClient) pause(d time.Duration) {
	select {
	case <-c.over.Done():
	case <-time.After(time.Duration(c.random.Int64N(int64(d)))):
	}
}

func now() int64 { return time.Now().UnixNano() }

// holdOnce acquires a lock, works for a while, and releases the lock or leaves it to expire.
func (c *lockClient) holdOnce() {
	name := "lock/" + strconv.Itoa(c.random.IntN(c.Locks))
	held := c.acquire(name)
	if held == nil {
		c.pause(c.TTL / 4)
		return
	}
	for range c.random.IntN(6) {
		switch c.random.IntN(8) {
		case 0:
			c.pause(c.TTL * 3 / 2) // perhaps beyond the expiry
		case 1, 2:
			c.renew(held)
		default:
			_ = c.write(held) // the record shows the outcome
		}
	}
	if c.random.IntN(5) > 0 {
		c.record(event{Kind: released, Client: c.id, Lock: name, Fence: held.Fence, Sent: now(), Answered: now()})
		if c.server().ReleaseLock(context.Background(), name, held.Fence) == nil && c.random.IntN(4) == 0 {
			_ = c.write(held) // must be refused
		}
	}
}

// acquire acquires a lock, at a random server while the outcome is unknown. Without the lock it returns nil.
func (c *lockClient) acquire(name string) *client.Lock {
	o := client.LockOptions{Owner: fmt.Sprint("client-", c.id), TTL: c.TTL, RequestID: rand.Text()}
	if c.random.IntN(4) > 0 {
		o.Wait = 2 * time.Second
	}
	for sent := now(); c.over.Err() == nil; c.pause(c.TTL / 10) {
		held, err := c.server().AcquireLock(c.over, name, o)
		if err == nil {
			c.record(event{Kind: granted, Client: c.id, Lock: name, Fence: held.Fence, Sent: sent, Answered: now(), Expires: held.ExpiresAt.UnixMicro(), TTL: held.TTL})
			return held
		}
		if errors.Is(err, client.ErrLocked) || now()-sent > int64(10*time.Second) {
			return nil
		}
	}
	return nil
}

func (c *lockClient) renew(held *client.Lock) {
	e := event{Kind: renewed, Client: c.id, Lock: held.Name, Fence: held.Fence, Sent: now()}
	got, err := c.server().RenewLock(context.Background(), held.Name, held.Fence, c.TTL)
	e.Answered = now()
	switch {
	case errors.Is(err, client.ErrPreconditionFailed):
		e.Kind = refused
	case err != nil:
		e.Kind = unknown
	default:
		e.Expires, e.TTL = got.ExpiresAt.UnixMicro(), got.TTL
	}
	c.record(e)
}

// write writes the key of the lock's name with the fence.
func (c *lockClient) write(held *client.Lock) error {
	e := event{Kind: written, Client: c.id, Lock: held.Name, Fence: held.Fence, Sent: now()}
	_, err := c.server().Put(context.Background(), held.Name, strconv.AppendInt(nil, held.Fence, 10), client.PutOptions{If: client.Conditions{Fence: held.Condition()}})
	e.Answered = now()
	switch {
	case errors.Is(err, client.ErrPreconditionFailed):
		e.Kind = refused
	case err != nil:
		return err
	}
	c.record(e)
	return err
}
