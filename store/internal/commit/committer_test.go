package commit

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newTestCommitter makes a committer of a writable master. Its loop is not running.
func newTestCommitter(t *testing.T, o Options) (*Committer, *memory.Partition) {
	t.Helper()
	p := memory.New("p0")
	if _, err := p.Join(t.Context(), partition.Cluster{ID: "c", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, 1024)}); err != nil {
		t.Fatal(err)
	}
	return newCommitterOf(t, p, o), p
}

// newCommitterOf makes a further committer of a master that has joined.
func newCommitterOf(t *testing.T, p partition.Partition, o Options) *Committer {
	t.Helper()
	set := backend.NewSet(backend.Options{Timeout: 5 * time.Second, Poll: time.Second, Logger: slog.New(slog.DiscardHandler)})
	m, err := set.Add(p)
	if err != nil {
		t.Fatal(err)
	}
	m.SetJoined(nil)
	m.SetBehind(nil)
	o.BatchEntries = cmp.Or(o.BatchEntries, 1024)
	o.BatchBytes = cmp.Or(o.BatchBytes, 4<<20)
	o.QueueEntries = cmp.Or(o.QueueEntries, 16384)
	o.MaxValueBytes = cmp.Or(o.MaxValueBytes, 15<<20)
	o.Timeout, o.OnCommit = 5*time.Second, func() {}
	return New(m, o)
}

func queued(t *testing.T, c *Committer, u *Request) *Request {
	t.Helper()
	if u.group == nil {
		u.group = NewGroup(1)
	}
	u.Epoch = 1
	if err := submitted(c, u); err != nil {
		t.Fatal(err)
	}
	return u
}

// submitted submits a request and returns the reason if the committer rejects the request.
func submitted(c *Committer, u *Request) error {
	c.Submit(u)
	return u.outcome
}

// outcome waits for the outcome of a request with a group of its own.
func outcome(u *Request) error {
	<-u.group.done
	return u.outcome
}

