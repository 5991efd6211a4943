package partitiontest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var commitChecks = []check{
	{"ClaimsAreContiguous", checkClaimsContiguous},
	{"BlindWritesStandAtTheirOffsets", checkBlindWrites},
	{"ClaimShowsWhatStood", checkClaimCurrent},
	{"ClaimReadsManyKeys", checkClaimMany},
	{"DecideWritesWhatItReturns", checkDecideWrites},
	{"DecideAppendsKeysThatItHasNotRead", checkDecideAppends},
	{"DecideTakesThePlaceOfWrite", checkDecideReplacesWrite},
	{"DecideErrorRollsBackTheClaimToo", checkDecideError},
	{"CounterThatWasSetBackIsNotClaimed", checkAtLeast},
	{"StaleEpochWritesNothing", checkStaleEpoch},
	{"AfterOneClaimOnlyTheNext", checkAfter},
	{"OnlyAMasterCommits", checkOnlyMasters},
	{"LastWriteOfAKeyStands", checkOverwrite},
	{"LargeBatchesStandWhole", checkLargeBatches},
}

func checkClaimsContiguous(t *testing.T, s suite) {
	p := s.node(t, alpha)
	handles := []partition.Partition{p, p.open(t)}
	next := partition.Floor(epoch) + 1
	for i, n := range []int{1, 3, 1, 100, 2} {
		claim, err := handles[i%2].Commit(t.Context(), partition.Batch{Epoch: epoch, Revisions: n})
		must(t, err)
		if claim.First != next {
			t.Errorf("claim %d begins at %d, want %d", i, claim.First, next)
		}
		next += partition.Revision(n)
		if got := position(t, p, alpha).Revision; got != next-1 {
			t.Errorf("the counter is at %d, want %d", got, next-1)
		}
		if got, err := p.Counter(t.Context()); err != nil || got != next-1 {
			t.Errorf("Counter is %d, %v, want %d", got, err, next-1)
		}
	}
	if got, err := s.node(t, beta).Counter(t.Context()); err != nil || got != 0 {
		t.Errorf("Counter of a replica is %d, %v", got, err)
	}
}

func checkBlindWrites(t *testing.T, s suite) {
	p := s.node(t, alpha)
	before := now(t, p)
	first, last := put("k/first", "1"), put("k/last", "2")
	first.Revision, last.Revision, last.ModifiedAt = 4, 0, 12345
	claim, err := p.Commit(t.Context(), partition.Batch{Epoch: epoch, Revisions: 5, Write: []partition.Entry{first, last}})
	must(t, err)
	if len(claim.Current) != 0 {
		t.Errorf("a blind batch read %s", text(claim.Current))
	}
	if after := now(t, p); claim.Now < before || claim.Now > after {
		t.Errorf("the claim's clock is %d, not between %d and %d", claim.Now, before, after)
	}
	first.Revision, last.Revision = claim.First+4, claim.First
	first.Origin, first.ModifiedAt, last.Origin, last.ModifiedAt = alpha, claim.Now, alpha, claim.Now
	wantEntries(t, held(t, p, alpha), []partition.Entry{last, first})
}

func checkClaimCurrent(t *testing.T, s suite) {
	p := s.node(t, alpha)
	expired := put("k/expired", "old")
	expired.ExpiresAt, expired.Metadata = 1, []byte(`{"a":1}`)
	stood := []partition.Entry{expired, deletion("k/gone"), put("k/live", "1"), put("k/head", "22"), put("k/other", "3")}
	want := stamped(alpha, commit(t, p, stood...), stood...)[:4]
	want[3] = headOf(want[3])
	b := batch(put("k/live", "2"), put("k/absent", "2"))
	b.Read = []partition.Key{"k/live", "k/gone", "k/absent", "k/expired"}
	b.Heads = []partition.Key{"k/head", "k/missing"}
	claim, err := p.Commit(t.Context(), b)
	must(t, err)
	wantEntries(t, byKey(claim.Current), byKey(want))

	b.Write = nil
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		claim = c
		return nil, nil
	}
	answer, err := p.Commit(t.Context(), b)
	must(t, err)
	if answer.First != claim.First || answer.Now != claim.Now || answer.First == 0 {
		t.Errorf("Decide saw %d at %d, the answer says %d at %d", claim.First, claim.Now, answer.First, answer.Now)
	}
	wantEntries(t, byKey(answer.Current), byKey(claim.Current))
	if keys := keysOf(byKey(claim.Current)); keys != "k/absent k/expired k/gone k/head k/live" {
		t.Errorf("Decide saw %s", keys)
	}
	for _, e := range claim.Current {
		if (e.Key == "k/head") != (len(e.Value) == 0 && e.Size > 0) {
			t.Errorf("%q was read as %s", e.Key, text([]partition.Entry{e}))
		}
	}
}

