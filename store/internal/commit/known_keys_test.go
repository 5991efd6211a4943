package commit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// listening records the commits that a partition gets.
type listening struct {
	*memory.Partition
	commits, refused, heads int
	after                   partition.Revision // of the last commit
}

func (l *listening) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	l.commits++
	l.heads += len(b.Heads)
	l.after = b.After
	claim, err := l.Partition.Commit(ctx, b)
	if errors.Is(err, partition.ErrPositionMoved) {
		l.refused++
	}
	return claim, err
}

func newListening(t *testing.T) (*Committer, *listening) {
	t.Helper()
	_, p := newTestCommitter(t, Options{})
	l := &listening{Partition: p}
	return newCommitterOf(t, l, Options{}), l
}

// write commits entries together, a request each, and returns which were created.
func write(t *testing.T, c *Committer, entries ...partition.Entry) (created []bool) {
	t.Helper()
	var us []*Request
	for _, e := range entries {
		us = append(us, queued(t, c, &Request{Keys: []partition.Key{e.Key}, entry: e}))
	}
	c.commitQueued()
	for _, u := range us {
		if err := outcome(u); err != nil {
			t.Fatal(err)
		}
		created = append(created, u.created)
	}
	return created
}

func remove(t *testing.T, c *Committer, k partition.Key) {
	t.Helper()
	u := queued(t, c, &Request{Keys: []partition.Key{k}, fn: func(v *Tx) error { v.Delete(k); return nil }})
	c.commitQueued()
	if err := outcome(u); err != nil {
		t.Fatal(err)
	}
}

// TestPutsReadOnlyUnknownRows: a sole writer reads the row that a Put replaces at
// most once.
func TestPutsReadOnlyUnknownRows(t *testing.T) {
	c, l := newListening(t)
	for i, step := range []struct {
		keys    []partition.Key
		heads   int
		created string
	}{
		{[]partition.Key{"k/a"}, 1, "[true]"},
		{[]partition.Key{"k/a"}, 0, "[false]"},
		{[]partition.Key{"k/a", "k/b", "k/b"}, 1, "[false true false]"},
		{[]partition.Key{"k/b", "k/a"}, 0, "[false false]"},
	} {
		l.heads = 0
		var entries []partition.Entry
		for _, k := range step.keys {
			entries = append(entries, partition.Entry{Key: k})
		}
		if created := fmt.Sprint(write(t, c, entries...)); created != step.created || l.heads != step.heads {
			t.Errorf("step %d: created %s after reading %d heads; want %s after %d", i, created, l.heads, step.created, step.heads)
		}
	}
	remove(t, c, "k/a")
	l.heads = 0
	if created := write(t, c, partition.Entry{Key: "k/a"}); !created[0] || l.heads != 0 {
		t.Errorf("a deleted key: created %v after reading %d heads", created, l.heads)
	}
}

// TestWrittenKeysGiveWayToOtherWriters: writes of another process are seen, at the cost of a
// rejected commit, which is not repeated by every commit while the second process writes.
func TestWrittenKeysGiveWayToOtherWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := newListening(t)
		other := newCommitterOf(t, l.Reopen(), Options{})
		write(t, c, partition.Entry{Key: "k/a"}, partition.Entry{Key: "k/b"})
		for range 20 {
			remove(t, other, "k/a")
			if created := write(t, c, partition.Entry{Key: "k/a"}, partition.Entry{Key: "k/b"}); !created[0] || created[1] {
				t.Fatalf("created %v of a key that another has deleted, and one that stands", created)
			}
			time.Sleep(otherWriterPause / 10)
		}
		if l.refused > 3 {
			t.Errorf("%d of %d commits were refused in 2 s of writing in turns", l.refused, l.commits)
		}
		time.Sleep(otherWriterPause)
		l.heads = 0
		if write(t, c, partition.Entry{Key: "k/a"}); l.heads != 0 || l.after == 0 {
			t.Errorf("alone again, a Put read %d heads, and was to stand after %d", l.heads, l.after)
		}
	})
}

