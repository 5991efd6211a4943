package test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
	"github.com/runnelkv/runnel/test/runnel"
)

// contents is what every partition holds of every origin, read past every server.
type contents struct {
	cluster partition.Cluster
	copies  map[partition.Origin]map[string]holding // by origin and partition
}

// holding is what one partition holds of one origin, at one moment.
type holding struct {
	position partition.Position
	entries  map[partition.Key]partition.Entry
}

// readContents reads the partitions of a configuration directly. Of each origin
// it reads the origin itself last, so that what it returns can be judged
// while the sync process is at work: nobody may be ahead of the origin.
func readContents(t testing.TB, file string) contents {
	t.Helper()
	parts := openDirectly(t, file)
	defer closeDirectly(t, parts)
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
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	snap, err := p.Snapshot(ctx, origin, 0)
	if err != nil {
		t.Fatalf("read %s: %v", p.Name(), err)
	}
	defer snap.Close()
	h := holding{position: snap.Position(), entries: make(map[partition.Key]partition.Entry)}
	for {
		entries, err := snap.Next(ctx, 1000, 16<<20)
		for _, e := range entries {
			if _, twice := h.entries[e.Key]; twice {
				t.Fatalf("%s holds %q twice", p.Name(), e.Key)
			}
			h.entries[e.Key] = e
		}
		if errors.Is(err, io.EOF) {
			return h
		}
		if err != nil {
			t.Fatalf("read %s: %v", p.Name(), err)
		}
	}
}

// openDirectly opens the partitions of a configuration.
func openDirectly(t testing.TB, file string) (parts []partition.Partition) {
	t.Helper()
	c, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range c.Partitions {
		p, err := openSection(section)
		if err == nil {
			err = p.Prepare(t.Context())
		}
		if err != nil {
			t.Fatalf("open %s: %v", section.Name, err)
		}
		parts = append(parts, p)
	}
	return parts
}

func openSection(section config.Partition) (partition.Partition, error) {
	o, u := sqlengine.Options{Name: section.Name, Timeout: 30 * time.Second}, section.URL
	if u.Scheme == config.SQLite {
		return sqlite.Open(u.Path, o)
	}
	return mysql.Open(mysql.Config{
		Addr: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), User: u.User, Password: u.Password.Reveal(),
		Database: u.Database, Params: u.Params,
	}, o)
}

func closeDirectly(t testing.TB, parts []partition.Partition) {
	t.Helper()
	for _, p := range parts {
		if err := p.Close(); err != nil {
			t.Errorf("close %s: %v", p.Name(), err)
		}
	}
}

// misplaced says where positions and rows do not agree: invariants 1 and 2 of
// the design. It holds at any moment, also amid writes and passes.
func misplaced(all contents) (faults []string) {
	for origin, copies := range all.copies {
		own := copies[string(origin)]
		for name, h := range copies {
			where := fmt.Sprintf("%s of %s", name, origin)
			faults = append(faults, impossible(where, own.position, h)...)
			if name != string(origin) {
				faults = append(faults, lacking(where, own, h)...)
				faults = append(faults, unheardOf(where, own, h)...)
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// impossible finds what no copy of an origin at the position can hold.
func impossible(where string, own partition.Position, h holding) (faults []string) {
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

// lacking finds what the position promises and the rows do not hold.
func lacking(where string, own, h holding) (faults []string) {
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

// unheardOf finds entries that the origin does not have, or has otherwise.
func unheardOf(where string, own, h holding) (faults []string) {
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
			faults = append(faults, fmt.Sprintf("%s: %s differs from the origin's at revision %d: %s", where, key, e.Revision, difference(held, e)))
		}
	}
	return faults
}

// unequal says where copies are not byte-identical to their origin: invariant 7.
// A tombstone may be collected earlier in one place than in another.
func unequal(all contents) (faults []string) {
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
					faults = append(faults, fmt.Sprintf("%s: %s differs: %s", where, key, difference(held, e)))
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

func sameEntry(a, b partition.Entry) bool { return difference(a, b) == "" }

// difference names the columns in which entries differ.
func difference(a, b partition.Entry) string {
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
		if faults := unequal(all); len(faults) > 0 {
			return fmt.Errorf("%d differences, such as %s", len(faults), faults[0])
		}
		return nil
	})
	return all
}

// entry is what the key's master holds of it, nil if nothing, and the
// position that it has of itself.
func (all contents) entry(key string) (*partition.Entry, partition.Position) {
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

// count is how many entries all origins hold themselves.
func (all contents) count() (live, tombstones int) {
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
