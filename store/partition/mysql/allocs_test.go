package mysql

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

func textDB() *database {
	d := &database{origin: "partition-0", names: strings.NewReplacer("{p}", "", "{key}", "`key`")}
	d.packet.Store(64 << 20)
	d.statements()
	return d
}

func someBatch(n int) *sqlengine.Batch {
	b := &sqlengine.Batch{Batch: partition.Batch{Epoch: 1, Revisions: n, Unguarded: true}, HasGuards: true}
	for i := range n {
		b.Write = append(b.Write, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", i)), Origin: "partition-0", Revision: partition.Revision(i),
			ContentType: "text/plain", Value: make([]byte, 100)})
	}
	return b
}

// TestCommitTextTakesNoMemory: the text of a commit is built in place, for any number of entries.
func TestCommitTextTakesNoMemory(t *testing.T) {
	d, b := textDB(), someBatch(64)
	var text []byte
	allocs := testing.AllocsPerRun(100, func() {
		text = d.appendClaim(text[:0], b)
		text = appendUpsert(text, b.Write, &d.upsert, valueSource{from: fromServer})
	})
	if allocs > 6 { // the claim's arguments
		t.Errorf("the text of a commit takes %v allocations", allocs)
	}
}

// TestPlainRowsLeaveOutWhatIsNull: a row with metadata or an expiry needs all columns.
func TestPlainRowsLeaveOutWhatIsNull(t *testing.T) {
	d, b := textDB(), someBatch(3)
	plain := string(appendUpsert(nil, b.Write, &d.upsert, valueSource{}))
	if strings.Contains(plain, "VALUES(metadata)") || strings.Contains(plain, "expires_at,") {
		t.Errorf("NULLs are written out: %s", plain)
	}
	for name, change := range map[string]func(*partition.Entry){
		"metadata": func(e *partition.Entry) { e.Metadata = []byte("{}") }, "expiry": func(e *partition.Entry) { e.ExpiresAt = 7 },
	} {
		b := someBatch(3)
		change(&b.Write[2])
		if whole := string(appendUpsert(nil, b.Write, &d.upsert, valueSource{})); !strings.Contains(whole, "metadata, modified_at, expires_at") {
			t.Errorf("the %s of the last row is lost: %s", name, whole)
		}
	}
}

func TestRowsAreCopiedWithTwoAllocations(t *testing.T) {
	columns := []driver.Value{[]byte("k/some key of a usual length, or a little more"), []byte("partition-0"), int64(1 << 40), int64(0), []byte("text/plain"), nil,
		int64(1_700_000_000_000_000), nil, int64(77), int64(100), make([]byte, 100)}
	var shared sqlengine.SharedStrings
	var e partition.Entry
	allocs := testing.AllocsPerRun(100, func() { e = entryOf(&shared, columns, true) })
	if allocs > 2 { // the key and the value
		t.Errorf("a row takes %v allocations", allocs)
	}
	if e.Origin != "partition-0" || e.ContentType != "text/plain" || len(e.Value) != 100 || e.Revision != 1<<40 {
		t.Errorf("%+v", e)
	}
}

// TestBulkTakesPlainSmallRows: rows with columns that the prepared statement lacks, and rows that
// the driver would send alone, are left to other statements.
func TestBulkTakesPlainSmallRows(t *testing.T) {
	d := textDB()
	if got := strings.Count(d.bulkText, "?"); got != bulkRows*bulkColumns {
		t.Errorf("%d arguments", got)
	}
	for what, change := range map[string]func(*partition.Entry){
		"": func(*partition.Entry) {}, "metadata": func(e *partition.Entry) { e.Metadata = []byte("{}") }, "expiry": func(e *partition.Entry) { e.ExpiresAt = 7 },
		"a large value": func(e *partition.Entry) { e.Value = make([]byte, 64<<20/(bulkRows*bulkColumns+1)) },
	} {
		b := someBatch(bulkRows)
		change(&b.Write[bulkRows-1])
		if got := d.startsBulk(b.Write); got != (what == "") {
			t.Errorf("with %q: %v", what, got)
		}
	}
	if b := someBatch(bulkRows - 1); d.startsBulk(b.Write) {
		t.Error("too few rows")
	}
	b := someBatch(bulkRows)
	for i := range b.Write {
		b.Write[i].Value = make([]byte, 1000)
	}
	if d.startsBulk(b.Write) {
		t.Error("more than a chunk")
	}
}