// TestDecidedWritesShareACommitUpToItsBytes queues writes with functions that together
// exceed a commit: a commit exceeds the bound by at most a single write, none is lost, and
// they run in order.
func TestDecidedWritesShareACommitUpToItsBytes(t *testing.T) {
	c, p := newTestCommitter(t, Options{BatchBytes: 1000})
	var commits atomic.Int32
	p.Fail(func(op string) error {
		if op == memory.OpCommit {
			commits.Add(1)
		}
		return nil
	})
	var us []*Request
	var order []int
	for i := range 30 {
		key := partition.Key("k/" + fmt.Sprint(i))
		us = append(us, queued(t, c, &Request{Keys: []partition.Key{key}, fn: func(v *Tx) error {
			v.Put(partition.Entry{Key: key, Value: make([]byte, 400)})
			order = append(order, i)
			return nil
		}}))
	}
	c.commitQueued()
	for i, u := range us {
		if err := outcome(u); err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if n := commits.Load(); n != 10 {
		t.Errorf("%d commits of at most 1000 bytes and one write; want 10", n)
	}
	for i, n := range order {
		if i != n {
			t.Fatalf("order is %v", order)
		}
	}
}

func TestPutsShareACommitUpToItsBounds(t *testing.T) {
	for _, o := range []Options{{BatchBytes: 1000}, {BatchEntries: 2}} {
		c, p := newTestCommitter(t, o)
		var commits atomic.Int32
		p.Fail(func(op string) error {
			if op == memory.OpCommit {
				commits.Add(1)
			}
			return nil
		})
		var us []*Request
		for i := range 10 {
			e := partition.Entry{Key: partition.Key("k/" + fmt.Sprint(i)), Value: make([]byte, 400), Size: 400}
			us = append(us, queued(t, c, &Request{Keys: []partition.Key{e.Key}, entry: e, bytes: 400}))
		}
		c.commitQueued()
		for _, u := range us {
			if err := outcome(u); err != nil || !u.created {
				t.Errorf("created %v, %v", u.created, err)
			}
		}
		if n := commits.Load(); n != 5 || c.bytes != 0 {
			t.Errorf("%+v: %d commits, %d bytes left; want 5 and none", o, n, c.bytes)
		}
	}
}

func TestFullQueueRefusesWrites(t *testing.T) {
	c, _ := newTestCommitter(t, Options{QueueEntries: 2})
	queued(t, c, &Request{Keys: []partition.Key{"k/a"}})
	queued(t, c, &Request{Keys: []partition.Key{"k/a"}})
	if err := submitted(c, &Request{Keys: []partition.Key{"k/a"}, group: NewGroup(1)}); err == nil {
		t.Error("a third update was queued")
	}
}

func TestWriteThatNoCommitHasTakenIsWithdrawn(t *testing.T) {
	c, p := newTestCommitter(t, Options{})
	e := partition.Entry{Key: "k/a", Value: []byte("1"), Size: 1}
	u := queued(t, c, &Request{Keys: []partition.Key{e.Key}, entry: e, bytes: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if u.group.AwaitOutcomes(ctx, c); u.outcome != context.Canceled {
		t.Errorf("wait: %v", u.outcome)
	}
	c.commitQueued()
	if entries, err := p.Get(t.Context(), []partition.Key{e.Key}); err != nil || len(entries) != 0 || c.bytes != 0 {
		t.Errorf("the withdrawn write stands: %v, %v, %d bytes", entries, err, c.bytes)
	}
}

// TestSmallWritesDoNotWaitBehindLargeOnes queues large writes that need a commit each, then
// small writes. As many small writes as fit go with the first commit; large writes keep
// their order and are not delayed.
func TestSmallWritesDoNotWaitBehindLargeOnes(t *testing.T) {
	c, _ := newTestCommitter(t, Options{BatchBytes: 1 << 20})
	var us []*Request
	for i := range 40 {
		e := partition.Entry{Key: partition.Key("k/" + fmt.Sprint(i)), Value: make([]byte, 700<<10)}
		if i >= 4 {
			e.Value = e.Value[:10<<10]
		}
		e.Size = int64(len(e.Value))
		us = append(us, queued(t, c, &Request{Keys: []partition.Key{e.Key}, entry: e, bytes: e.Size}))
	}
	for commit := range 4 {
		took := c.nextBatch()
		if took[0] != us[commit] {
			t.Fatalf("commit %d does not begin with the large write whose turn it is", commit)
		}
		small, bytes := took[1:], int64(0)
		for _, u := range took {
			bytes += u.bytes
		}
		if commit == 0 && len(small) < 30 || bytes > 1<<20+1<<18 {
			t.Errorf("commit %d takes %d small writes along, %d bytes in all", commit, len(small), bytes)
		}
		clear(took)
	}
	if rest := c.nextBatch(); len(rest) != 0 || c.bytes != 0 {
		t.Errorf("%d updates and %d bytes are left", len(rest), c.bytes)
	}
}

// TestChangesThatCameTogetherKeepTheirOrder: a small write of an UpdateEach must not
// overtake a large write to the same key.
func TestChangesThatCameTogetherKeepTheirOrder(t *testing.T) {
	c, _ := newTestCommitter(t, Options{BatchBytes: 1 << 20})
	ours := NewGroup(20)
	var us []*Request
	for i := range 20 {
		u := &Request{Keys: []partition.Key{"k/a"}, bytes: 700 << 10, group: ours, ordered: true}
		if i%2 == 1 {
			u.bytes = 1 << 10
		}
		us = append(us, queued(t, c, u))
	}
	for len(us) > 0 {
		for i, u := range c.nextBatch() {
			if u != us[i] {
				t.Fatal("an update was taken before its turn")
			}
		}
		us = us[len(c.taken):]
	}
}

func TestDecidedWritesAreBoundedByTheirBytes(t *testing.T) {
	c, _ := newTestCommitter(t, Options{BatchBytes: 1000, MaxValueBytes: 1000})
	fn := func(*Tx) error { return nil }
	for range 64 {
		queued(t, c, &Request{Keys: []partition.Key{"k/a"}, fn: fn, bytes: 1000})
	}
	if err := submitted(c, &Request{Keys: []partition.Key{"k/a"}, fn: fn, bytes: 1000, group: NewGroup(1)}); err == nil {
		t.Error("a write beyond the bound was queued")
	}
}
