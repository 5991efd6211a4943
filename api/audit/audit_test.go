package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRecordIsALine(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, Options{})
	err := l.Record(Record{
		Time: time.Date(2026, 11, 29, 7, 0, 0, 5000, time.UTC), Act: Write, Request: "r-1", KeyID: "abc", KeyName: "billing", SAN: "spiffe://example.org/billing",
		Address: "192.0.2.7", Method: "PUT", Route: "/v1/keys/{key}", Name: "orders/1", Status: 201, Revision: 7, Bytes: 5,
	})
	want := `{"time":"2026-11-29T07:00:00.000005Z","act":"write","request":"r-1","key_id":"abc","key_name":"billing","san":"spiffe://example.org/billing","address":"192.0.2.7",` +
		`"method":"PUT","route":"/v1/keys/{key}","key":"\"orders/1\"","status":201,"revision":7,"bytes":5}` + "\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s, want\n%s", err, out.String(), want)
	}
}

// TestHostileNamesStayInTheirLine writes names with line ends, escape sequences and text of right-to-left order.
func TestHostileNamesStayInTheirLine(t *testing.T) {
	hostile := "a\nb\r\x1b[31m\u2028\u202e\u009b\xff\"}\\"
	var out bytes.Buffer
	if err := New(&out, Options{}).Record(Record{Act: Delete, KeyName: hostile, SAN: hostile, Method: hostile, Name: hostile}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
	for i, c := range out.Bytes()[:out.Len()-1] {
		if c < 0x20 || c > 0x7e {
			t.Errorf("byte %#x at %d", c, i)
		}
	}
	var back map[string]any
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["key"] != fmt.Sprintf("%+q", hostile) {
		t.Errorf("%v: %v", err, back["key"])
	}
}

func TestReadsAreRecordedOnWish(t *testing.T) {
	var none *Log
	for _, c := range []struct {
		log  *Log
		act  Act
		want bool
	}{
		{New(nil, Options{}), Read, false}, {New(nil, Options{}), Refuse, true}, {New(nil, Options{Reads: true}), Read, true}, {none, Write, false},
	} {
		if got := c.log.Wants(c.act); got != c.want {
			t.Errorf("Wants(%s) = %v", c.act, got)
		}
	}
	if none.Record(Record{}) != nil || none.Ready() != nil {
		t.Error("no log fails")
	}
}

// disk is a writer that can be full.
type disk struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("no space left on device")

func (d *disk) Write(b []byte) (int, error) {
	n := min(len(b), d.room)
	d.room -= n
	d.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

func TestFailureIsReportedUntilALineIsWritten(t *testing.T) {
	d := &disk{room: 10}
	l := New(d, Options{})
	if err := l.Record(Record{Act: Write}); !errors.Is(err, errFull) {
		t.Fatalf("full disk: %v", err)
	}
	if err := l.Ready(); !errors.Is(err, errFull) {
		t.Fatalf("ready on a full disk: %v", err)
	}
	d.room = 1000
	if err := l.Ready(); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(Record{Act: Admin}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(d.String(), "\n"), "\n")
	if last := lines[len(lines)-1]; !json.Valid([]byte(last)) || !strings.Contains(last, `"admin"`) {
		t.Errorf("the line after the failure is %q", last)
	}
}

// TestTornLineDoesNotSpoilTheNext lets a record follow a torn line without a Ready between them.
func TestTornLineDoesNotSpoilTheNext(t *testing.T) {
	d := &disk{room: 10}
	l := New(d, Options{})
	_ = l.Record(Record{Act: Write})
	d.room = 1000
	if err := l.Record(Record{Act: Admin}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(d.String(), "\n"); len(lines) != 3 || !json.Valid([]byte(lines[1])) {
		t.Errorf("lines %q", lines)
	}
}

func TestConcurrentRecordsAreWholeLines(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, Options{})
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for i := range 200 {
				if err := l.Record(Record{Act: Write, Revision: int64(i)}, Record{Act: Read}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3200 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Fatalf("line %q", line)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	l := New(discard{}, Options{})
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Record(Record{Time: time.Now(), Act: Write, Request: "r-1", KeyID: "abc", KeyName: "billing", Method: "PUT", Route: "/v1/keys/{key}", Name: "orders/1", Status: 201})
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