func checkClaimMany(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	b := batch()
	for i := range 2500 {
		e := put(fmt.Sprintf("k/%04d", i), fmt.Sprint(i))
		entries = append(entries, e)
		if i < 1500 {
			b.Read = append(b.Read, e.Key)
		} else {
			b.Heads = append(b.Heads, e.Key)
		}
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	for i := 1500; i < len(want); i++ {
		want[i] = headOf(want[i])
	}
	claim, err := p.Commit(t.Context(), b)
	must(t, err)
	wantEntries(t, byKey(claim.Current), want)
}

func checkDecideWrites(t *testing.T, s suite) {
	p := s.node(t, alpha)
	b := partition.Batch{Epoch: epoch, Revisions: 4}
	var want []partition.Entry
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		want = []partition.Entry{at(put("k/a", "1"), alpha, c.First+1), at(deletion("k/b"), alpha, c.First+3)}
		want[0].ModifiedAt, want[1].ModifiedAt = c.Now, 17
		returned := []partition.Entry{want[1], want[0]}
		returned[0].Origin = ""
		return returned, nil
	}
	claim, err := p.Commit(t.Context(), b)
	must(t, err)
	wantEntries(t, held(t, p, alpha), want)
	if got := position(t, p, alpha).Revision; got != claim.First+3 {
		t.Errorf("the counter is at %d, want %d", got, claim.First+3)
	}
}

// checkDecideAppends writes keys that are made of their revisions, beside a key that is read, in turns from two handles.
func checkDecideAppends(t *testing.T, s suite) {
	p := s.node(t, alpha)
	handles := []partition.Partition{p, p.open(t)}
	const rounds, appended = 6, 3
	for i := range rounds {
		b := partition.Batch{Epoch: epoch, Revisions: 1 + appended, Read: []partition.Key{"k/account"}}
		b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
			if len(c.Current) != min(i, 1) {
				t.Errorf("round %d read %s", i, text(c.Current))
			}
			written := []partition.Entry{at(put("k/account", fmt.Sprint(i)), alpha, c.First)}
			for j := range appended {
				r := c.First + 1 + partition.Revision(j)
				written = append(written, at(put(fmt.Sprintf("k/history/%016x", ^uint64(r)), fmt.Sprint(i, j)), alpha, r))
			}
			return written, nil
		}
		_, err := handles[i%2].Commit(t.Context(), b)
		must(t, err)
	}
	got, _, err := p.List(t.Context(), partition.Span{From: "k/history/", To: "k/history0", Limit: 100, Values: true})
	must(t, err)
	if len(got) != rounds*appended {
		t.Fatalf("%d keys were appended: %s", len(got), text(got))
	}
	for i, e := range got {
		n := len(got) - 1 - i // the newest comes first
		if want := fmt.Sprint(n/appended, n%appended); string(e.Value) != want {
			t.Errorf("key %d is %s, want the value %s", i, text(got[i:i+1]), want)
		}
	}
}

func checkDecideReplacesWrite(t *testing.T, s suite) {
	p := s.node(t, alpha)
	b := batch(put("k/blind", "1"))
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		return []partition.Entry{at(put("k/decided", "1"), alpha, c.First)}, nil
	}
	_, err := p.Commit(t.Context(), b)
	must(t, err)
	if keys := keysOf(held(t, p, alpha)); keys != "k/decided" {
		t.Errorf("%s stands", keys)
	}
}

func checkDecideError(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	before := position(t, p, alpha)
	refusal := errors.New("refused by the caller")
	b := batch(put("k/a", "2"))
	b.Revisions = 10
	b.Decide = func(partition.Claim) ([]partition.Entry, error) { return b.Write, refusal }
	if _, err := p.Commit(t.Context(), b); err != refusal {
		t.Errorf("Commit answered %v, want the error of Decide as it is", err)
	}
	wantEntries(t, held(t, p, alpha), stamped(alpha, claim, put("k/a", "1")))
	if after := position(t, p, alpha); after != before {
		t.Errorf("the position went from %+v to %+v", before, after)
	}
	if next := commit(t, p.open(t), put("k/b", "1")); next.First != claim.First+1 {
		t.Errorf("the next claim begins at %d, want %d", next.First, claim.First+1)
	}
}

func checkStaleEpoch(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	before := position(t, p, alpha)
	for _, e := range []int64{0, epoch - 1, epoch + 1} {
		b := batch(put("k/a", "2"), put("k/b", "2"))
		b.Epoch = e
		_, err := p.Commit(t.Context(), b)
		wantError(t, err, partition.ErrStaleEpoch)
		b.Read = []partition.Key{"k/a"}
		b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
			return []partition.Entry{at(put("k/b", "3"), alpha, c.First)}, nil
		}
		_, err = p.Commit(t.Context(), b)
		wantError(t, err, partition.ErrStaleEpoch)
	}
	wantEntries(t, held(t, p, alpha), stamped(alpha, claim, put("k/a", "1")))
	if after := position(t, p, alpha); after != before {
		t.Errorf("the position went from %+v to %+v", before, after)
	}
}

