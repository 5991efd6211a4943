package partitiontest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var writerChecks = []check{
	{"ReadersNeverMissAWrite", checkReadersMissNothing},
	{"SnapshotsShowCommitsWhole", checkCommitsWhole},
	{"WritersDecideOneAfterAnother", checkDecideSerialised},
	{"RolledBackClaimsLeaveNoGap", checkRollbacksLeaveNoGap},
}

const (
	writers          = 4
	commitsPerWriter = 40
)

// log holds the promises to writers and the findings of a reader. Its mutex guards all fields.
type log struct {
	mu       sync.Mutex
	promised map[partition.Revision]partition.Instant // → the clock after the acknowledgement
	found    map[partition.Revision]bool
	views    []partition.Position
}

// checkReadersMissNothing is invariant 1: readers that continue from their last position find each
// write, although writers on several handles race.
func checkReadersMissNothing(t *testing.T, s suite) {
	n := s.node(t, alpha)
	l := &log{promised: map[partition.Revision]partition.Instant{}}
	readers := []*log{{found: map[partition.Revision]bool{}}, {found: map[partition.Revision]bool{}}}
	done, finished := context.WithCancel(t.Context())
	var followers sync.WaitGroup
	for _, r := range readers {
		p := n.open(t)
		followers.Go(func() {
			if err := r.follow(t.Context(), p, done.Done()); err != nil {
				t.Error(err)
			}
		})
	}
	handles := []partition.Partition{n, n.open(t)}
	var write []func() error
	for w := range writers {
		write = append(write, func() error { return l.write(t.Context(), handles[w%2], w) })
	}
	together(t, write...)
	finished()
	followers.Wait()
	for _, r := range readers {
		r.compare(t, l)
	}
}

// write commits new keys and records the promised revisions.
func (l *log) write(ctx context.Context, p partition.Partition, writer int) error {
	for i := range commitsPerWriter {
		var entries []partition.Entry
		for j := range 1 + i%3 {
			entries = append(entries, put(fmt.Sprintf("k/%d/%d/%d", writer, i, j), "v"))
		}
		claim, err := p.Commit(ctx, batch(entries...))
		if err != nil {
			return err
		}
		positions, err := p.Positions(ctx)
		if err != nil {
			return err
		}
		if err := l.promise(claim.First, len(entries), positions.Now); err != nil {
			return err
		}
	}
	return nil
}

func (l *log) promise(first partition.Revision, n int, now partition.Instant) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		r := first + partition.Revision(i)
		if _, twice := l.promised[r]; twice {
			return fmt.Errorf("revision %d was given out twice", r)
		}
		l.promised[r] = now
	}
	return nil
}

// follow reads snapshots, each from the position of the previous, until a snapshot that was opened
// after done.
func (l *log) follow(ctx context.Context, p partition.Partition, done <-chan struct{}) error {
	var after partition.Revision
	for last := false; ; {
		select {
		case <-done:
			last = true
		default:
		}
		at, err := l.read(ctx, p, after)
		if err != nil || last {
			return err
		}
		after = at
	}
}

func (l *log) read(ctx context.Context, p partition.Partition, after partition.Revision) (partition.Revision, error) {
	s, err := p.Snapshot(ctx, alpha, after)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	entries, err := drain(ctx, s, 3)
	if err != nil {
		return 0, err
	}
	l.views = append(l.views, s.Position())
	for _, e := range entries {
		if e.Revision <= after || e.Revision > s.Position().Revision {
			return 0, fmt.Errorf("revision %d is not after %d and up to %d", e.Revision, after, s.Position().Revision)
		}
		after = e.Revision
		l.found[e.Revision] = true
	}
	return s.Position().Revision, nil
}

// compare fails the check for promises that the reader l has missed.
func (l *log) compare(t *testing.T, writers *log) {
	t.Helper()
	missed, late, highest := 0, 0, partition.Floor(epoch)
	for r, acknowledged := range writers.promised {
		highest = max(highest, r)
		if !l.found[r] {
			missed++
		}
		for _, v := range l.views {
			if v.SyncedAt > acknowledged && v.Revision < r {
				late++
			}
		}
	}
	if missed > 0 {
		t.Errorf("a reader of %d snapshots missed %d of %d writes for ever", len(l.views), missed, len(writers.promised))
	}
	if late > 0 {
		t.Errorf("%d times a snapshot did not hold what was acknowledged before its SyncedAt", late)
	}
	if len(l.found) != len(writers.promised)-missed {
		t.Errorf("a reader found %d revisions of %d promised", len(l.found), len(writers.promised))
	}
	if n := highest - partition.Floor(epoch); int(n) != len(writers.promised) {
		t.Errorf("%d revisions were given out, up to number %d", len(writers.promised), n)
	}
}

