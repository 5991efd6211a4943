package partitiontest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var checksumChecks = []check{
	{"RowChecksumsCoverEveryColumn", checkRowChecksums},
	{"RowChecksumsWaitForOlderBinaries", checkRowChecksumsWait},
}

// finished is node for tables that older binaries may not use.
func (s suite) finished(t *testing.T, name string) node {
	t.Helper()
	n := s.node(t, name)
	n.db.PlantSchema(t, partition.Schema{Version: current, OldestReader: current, OldestWriter: current})
	n.Partition = n.open(t)
	return n
}

// allShapes are entries that a partition may write by different statements.
func allShapes() []partition.Entry {
	rich := put("k/rich", "value")
	rich.Metadata, rich.ExpiresAt = []byte(`{"a":"1"}`), 253402300799999999
	return []partition.Entry{put("k/plain", "value"), put("k/empty", ""), deletion("k/gone"), rich,
		put("k/large", strings.Repeat("'\\", 100<<10)), put("k/"+strings.Repeat("x", 638), "long key")}
}

// checkRowChecksums commits the same entries in all ways.
func checkRowChecksums(t *testing.T, s suite) {
	p := s.finished(t, alpha)
	shapes := allShapes()
	for what, b := range map[string]partition.Batch{
		"blind puts": batch(shapes...),
		"one by one": batch(shapes[0]),
		"small rows": batch(shapes[0], shapes[1], shapes[3]),
		"after reading": func() partition.Batch {
			b := batch(shapes...)
			b.Read = []partition.Key{"k/plain", "k/none"}
			return b
		}(),
		"with gaps": func() partition.Batch {
			b := batch(shapes[0], shapes[3])
			b.Revisions, b.Write[0].Revision, b.Write[1].Revision = 10, 7, 2
			return b
		}(),
		"decided": {Epoch: epoch, Revisions: len(shapes), Decide: func(c partition.Claim) ([]partition.Entry, error) {
			entries := slices.Clone(shapes)
			for i := range entries {
				entries[i].Revision, entries[i].ModifiedAt = c.First+partition.Revision(i), c.Now
			}
			return entries, nil
		}},
	} {
		before := position(t, p, alpha).Revision
		_, err := p.Commit(t.Context(), b)
		must(t, err)
		written := slices.DeleteFunc(held(t, p, alpha), func(e partition.Entry) bool { return e.Revision <= before })
		if want := max(len(b.Write), 1); len(written) < want {
			t.Errorf("%s: %d rows, want %d", what, len(written), want)
		}
		for _, e := range written {
			wantCovered(t, what, e)
		}
	}
	target := s.finished(t, beta)
	all := held(t, p, alpha)
	to := all[len(all)-1].Revision
	must(t, target.Apply(t.Context(), partition.Copy{Origin: alpha, To: to, Goal: to, Entries: all}))
	wantEntries(t, held(t, target, alpha), all)
}

// wantCovered fails the check if an entry is not intact, or stays intact when a column changes.
func wantCovered(t *testing.T, what string, e partition.Entry) {
	t.Helper()
	if !e.Intact() || !e.HasRowChecksum() {
		t.Errorf("%s: %s is intact: %v, with a row checksum: %v", what, text([]partition.Entry{e}), e.Intact(), e.HasRowChecksum())
		return
	}
	for column, damage := range Damages() {
		d := e
		d.Value, d.Metadata = slices.Clone(e.Value), slices.Clone(e.Metadata)
		if damage(&d); d.Intact() {
			t.Errorf("%s: a change of the column %s is not noticed in %s", what, column, text([]partition.Entry{e}))
		}
	}
}

// Damages returns a change of each column.
func Damages() map[string]func(*partition.Entry) {
	return map[string]func(*partition.Entry){
		"key": func(e *partition.Entry) {
			e.Key = e.Key[:len(e.Key)-1] + partition.Key([]byte{e.Key[len(e.Key)-1] ^ 4})
		},
		"origin":       func(e *partition.Entry) { e.Origin = partition.Origin([]byte{e.Origin[0] ^ 1}) + e.Origin[1:] },
		"revision":     func(e *partition.Entry) { e.Revision ^= 1 << 7 },
		"deleted":      func(e *partition.Entry) { e.Deleted = !e.Deleted },
		"content_type": func(e *partition.Entry) { e.ContentType += " " },
		"metadata":     func(e *partition.Entry) { e.Metadata = append(e.Metadata, 'x') },
		"modified_at":  func(e *partition.Entry) { e.ModifiedAt ^= 1 << 40 },
		"expires_at":   func(e *partition.Entry) { e.ExpiresAt ^= 1 << 20 },
		"checksum":     func(e *partition.Entry) { e.Checksum ^= 1 << 33 },
		"size":         func(e *partition.Entry) { e.Size ^= 1 },
		"value":        func(e *partition.Entry) { e.Value = append(e.Value, 0); e.Size++ },
	}
}

// checkRowChecksumsWait: a binary of the schema before takes a row checksum for damage.
func checkRowChecksumsWait(t *testing.T, s suite) {
	p := s.node(t, alpha)
	want := stamped(alpha, commit(t, p, allShapes()...), allShapes()...)
	for i, e := range held(t, p, alpha) {
		if e.HasRowChecksum() || !e.Intact() || e.Checksum != want[i].Checksum {
			t.Errorf("%s has a row checksum while older binaries may read it", fmt.Sprint(e.Key))
		}
	}
}
