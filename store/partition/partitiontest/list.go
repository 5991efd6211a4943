package partitiontest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var listChecks = []check{
	{"ListLeavesOutTombstonesAlone", checkListLeavesOut},
	{"ListKeepsToItsSpan", checkListSpan},
	{"ListPagesToItsEnd", checkListPages},
	{"ListStopsAtItsBytes", checkListBytes},
	{"ListGoesAcrossOrigins", checkListOrigins},
	{"UsageCountsItsOwnLiveEntries", checkUsage},
	{"PositionsHoldEveryOrigin", checkPositions},
}

func checkListLeavesOut(t *testing.T, s suite) {
	p := s.node(t, alpha)
	expired := put("k/b", "expired")
	expired.ExpiresAt = 1
	entries := []partition.Entry{put("k/a", "1"), expired, deletion("k/c"), put("k/d", "")}
	all := stamped(alpha, commit(t, p, entries...), entries...)
	want := []partition.Entry{all[0], all[1], all[3]}
	got, more, err := p.List(t.Context(), partition.Span{Limit: 10, Values: true})
	must(t, err)
	wantEntries(t, got, want)
	if more {
		t.Error("more may follow, though the span ran out before its limit")
	}
	got, _, err = p.List(t.Context(), partition.Span{Limit: 10})
	must(t, err)
	wantEntries(t, got, []partition.Entry{headOf(want[0]), headOf(want[1]), headOf(want[2])})
	for _, e := range got {
		if e.Value != nil {
			t.Errorf("the head of %q has a value", e.Key)
		}
	}
}

func checkListSpan(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for _, k := range []string{"a/1", "k", "k/", "k/1", "k/10", "k/2", "k0", "l/1"} {
		entries = append(entries, put(k, k))
	}
	commit(t, p, entries...)
	for _, c := range []struct {
		from, to partition.Key
		want     string
	}{
		{"", "", "a/1 k k/ k/1 k/10 k/2 k0 l/1"},
		{"k/", "k0", "k/ k/1 k/10 k/2"},
		{"k/1", "k/2", "k/1 k/10"},
		{"k/1", "k/1\x00", "k/1"},
		{"k/11", "", "k/2 k0 l/1"},
		{"", "k", "a/1"},
		{"k/1", "k/1", ""},
		{"l", "k", ""},
		{"m", "", ""},
	} {
		got, _, err := p.List(t.Context(), partition.Span{From: c.from, To: c.to, Limit: 100})
		must(t, err)
		if keys := keysOf(got); keys != c.want {
			t.Errorf("from %q to %q: %s, want %s", c.from, c.to, keys, c.want)
		}
	}
}

// keysOf joins the keys of entries with spaces.
func keysOf(entries []partition.Entry) string {
	var keys []string
	for _, e := range entries {
		keys = append(keys, string(e.Key))
	}
	return strings.Join(keys, " ")
}

func checkListPages(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i := range 60 {
		e := put(fmt.Sprintf("k/%02d", i), "v")
		if i%4 == 3 || i > 50 {
			e = deletion(string(e.Key)) // long runs of tombstones within a page
		}
		entries = append(entries, e)
	}
	all := stamped(alpha, commit(t, p, entries...), entries...)
	want := slices.DeleteFunc(all, func(e partition.Entry) bool { return e.Deleted })
	for _, limit := range []int{1, 2, 7, len(want) - 1, len(want), len(want) + 1} {
		wantEntries(t, pages(t, p, partition.Span{Limit: limit, Values: true}), want)
		wantEntries(t, pages(t, p, partition.Span{Limit: limit, Values: true, Bytes: 1}), want)
	}
}

// pages lists a span page by page.
func pages(t *testing.T, p partition.Partition, s partition.Span) []partition.Entry {
	t.Helper()
	var all []partition.Entry
	for range 1000 {
		entries, more, err := p.List(t.Context(), s)
		must(t, err)
		all = append(all, entries...)
		if len(entries) > s.Limit {
			t.Errorf("%d entries within a limit of %d", len(entries), s.Limit)
		}
		if !more {
			return all
		}
		if len(entries) == 0 {
			t.Fatal("an empty page says that more may follow")
		}
		s.From = entries[len(entries)-1].Key + "\x00"
	}
	t.Fatal("the list has no end")
	return nil
}