// checkCommitsWhole: each commit sets three keys to the same value, and readers must never see
// different values, at any moment of a stream.
func checkCommitsWhole(t *testing.T, s suite) {
	n := s.node(t, alpha)
	commit(t, n, put("k/a", "start"), put("k/b", "start"), put("k/c", "start"))
	done, finished := context.WithCancel(t.Context())
	reader := n.open(t)
	var readers sync.WaitGroup
	readers.Go(func() {
		for done.Err() == nil {
			if err := oneValue(t.Context(), reader); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var write []func() error
	for w, p := range []partition.Partition{n, n.open(t)} {
		write = append(write, func() error {
			for i := range commitsPerWriter {
				v := fmt.Sprint(w, i)
				if _, err := p.Commit(t.Context(), batch(put("k/c", v), put("k/a", v), put("k/b", v))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	together(t, write...)
	finished()
	readers.Wait()
}

// oneValue reads a snapshot and a get, each of which must show a single commit.
func oneValue(ctx context.Context, p partition.Partition) error {
	s, err := p.Snapshot(ctx, alpha, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	streamed, err := drain(ctx, s, 1)
	if err != nil {
		return err
	}
	got, err := p.Get(ctx, []partition.Key{"k/a", "k/b", "k/c"})
	if err != nil {
		return err
	}
	for _, entries := range [][]partition.Entry{streamed, got} {
		if len(entries) != 3 || string(entries[0].Value) != string(entries[1].Value) || string(entries[1].Value) != string(entries[2].Value) {
			return fmt.Errorf("part of a commit shows: %s", text(entries))
		}
	}
	if at := s.Position().Revision; at != streamed[2].Revision {
		return fmt.Errorf("a snapshot at %d ends with %d", at, streamed[2].Revision)
	}
	return nil
}

// checkDecideSerialised counts in a key from several handles.
func checkDecideSerialised(t *testing.T, s suite) {
	n := s.node(t, alpha)
	handles := []partition.Partition{n, n.open(t)}
	var count []func() error
	for w := range writers {
		count = append(count, func() error {
			for range commitsPerWriter / 2 {
				if _, err := handles[w%2].Commit(t.Context(), increment("k/n")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	together(t, count...)
	got := get(t, n, "k/n")
	if want := writers * commitsPerWriter / 2; len(got) != 1 || binary.BigEndian.Uint64(got[0].Value) != uint64(want) {
		t.Errorf("%d increments made %s", want, text(got))
	}
}

// increment returns a batch that adds 1 to the number in a key.
func increment(key string) partition.Batch {
	return partition.Batch{
		Epoch: epoch, Revisions: 1, Read: []partition.Key{partition.Key(key)},
		Decide: func(c partition.Claim) ([]partition.Entry, error) {
			var n uint64
			for _, e := range c.Current {
				n = binary.BigEndian.Uint64(e.Value)
			}
			value := binary.BigEndian.AppendUint64(nil, n+1)
			return []partition.Entry{at(put(key, string(value)), alpha, c.First)}, nil
		},
	}
}

// checkRollbacksLeaveNoGap mixes successful commits and commits with a failing Decide.
func checkRollbacksLeaveNoGap(t *testing.T, s suite) {
	n := s.node(t, alpha)
	refusal := errors.New("refused by the caller")
	l := &log{promised: map[partition.Revision]partition.Instant{}}
	var write []func() error
	for w, p := range []partition.Partition{n, n.open(t)} {
		write = append(write, func() error {
			for i := range commitsPerWriter / 2 {
				refused := batch()
				refused.Revisions = 5
				refused.Decide = func(partition.Claim) ([]partition.Entry, error) { return nil, refusal }
				if _, err := p.Commit(t.Context(), refused); err != refusal {
					return fmt.Errorf("a refused commit answered %w", err)
				}
				claim, err := p.Commit(t.Context(), batch(put(fmt.Sprintf("k/%d/%d", w, i), "v")))
				if err != nil {
					return err
				}
				if err := l.promise(claim.First, 1, claim.Now); err != nil {
					return err
				}
			}
			return nil
		})
	}
	together(t, write...)
	if got := position(t, n, alpha).Revision - partition.Floor(epoch); int(got) != len(l.promised) {
		t.Errorf("%d commits moved the counter to number %d", len(l.promised), got)
	}
}
