package partitiontest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Join makes p the only master of a new cluster.
func Join(tb testing.TB, p partition.Partition) {
	tb.Helper()
	_, err := p.Join(tb.Context(), partition.Cluster{ID: "cluster", Epoch: 1, Masters: []string{p.Name()}, Slots: []uint16{0}})
	if err != nil {
		tb.Fatal(err)
	}
}

// Finish shuts out older binaries, and returns once the handle writes row checksums.
func Finish(tb testing.TB, p partition.Partition) {
	tb.Helper()
	err := p.Finish(tb.Context())
	for deadline := time.Now().Add(10 * time.Second); err == nil && !p.KnownSchema().HasRowChecksums(); {
		if _, err = p.Positions(tb.Context()); time.Now().After(deadline) {
			tb.Fatal("the schema is not read again")
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// OneWrite returns a batch that puts a key into a partition of Join.
func OneWrite(key partition.Key) partition.Batch {
	return partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: key, Checksum: partition.Checksum(nil)}}}
}

// Blind returns a batch of n puts of 100 bytes, without a decision. The keys repeat after 100,000.
func Blind(n, round int) partition.Batch {
	value := make([]byte, 100)
	b := partition.Batch{Epoch: 1, Revisions: n}
	for i := range n {
		b.Write = append(b.Write, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", (round*n+i)%100_000)),
			Revision: partition.Revision(i), ContentType: "text/plain", Checksum: partition.Checksum(value), Value: value})
	}
	return b
}

// GetAll reads the entries again, by their keys.
func GetAll(t *testing.T, p partition.Partition, of []partition.Entry) []partition.Entry {
	t.Helper()
	var keys []partition.Key
	for _, e := range of {
		keys = append(keys, e.Key)
	}
	got, err := p.Get(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// WantSame compares entries, in any order, and checks that their values are intact.
func WantSame(t *testing.T, what string, got, want []partition.Entry) {
	t.Helper()
	order := func(a, b partition.Entry) int { return strings.Compare(string(a.Key), string(b.Key)) }
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if len(got) != len(want) {
		t.Fatalf("%s: %d entries, want %d", what, len(got), len(want))
	}
	for i := range got {
		if g, w := fmt.Sprintf("%q", fmt.Sprint(got[i])), fmt.Sprintf("%q", fmt.Sprint(want[i])); g != w {
			t.Errorf("%s: got  %s\nwant %s", what, g, w)
		}
		if !got[i].Intact() {
			t.Errorf("%s: %q is damaged", what, got[i].Key)
		}
	}
}

// RequireError stops the test unless err is want.
func RequireError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// Exec runs a statement.
func Exec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Decided is Blind(n, 0) with a decision.
func Decided(n int) partition.Batch {
	b := Blind(n, 0)
	write := b.Write
	b.Write = nil
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		entries := slices.Clone(write)
		for i := range entries {
			entries[i].Revision += c.First
		}
		return entries, nil
	}
	return b
}

// Large is Blind(n, 0) with values that are too large to share a statement.
func Large(n int) partition.Batch {
	b := Blind(n, 0)
	for i := range b.Write {
		b.Write[i].Value = bytes.Repeat([]byte(`'\`), 50<<10)
		b.Write[i].Checksum = partition.Checksum(b.Write[i].Value)
	}
	return b
}

// Benchmark measures the main operations of a partition.
func Benchmark(b *testing.B, p partition.Partition) {
	Join(b, p)
	ctx := context.Background()
	b.Run("Commit64", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := p.Commit(ctx, Blind(64, i)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(64*b.N)/b.Elapsed().Seconds(), "writes/s")
	})
	keys := make([]partition.Key, 64)
	for i := range keys {
		keys[i] = partition.Key(fmt.Sprintf("k/%d", i))
	}
	b.Run("Get64", func(b *testing.B) {
		for b.Loop() {
			if got, err := p.Get(ctx, keys); err != nil || len(got) != len(keys) {
				b.Fatal(len(got), err)
			}
		}
		b.ReportMetric(float64(64*b.N)/b.Elapsed().Seconds(), "reads/s")
	})
	b.Run("Apply2000", func(b *testing.B) {
		c := partition.Copy{Origin: "z"}
		for i := 0; b.Loop(); i++ {
			c.From, c.To, c.Goal = partition.Revision(i*2000), partition.Revision((i+1)*2000), partition.Revision((i+1)*2000)
			c.Entries = Blind(2000, i).Write
			for j := range c.Entries {
				e := &c.Entries[j]
				e.Origin, e.Revision = "z", c.From+partition.Revision(j)+1
				e.Key = partition.Key(fmt.Sprintf("k/z/%d", e.Revision))
			}
			if err := p.Apply(ctx, c); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(2000*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
	b.Run("Get1", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if got, err := p.Get(ctx, keys[:1]); err != nil || len(got) != 1 {
					b.Fatal(len(got), err)
				}
			}
		})
	})
}