func checkListBytes(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i := range 5 {
		entries = append(entries, put(fmt.Sprintf("k/%d", i), strings.Repeat("v", 100)))
	}
	commit(t, p, entries...)
	for _, c := range []struct {
		values bool
		bytes  int64
		want   int
	}{{true, 1, 1}, {true, 100, 1}, {true, 101, 2}, {true, 250, 3}, {true, 499, 5}, {true, 0, 5}, {false, 1, 5}} {
		got, more, err := p.List(t.Context(), partition.Span{Limit: 10, Values: c.values, Bytes: c.bytes})
		must(t, err)
		if len(got) != c.want || (!more && c.want < 5) {
			t.Errorf("%d bytes: %d entries, more %t; want %d", c.bytes, len(got), more, c.want)
		}
	}
	big := strings.Repeat("v", int(min(5<<20, p.MaxValueBytes())))
	commit(t, p, put("k/0", big), put("k/1", big), put("k/2", big))
	got, _, err := p.List(t.Context(), partition.Span{Limit: 10, Values: true})
	must(t, err)
	if want := 2; len(big) == 5<<20 && len(got) != want {
		t.Errorf("a list of no given size holds %d values of 5 MiB, want %d", len(got), want)
	}
}

func checkListOrigins(t *testing.T, s suite) {
	p := s.node(t, alpha)
	commit(t, p, put("k/a", "1"), put("k/c", "1"))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 9, Goal: 9, SyncedAt: 1, Entries: []partition.Entry{at(put("k/b", "2"), beta, 5), at(put("k/d", "3"), beta, 9)}}))
	got, _, err := p.List(t.Context(), partition.Span{Limit: 10})
	must(t, err)
	if keys := keysOf(got); keys != "k/a k/b k/c k/d" {
		t.Errorf("the list is %s", keys)
	}
}

func checkUsage(t *testing.T, s suite) {
	p := s.node(t, alpha)
	expired, lives := put("k/b", "expired"), put("k/c", "333")
	expired.ExpiresAt, lives.ExpiresAt = 1, now(t, p).Add(time.Hour)
	claim := commit(t, p, put("j/z", "before"), put("k/a", "1"), expired, lives, deletion("k/d"), put("k/e", ""), put("k0", "after"))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 9, Goal: 9, Entries: []partition.Entry{at(put("k/f", "other"), beta, 9)}}))
	last := claim.First + 6
	for _, c := range []struct {
		span partition.Span
		want partition.Usage
	}{
		{partition.Span{From: "k/", To: "k0", Limit: 7}, partition.Usage{Keys: 3, Bytes: 4}},
		{partition.Span{From: "k/", To: "k0", Limit: 6}, partition.Usage{Keys: 3, Bytes: 4, Last: "k/f"}},
		{partition.Span{From: "k/", To: "k0", Limit: 2}, partition.Usage{Keys: 1, Bytes: 1, Last: "k/b"}},
		{partition.Span{From: "k/b\x00", To: "k0", Limit: 2}, partition.Usage{Keys: 1, Bytes: 3, Last: "k/d"}},
		{partition.Span{Limit: 100}, partition.Usage{Keys: 5, Bytes: 15}},
		{partition.Span{From: "x", Limit: 1}, partition.Usage{}},
	} {
		got, err := p.Usage(t.Context(), c.span)
		must(t, err)
		if c.want.Revision = last; got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.span, got, c.want)
		}
	}
	if _, err := p.Usage(t.Context(), partition.Span{}); err == nil {
		t.Error("a span without a limit is measured")
	}
}

func checkPositions(t *testing.T, s suite) {
	p := s.node(t, alpha)
	first := now(t, p)
	claim := commit(t, p, put("k/a", "1"))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 5, Goal: 8, SyncedAt: 3}))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 6, Goal: 6}))
	positions, err := p.open(t).Positions(t.Context())
	must(t, err)
	if claim.Now < first || positions.Now < claim.Now {
		t.Errorf("the clock went %d, %d, %d", first, claim.Now, positions.Now)
	}
	if own := positions.Origins[alpha]; own.Origin != alpha || own.Revision != claim.First || own.Goal > own.Revision {
		t.Errorf("its own row is %+v", own)
	}
	delete(positions.Origins, alpha)
	for _, want := range []partition.Position{
		{Origin: beta, Revision: 5, Goal: 8, SyncedAt: 3},
		{Origin: "gamma", Revision: 6, Goal: 6},
	} {
		if got := positions.Origins[want.Origin]; got != want {
			t.Errorf("position is %+v, want %+v", got, want)
		}
		delete(positions.Origins, want.Origin)
	}
	if len(positions.Origins) != 0 {
		t.Errorf("rows of no origin: %+v", positions.Origins)
	}
}