func TestWrittenKeysEndWithAnUnknownOutcome(t *testing.T) {
	c, l := newListening(t)
	write(t, c, partition.Entry{Key: "k/a"})
	l.Fail(func(op string) error {
		if op == memory.OpCommitted {
			return errors.New("cut off")
		}
		return nil
	})
	u := queued(t, c, &Request{Keys: []partition.Key{"k/b"}, entry: partition.Entry{Key: "k/b"}})
	c.commitQueued()
	if err := outcome(u); !errors.Is(err, partition.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	l.Fail(nil)
	l.refused = 0
	if created := write(t, c, partition.Entry{Key: "k/b"}, partition.Entry{Key: "k/a"}); created[0] || created[1] || l.refused != 0 {
		t.Errorf("created %v, %d refused", created, l.refused)
	}
}

// TestSecondTryReliesOnNothing: another process writes while a connection turns out to be
// dead.
func TestSecondTryReliesOnNothing(t *testing.T) {
	c, l := newListening(t)
	other := newCommitterOf(t, l.Reopen(), Options{})
	write(t, c, partition.Entry{Key: "k/a"})
	var tries atomic.Int32
	l.Fail(func(op string) error {
		if op != memory.OpCommit {
			return nil
		}
		if tries.Add(1) == 1 {
			remove(t, other, "k/a")
			return partition.ErrUnavailable
		}
		return nil
	})
	if created := write(t, c, partition.Entry{Key: "k/a"}); !created[0] || tries.Load() != 2 {
		t.Errorf("created %v at try %d", created, tries.Load())
	}
}

// TestWrittenKeysAreBounded writes more keys than are recorded: the oldest are dropped.
func TestWrittenKeysAreBounded(t *testing.T) {
	r := newWrittenKeys()
	most := 0
	for i := range 3 * writtenKeysBytes / writtenKeyOverhead {
		r.recordKey(partition.Key("k/"+fmt.Sprintf("%08d", i)), knownEntry{})
		most = max(most, len(r.newGen)+len(r.oldGen))
	}
	if most > 2*writtenKeysBytes/writtenKeyOverhead {
		t.Errorf("%d keys were held", most)
	}
	_, first := r.entry(partition.Key("k/" + "00000000"))
	if _, last := r.entry(partition.Key("k/" + fmt.Sprintf("%08d", 3*writtenKeysBytes/writtenKeyOverhead-1))); first || !last {
		t.Errorf("the first key is held: %v; the last: %v", first, last)
	}
}

// TestPutsAreExactBesideOtherWriters compares the results of Puts of two committers with
// the actual rows, in a random sequence of writes, deletions, expiries and lost answers.
func TestPutsAreExactBesideOtherWriters(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			first, l := newListening(t)
			cs := []*Committer{first, newCommitterOf(t, l.Reopen(), Options{})}
			c := cs[0]
			stands := make(map[partition.Key]partition.Instant) // expiry by key
			recalled := 0
			for range 400 {
				k := partition.Key("k/" + fmt.Sprint(random.IntN(12)))
				switch n := random.IntN(100); {
				case n < 4:
					c = cs[random.IntN(2)]
				case n < 10:
					time.Sleep(time.Duration(random.Int64N(int64(2 * otherWriterPause))))
				case n < 20:
					remove(t, c, k)
					delete(stands, k)
				case n < 23:
					l.Fail(func(op string) error {
						if op == memory.OpCommitted {
							return errors.New("cut off")
						}
						return nil
					})
					u := queued(t, first, &Request{Keys: []partition.Key{k}, entry: partition.Entry{Key: k}})
					first.commitQueued()
					if err := outcome(u); !errors.Is(err, partition.ErrOutcomeUnknown) {
						t.Fatal(err)
					}
					l.Fail(nil)
					stands[k] = 0
				default:
					var us []*Request
					for range 1 + random.IntN(4) {
						e := partition.Entry{Key: partition.Key("k/" + fmt.Sprint(random.IntN(12)))}
						if random.IntN(3) == 0 {
							e.ExpiresAt = partition.InstantOf(time.Now().Add(time.Duration(random.Int64N(int64(time.Second)))))
						}
						us = append(us, queued(t, c, &Request{Keys: []partition.Key{e.Key}, entry: e}))
					}
					c.commitQueued()
					for _, u := range us {
						if err := outcome(u); err != nil {
							t.Fatal(err)
						}
						k, now := u.Keys[0], u.entry.ModifiedAt
						expiry, stood := stands[k]
						if live := stood && (expiry == 0 || now < expiry); u.created == live {
							t.Fatalf("seed %d: a Put of %q said created %v where an entry stood: %v", seed, k, u.created, live)
						}
						stands[k] = u.entry.ExpiresAt
					}
					if c == first && l.after != 0 {
						recalled++
					}
				}
			}
			if recalled < 20 {
				t.Errorf("seed %d: only %d commits relied on what was recalled", seed, recalled)
			}
		})
	}
}
