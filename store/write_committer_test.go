package store

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newTestCommitter makes a committer of a writable master. Its loop is not running.
func newTestCommitter(t *testing.T, o Options) (*committer, *memory.Partition) {
	t.Helper()
	p := memory.New("p0")
	if _, err := p.Join(t.Context(), newClusterMap([]string{"p0"})); err != nil {
		t.Fatal(err)
	}
	return newCommitterOf(p, o), p
}

// newCommitterOf makes a further committer of a master that has joined.
func newCommitterOf(p partition.Partition, o Options) *committer {
	o.Logger = slog.New(slog.DiscardHandler)
	m := newBackend(p, o.withDefaults(), hooks{})
	m.isWritable.Store(true)
	return m.committer
}

func queued(t *testing.T, c *committer, u *writeRequest) *writeRequest {
	t.Helper()
	if u.group == nil {
		u.group = newGroup(1)
	}
	u.epoch = 1
	if err := submitted(c, u); err != nil {
		t.Fatal(err)
	}
	return u
}

// submitted submits a request and returns the reason if the committer rejects the request.
func submitted(c *committer, u *writeRequest) error {
	c.submit(u)
	return u.outcome
}

// outcome waits for the outcome of a request with a group of its own.
func outcome(u *writeRequest) error {
	<-u.group.done
	return u.outcome
}

// TestDecidedWritesShareACommitUpToItsBytes queues writes with functions that together
// exceed a commit: a commit exceeds the bound by at most a single write, none is lost, and
// they run in order.
func TestDecidedWritesShareACommitUpToItsBytes(t *testing.T) {
	c, p := newTestCommitter(t, Options{BatchBytes: 1000})
	commits := 0
	p.Fail(func(op string) error {
		if op == memory.OpCommit {
			commits++
		}
		return nil
	})
	var us []*writeRequest
	var order []int
	for i := range 30 {
		key := User.Key(fmt.Sprint(i))
		us = append(us, queued(t, c, &writeRequest{keys: []Key{key}, fn: func(v *Tx) error {
			v.Put(Entry{Key: key, Value: make([]byte, 400)})
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
	if commits != 10 {
		t.Errorf("%d commits of at most 1000 bytes and one write; want 10", commits)
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
		commits := 0
		p.Fail(func(op string) error {
			if op == memory.OpCommit {
				commits++
			}
			return nil
		})
		var us []*writeRequest
		for i := range 10 {
			e := Entry{Key: User.Key(fmt.Sprint(i)), Value: make([]byte, 400), Size: 400}
			us = append(us, queued(t, c, &writeRequest{keys: []Key{e.Key}, entry: e, bytes: 400}))
		}
		c.commitQueued()
		for _, u := range us {
			if err := outcome(u); err != nil || !u.created {
				t.Errorf("created %v, %v", u.created, err)
			}
		}
		if commits != 5 || c.bytes != 0 {
			t.Errorf("%+v: %d commits, %d bytes left; want 5 and none", o, commits, c.bytes)
		}
	}
}

func TestFullQueueRefusesWrites(t *testing.T) {
	c, _ := newTestCommitter(t, Options{QueueEntries: 2})
	queued(t, c, &writeRequest{keys: []Key{"k/a"}})
	queued(t, c, &writeRequest{keys: []Key{"k/a"}})
	if err := submitted(c, &writeRequest{keys: []Key{"k/a"}, group: newGroup(1)}); err == nil {
		t.Error("a third update was queued")
	}
}

func TestWriteThatNoCommitHasTakenIsWithdrawn(t *testing.T) {
	c, p := newTestCommitter(t, Options{})
	e := Entry{Key: "k/a", Value: []byte("1"), Size: 1}
	u := queued(t, c, &writeRequest{keys: []Key{e.Key}, entry: e, bytes: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if u.group.awaitOutcomes(ctx, c); u.outcome != context.Canceled {
		t.Errorf("wait: %v", u.outcome)
	}
	c.commitQueued()
	if entries, err := p.Get(t.Context(), []Key{e.Key}); err != nil || len(entries) != 0 || c.bytes != 0 {
		t.Errorf("the withdrawn write stands: %v, %v, %d bytes", entries, err, c.bytes)
	}
}

// TestSmallWritesDoNotWaitBehindLargeOnes queues large writes that need a commit each, then
// small writes. As many small writes as fit go with the first commit; large writes keep
// their order and are not delayed.
func TestSmallWritesDoNotWaitBehindLargeOnes(t *testing.T) {
	c, _ := newTestCommitter(t, Options{BatchBytes: 1 << 20})
	var us []*writeRequest
	for i := range 40 {
		e := Entry{Key: User.Key(fmt.Sprint(i)), Value: make([]byte, 700<<10)}
		if i >= 4 {
			e.Value = e.Value[:10<<10]
		}
		e.Size = int64(len(e.Value))
		us = append(us, queued(t, c, &writeRequest{keys: []Key{e.Key}, entry: e, bytes: e.Size}))
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
	ours := newGroup(20)
	var us []*writeRequest
	for i := range 20 {
		u := &writeRequest{keys: []Key{"k/a"}, bytes: 700 << 10, group: ours, ordered: true}
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
		queued(t, c, &writeRequest{keys: []Key{"k/a"}, fn: fn, bytes: 1000})
	}
	if err := submitted(c, &writeRequest{keys: []Key{"k/a"}, fn: fn, bytes: 1000, group: newGroup(1)}); err == nil {
		t.Error("a write beyond the bound was queued")
	}
}

// TestRestoreBeginsAnEpochThatNoneBegan: the backup does not know the epochs that began
// after it.
func TestRestoreBeginsAnEpochThatNoneBegan(t *testing.T) {
	monday := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	first := epochAfter(1, monday)
	again := epochAfter(first, monday)
	for i, e := range []int64{first, again, epochAfter(1, monday.Add(48*time.Hour)), epochAfter(9000, monday)} {
		if want := []int64{333, 334, 335, 9001}[i]; e != want {
			t.Errorf("epoch %d, want %d", e, want)
		}
	}
}