// checkAfter: a batch with After fails, in each way of writing, if revisions have been claimed
// since.
func checkAfter(t *testing.T, s suite) {
	p := s.node(t, alpha)
	other := p.open(t)
	decide := func(value string) partition.Batch {
		return partition.Batch{Epoch: epoch, Revisions: 1, Decide: func(c partition.Claim) ([]partition.Entry, error) {
			return []partition.Entry{at(put("k/decided", value), alpha, c.First)}, nil
		}}
	}
	asks := batch(put("k/asked", "1"))
	asks.Heads = []partition.Key{"k/a"}
	last := commit(t, p, put("k/a", "1")).First
	for i, b := range []partition.Batch{batch(put("k/b", "1"), put("k/c", "1")), asks, decide("1")} {
		b.After = last
		claim, err := p.Commit(t.Context(), b)
		must(t, err)
		if claim.First != last+1 {
			t.Fatalf("batch %d: the claim begins at %d after %d", i, claim.First, last)
		}
		last += partition.Revision(b.Revisions)
	}
	theirs := commit(t, other, put("k/b", "theirs")).First
	stood, before := held(t, p, alpha), position(t, p, alpha)
	asks.Write = []partition.Entry{put("k/asked", "2")}
	for _, after := range []partition.Revision{last, last - 1, theirs + 1, partition.Floor(epoch + 1), 1} {
		for _, b := range []partition.Batch{batch(put("k/b", "2"), put("k/d", "2")), asks, decide("2")} {
			b.After = after
			_, err := p.Commit(t.Context(), b)
			wantError(t, err, partition.ErrPositionMoved)
		}
	}
	wantEntries(t, held(t, p, alpha), stood)
	if at := position(t, p, alpha); at != before {
		t.Errorf("the position went from %+v to %+v", before, at)
	}
	b := batch(put("k/b", "3"))
	b.After = theirs
	_, err := p.Commit(t.Context(), b)
	must(t, err)
	b.Epoch++
	b.After++
	_, err = p.Commit(t.Context(), b)
	if !errors.Is(err, partition.ErrPositionMoved) && !errors.Is(err, partition.ErrStaleEpoch) {
		t.Errorf("a batch of another epoch got %v", err)
	}
}

func checkOnlyMasters(t *testing.T, s suite) {
	for _, p := range []node{s.node(t, beta), s.fresh(t, alpha)} {
		_, err := p.Commit(t.Context(), batch(put("k/a", "1")))
		wantError(t, err, partition.ErrStaleEpoch)
		wantEntries(t, get(t, p, "k/a"), nil)
		if got := position(t, p, partition.Origin(p.Name())); got.Revision != 0 {
			t.Errorf("a refused commit made the position %+v", got)
		}
	}
}

func checkOverwrite(t *testing.T, s suite) {
	p := s.node(t, alpha)
	full := put("k/a", "a long first value")
	full.Metadata, full.ExpiresAt = []byte(`{"a":1}`), 99
	bare := partition.Entry{Key: "k/a", Checksum: partition.Checksum(nil), Value: []byte{}}
	for _, e := range []partition.Entry{full, bare, deletion("k/a"), full, put("k/a", "2"), deletion("k/a"), deletion("k/a"), bare} {
		want := stamped(alpha, commit(t, p, e), e)
		wantEntries(t, get(t, p, "k/a"), want)
		wantEntries(t, held(t, p, alpha), want)
	}
}

func checkLargeBatches(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i := range 6000 { // more than the placeholders of a statement
		entries = append(entries, put(fmt.Sprintf("k/%04d", i), fmt.Sprint("value ", i)))
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	wantEntries(t, held(t, p, alpha), want)
	replica := s.node(t, beta)
	to := want[len(want)-1].Revision
	must(t, replica.Apply(t.Context(), partition.Copy{Origin: alpha, To: to, Goal: to, Entries: want}))
	wantEntries(t, held(t, replica, alpha), want)
}

// checkAtLeast claims on a counter that is known to have been higher.
func checkAtLeast(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	for _, b := range []partition.Batch{batch(put("k/a", "2")), batch(deletion("k/a"))} {
		b.AtLeast = claim.First + 1
		_, err := p.Commit(t.Context(), b)
		wantError(t, err, partition.ErrStaleEpoch)
		b.After = claim.First
		_, err = p.Commit(t.Context(), b)
		wantError(t, err, partition.ErrPositionMoved)
		b.Write, b.After = nil, 0
		b.Decide = func(partition.Claim) ([]partition.Entry, error) {
			t.Error("a decision was asked for")
			return nil, nil
		}
		_, err = p.Commit(t.Context(), b)
		wantError(t, err, partition.ErrStaleEpoch)
	}
	wantEntries(t, held(t, p, alpha), stamped(alpha, claim, put("k/a", "1")))
	b := batch(put("k/a", "3"))
	b.AtLeast = claim.First
	next, err := p.Commit(t.Context(), b)
	must(t, err)
	if next.First != claim.First+1 {
		t.Errorf("claimed %d after %d", next.First, claim.First)
	}
}
