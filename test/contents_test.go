package test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
)

// contents is the state of all partitions, read directly from the databases.
type contents struct {
	cluster partition.Cluster
	copies  map[partition.Origin]map[string]holding // by origin and partition
}

// holding is the state of an origin in a partition at a moment.
type holding struct {
	position partition.Position
	entries  map[partition.Key]partition.Entry
}

// readContents reads the partitions of a configuration directly. Each origin is read last in its own partition.
// The result can therefore be checked while sync runs: no copy may be ahead of its origin.
func readContents(t testing.TB, file string) contents {
	t.Helper()
	parts := runnel.OpenPartitions(t, file)
	defer runnel.ClosePartitions(t, parts)
	all := contents{copies: make(map[partition.Origin]map[string]holding)}
	var err error
	if all.cluster, err = parts[0].Cluster(t.Context()); err != nil {
		t.Fatalf("cluster of %s: %v", parts[0].Name(), err)
	}
	for _, name := range all.cluster.Masters {
		origin := partition.Origin(name)
		all.copies[origin] = make(map[string]holding)
		slices.SortStableFunc(parts, func(a, b partition.Partition) int {
			return cmp.Compare(boolInt(a.Name() == name), boolInt(b.Name() == name))
		})
		for _, p := range parts {
			all.copies[origin][p.Name()] = readHolding(t, p, origin)
		}
	}
	return all
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func readHolding(t testing.TB, p partition.Partition, origin partition.Origin) holding {
	t.Helper()
	position, entries := runnel.ReadEntries(t, p, origin)
	return holding{position, entries}
}

// inconsistencies returns the contradictions between positions and rows, by invariants 1 and 2 of
// docs/guarantees.md. The invariants hold at any moment, also during writes and passes.
func inconsistencies(all contents) (faults []string) {
	for origin, copies := range all.copies {
		own := copies[string(origin)]
		for name, h := range copies {
			where := fmt.Sprintf("%s of %s", name, origin)
			faults = append(faults, impossibleEntries(where, own.position, h)...)
			if name != string(origin) {
				faults = append(faults, missingEntries(where, own, h)...)
				faults = append(faults, inventedEntries(where, own, h)...)
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// impossibleEntries returns the rows that no copy can have, given the origin's position.
func impossibleEntries(where string, own partition.Position, h holding) (faults []string) {
	if h.position.Revision > own.Revision {
		faults = append(faults, fmt.Sprintf("%s: the position %d is beyond the origin's counter %d", where, h.position.Revision, own.Revision))
	}
	taken := make(map[partition.Revision]partition.Key)
	for key, e := range h.entries {
		if e.Revision > own.Revision {
			faults = append(faults, fmt.Sprintf("%s: %s has revision %d, above the origin's counter %d", where, key, e.Revision, own.Revision))
		}
		if other, twice := taken[e.Revision]; twice {
			faults = append(faults, fmt.Sprintf("%s: revision %d was given to %s and %s", where, e.Revision, key, other))
		}
		if !e.Intact() {
			faults = append(faults, fmt.Sprintf("%s: the value of %s does not match its checksum", where, key))
		}
		taken[e.Revision] = key
	}
	return faults
}

// missingEntries returns the rows that the copy lacks although its position covers them.
func missingEntries(where string, own, h holding) (faults []string) {
	for key, e := range own.entries {
		if e.Revision > h.position.Revision || e.Deleted && e.Revision <= h.position.Collected {
			continue
		}
		if held, ok := h.entries[key]; !ok {
			faults = append(faults, fmt.Sprintf("%s: lacks %s, revision %d, though its position is %d", where, key, e.Revision, h.position.Revision))
		} else if held.Revision < e.Revision {
			faults = append(faults, fmt.Sprintf("%s: holds revision %d of %s instead of %d, though its position is %d", where, held.Revision, key, e.Revision, h.position.Revision))
		}
	}
	return faults
}

// inventedEntries returns the rows that the origin lacks or has with different content.
func inventedEntries(where string, own, h holding) (faults []string) {
	for key, held := range h.entries {
		e, ok := own.entries[key]
		switch {
		case !ok && held.Revision <= own.position.Collected && (held.Deleted || h.position.Revision < own.position.Collected):
			// The tombstone was collected at the origin already.
		case !ok:
			faults = append(faults, fmt.Sprintf("%s: holds %s, revision %d, which the origin does not", where, key, held.Revision))
		case held.Revision > e.Revision:
			faults = append(faults, fmt.Sprintf("%s: holds revision %d of %s, the origin only %d", where, held.Revision, key, e.Revision))
		case held.Revision == e.Revision && !sameEntry(held, e):
			faults = append(faults, fmt.Sprintf("%s: %s differs from the origin's at revision %d: %s", where, key, e.Revision, differingColumns(held, e)))
		}
	}
	return faults
}

// inequalities returns the differences between copies and their origins, which must be byte-identical when level
// (invariant 7). Tombstones may be collected at different times.
func inequalities(all contents) (faults []string) {
	for origin, copies := range all.copies {
		own := copies[string(origin)]
		for name, h := range copies {
			where := fmt.Sprintf("%s of %s", name, origin)
			if h.position.Revision != own.position.Revision {
				faults = append(faults, fmt.Sprintf("%s: is at %d, not at %d", where, h.position.Revision, own.position.Revision))
			}
			for key := range union(h.entries, own.entries) {
				held, ok := h.entries[key]
				e, exists := own.entries[key]
				switch {
				case ok && exists && !sameEntry(held, e):
					faults = append(faults, fmt.Sprintf("%s: %s differs: %s", where, key, differingColumns(held, e)))
				case !ok && !(e.Deleted && e.Revision <= h.position.Collected):
					faults = append(faults, fmt.Sprintf("%s: %s is missing", where, key))
				case !exists && !(held.Deleted && held.Revision <= own.position.Collected):
					faults = append(faults, fmt.Sprintf("%s: %s is not at the origin", where, key))
				}
			}
		}
	}
	slices.Sort(faults)
	return faults
}

func union[K comparable, V any](a, b map[K]V) map[K]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func sameEntry(a, b partition.Entry) bool { return differingColumns(a, b) == "" }

// differingColumns names the columns in which entries differ.
func differingColumns(a, b partition.Entry) string {
	var columns []string
	for column, same := range map[string]bool{
		"key":          a.Key == b.Key,
		"origin":       a.Origin == b.Origin,
		"revision":     a.Revision == b.Revision,
		"deleted":      a.Deleted == b.Deleted,
		"content_type": a.ContentType == b.ContentType,
		"metadata":     bytes.Equal(a.Metadata, b.Metadata) && (a.Metadata == nil) == (b.Metadata == nil),
		"modified_at":  a.ModifiedAt == b.ModifiedAt,
		"expires_at":   a.ExpiresAt == b.ExpiresAt,
		"size":         a.Size == b.Size,
		"checksum":     a.Checksum == b.Checksum,
		"value":        bytes.Equal(a.Value, b.Value),
	} {
		if !same {
			columns = append(columns, column)
		}
	}
	slices.Sort(columns)
	return strings.Join(columns, ", ")
}

// awaitEqual waits until the partitions of a configuration are byte-identical.
func awaitEqual(t testing.TB, file string) contents {
	t.Helper()
	var all contents
	runnel.Eventually(t, 2*time.Minute, "equal contents", func() error {
		all = readContents(t, file)
		if faults := inequalities(all); len(faults) > 0 {
			return fmt.Errorf("%d differences, such as %s", len(faults), faults[0])
		}
		return nil
	})
	return all
}

// masterEntry returns the entry in the key's master, or nil, and the master's own position.
func (all contents) masterEntry(key string) (*partition.Entry, partition.Position) {
	k := partition.Key("k/" + key)
	own := all.copies[all.master(k)][string(all.master(k))]
	if e, ok := own.entries[k]; ok {
		return &e, own.position
	}
	return nil, own.position
}

func (all contents) master(k partition.Key) partition.Origin {
	return partition.Origin(all.cluster.Masters[all.cluster.Slots[store.SlotOf(k)]])
}

// countEntries counts the entries that the masters hold.
func (all contents) countEntries() (live, tombstones int) {
	for origin, copies := range all.copies {
		for _, e := range copies[string(origin)].entries {
			if e.Deleted {
				tombstones++
			} else {
				live++
			}
		}
	}
	return live, tombstones
}
