package commit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// recorded is a partition that records the batches of its commits, and the entries that these wrote.
type recorded struct {
	partition.Partition
	batches []partition.Batch
	written [][]partition.Entry
}

func (p *recorded) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	p.batches = append(p.batches, b)
	if decide := b.Decide; decide != nil {
		b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
			entries, err := decide(c)
			p.written = append(p.written, entries)
			return entries, err
		}
	}
	return p.Partition.Commit(ctx, b)
}

// slotOfTag puts keys with the same text before the first slash behind the space into a slot.
func slotOfTag(k partition.Key) uint16 {
	_, name, _ := strings.Cut(string(k), "/")
	tag, _, _ := strings.Cut(name, "/")
	return uint16(len(tag))
}

// appending makes an Update of keys that appends n entries and then returns err.
func appending(keys []partition.Key, allowed, n int, err error) *Request {
	u := new(Request)
	u.SetUpdate(keys, func(tx *Tx) error {
		tx.Put(partition.Entry{Key: keys[0], Value: []byte("v")})
		for i := range n {
			tx.Append("history/a/", partition.Entry{Value: fmt.Append(nil, i)})
		}
		return err
	}, true, 10)
	u.Appends = allowed
	return u
}

// TestAppendCostsARowAndNoRead: an appended entry adds a row to the write of its commit and nothing to its reads.
func TestAppendCostsARowAndNoRead(t *testing.T) {
	_, p := newTestCommitter(t, Options{})
	under := &recorded{Partition: p}
	c := newCommitterOf(t, under, Options{SlotOf: slotOfTag})
	keys := []partition.Key{"account/a"}
	refused := errors.New("refused")
	var us []*Request
	for _, u := range []*Request{appending(keys, 2, 2, nil), appending(keys, 3, 1, refused), appending(keys, 1, 0, nil), appending(keys, 1, 1, nil)} {
		us = append(us, queued(t, c, u))
	}
	c.commitQueued()
	for i, u := range us {
		if err := outcome(u); err != nil && (i != 1 || err != refused) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if len(under.batches) != 1 || len(under.batches[0].Read)+len(under.batches[0].Heads) != 1 {
		t.Fatalf("%d commits, the first of which reads %v", len(under.batches), under.batches[0].Read)
	}
	if n := len(under.written[0]); n != 1+3 {
		t.Errorf("%d rows were written, want the account and three appended entries", n)
	}
	listed, _, err := p.List(t.Context(), partition.Span{From: "history/", To: "history0", Limit: 10, Values: true})
	if err != nil || len(listed) != 3 || string(listed[0].Value)+string(listed[1].Value)+string(listed[2].Value) != "010" {
		t.Fatalf("appended: %v, %v", listed, err)
	}
	for _, e := range listed {
		if want := fmt.Sprintf("history/a/%016x", ^uint64(e.Revision)); string(e.Key) != want {
			t.Errorf("the key of revision %d is %s", e.Revision, e.Key)
		}
	}
	at, err := p.Positions(t.Context())
	if want := partition.Floor(1) + 4*1 + 7; err != nil || at.Origins["p0"].Revision != want {
		t.Errorf("the counter is at %d, want %d: a revision for each key and each entry that may be appended", at.Origins["p0"].Revision, want)
	}
}

func TestAppendPanicsBeyondItsBounds(t *testing.T) {
	for what, u := range map[string]*Request{
		"too many":     appending([]partition.Key{"account/a"}, 1, 2, nil),
		"another slot": appending([]partition.Key{"account/bb"}, 2, 2, nil),
	} {
		_, p := newTestCommitter(t, Options{})
		c := newCommitterOf(t, p, Options{SlotOf: slotOfTag})
		queued(t, c, u)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			c.commitQueued()
		}()
	}
}
