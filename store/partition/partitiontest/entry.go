package partitiontest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var entryChecks = []check{
	{"KeysOfAnyBytesSurvive", checkKeys},
	{"KeysOrderByTheirBytes", checkKeyOrder},
	{"ValuesOfAnyBytesSurvive", checkValues},
	{"LargestValuesSurvive", checkLargeValues},
	{"TooLargeValuesAreRefusedWhole", checkTooLarge},
	{"MetadataSurvives", checkMetadata},
	{"ContentTypesSurvive", checkContentTypes},
	{"ExpirySurvives", checkExpiry},
	{"TombstonesAreRead", checkTombstonesAreRead},
	{"ChecksumsAreKeptAsGiven", checkChecksumsKept},
	{"GetAnswersManyKeysAndRepeatedOnesOnce", checkGetMany},
	{"GetSmallLeavesOutLargeValuesAlone", checkGetSmall},
	{"SlicesAreNotKept", checkSlicesNotKept},
}

// awkwardKeys are keys that an encoding, a collation or careless SQL would confuse, reject or
// truncate.
func awkwardKeys() []partition.Key {
	keys := []partition.Key{
		"k/", "k/a", "k/a ", "k/a  ", " k/a", "k/A", "k/b", "k/ab", "k/a/b", "k/a/", "k/a\x00", "k/a\x00\x00", "k/a\x00b",
		"k/'", "k/''", `k/"`, "k/`", `k/\`, `k/\'`, "k/%", "k/_", "k/?", "k/;", "k/--", "k/*/", "k/$1", "k/:a", "k/@a",
		"k/'; DROP TABLE entries; --", "k/\r\n", "k/\t", "k/\x1a", "k/../..", "k//", "k/#", "k/NULL",
		"k/é", "k/e\u0301", "k/É", "k/ß", "k/SS", "k/ﬃ", "k/ı", "k/I", "k/i", "k/日本語", "k/😀", "k/\U0001F3F3\uFE0F\u200D\U0001F308",
		"k/\ufeff", "k/\u200b", "k/\uffff", "k/\U0010ffff", "k/\xff", "k/\xfe\xff", "k/\xc3", "k/\xc3\x28", "k/\xed\xa0\x80",
		partition.Key("k/" + strings.Repeat("x", 638)),
		partition.Key("k/" + strings.Repeat("x", 637)),
		partition.Key("k/" + strings.Repeat("x", 637) + "y"),
		partition.Key("k/" + strings.Repeat("\xff", 638)),
	}
	for b := range 256 {
		keys = append(keys, partition.Key([]byte{'b', '/', byte(b)}))
	}
	return keys
}

// awkward are entries of the awkward keys, each with its key as value.
func awkward() []partition.Entry {
	var entries []partition.Entry
	for _, k := range awkwardKeys() {
		entries = append(entries, put(string(k), "value of "+string(k)))
	}
	return entries
}

func checkKeys(t *testing.T, s suite) {
	master, replica := s.node(t, alpha), s.node(t, beta)
	claim := commit(t, master, awkward()...)
	want := stamped(alpha, claim, awkward()...)
	wantEntries(t, held(t, master, alpha), want)
	must(t, replica.Apply(t.Context(), partition.Copy{Origin: alpha, To: want[len(want)-1].Revision, Goal: want[len(want)-1].Revision, Entries: want}))
	for _, p := range []node{master, replica} {
		wantEntries(t, get(t, p, awkwardKeys()...), byKey(want))
		for _, e := range want {
			wantEntries(t, get(t, p, e.Key), []partition.Entry{e})
		}
	}
}

func checkKeyOrder(t *testing.T, s suite) {
	p := s.node(t, alpha)
	want := byKey(stamped(alpha, commit(t, p, awkward()...), awkward()...))
	got, _, err := p.List(t.Context(), partition.Span{Limit: len(want) + 1, Values: true})
	must(t, err)
	wantEntries(t, got, want)
	for i, e := range want[1:] {
		got, _, err := p.List(t.Context(), partition.Span{From: want[i].Key, To: e.Key, Limit: 3})
		must(t, err)
		if len(got) != 1 || got[0].Key != want[i].Key {
			t.Errorf("from %q to %q, the list is %s", want[i].Key, e.Key, text(got))
		}
	}
}

func checkValues(t *testing.T, s suite) {
	p := s.node(t, alpha)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var entries []partition.Entry
	for i, v := range []string{
		"", "\x00", "\x00\x00a\x00", string(all), strings.Repeat(string(all), 300), "'", `\`, "\xff\xfe", " a ", "%s?", "\r\n\x1a",
	} {
		entries = append(entries, put(fmt.Sprintf("k/%02d", i), v))
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	wantEntries(t, held(t, p, alpha), want)
	for _, e := range want {
		got := get(t, p, e.Key)
		wantEntries(t, got, []partition.Entry{e})
		if len(got) == 1 && !got[0].Intact() {
			t.Errorf("%q is not intact", e.Key)
		}
	}
}

func checkLargeValues(t *testing.T, s suite) {
	p := s.node(t, alpha)
	size := min(16<<20, p.MaxValueBytes())
	e := put("k/large", string(bytes.Repeat([]byte("\x00\xff'\\"), int(size/4+1))[:size]))
	want := stamped(alpha, commit(t, p, e), e)
	wantEntries(t, get(t, p, e.Key), want)
	wantEntries(t, held(t, p, alpha), want)
	got, _, err := p.List(t.Context(), partition.Span{Limit: 1})
	must(t, err)
	wantEntries(t, got, []partition.Entry{headOf(want[0])})
}

func checkTooLarge(t *testing.T, s suite) {
	p := s.node(t, alpha)
	if p.MaxValueBytes() > 32<<20 {
		t.Skipf("a value above %d MiB is too much for a test", p.MaxValueBytes()>>20)
	}
	large := put("k/large", strings.Repeat("x", int(p.MaxValueBytes()+1)))
	before := position(t, p, alpha)
	_, err := p.Commit(t.Context(), batch(put("k/small", "1"), large))
	wantError(t, err, partition.ErrTooLarge)
	copied := []partition.Entry{at(put("k/small", "1"), beta, 1), at(large, beta, 2)}
	wantError(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 2, Goal: 2, Entries: copied}), partition.ErrTooLarge)
	wantEntries(t, get(t, p, "k/small", "k/large"), nil)
	if after := position(t, p, alpha); after != before || position(t, p, beta).Revision != 0 {
		t.Errorf("refused entries moved a position: %+v, %+v", after, position(t, p, beta))
	}
}

func checkMetadata(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i, m := range []string{"", `{}`, `null`, `{"b": 1,  "a":"ü\u00fc'\\", "a":2}`, `"` + strings.Repeat("m", 2000) + `"`} {
		e := put(fmt.Sprintf("k/%d", i), "v")
		if m != "" {
			e.Metadata = []byte(m)
		}
		entries = append(entries, e)
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	wantEntries(t, held(t, p, alpha), want)
	wantEntries(t, get(t, p, "k/0", "k/1", "k/2", "k/3", "k/4"), want)

	empty := put("k/1", "v")
	empty.Metadata = []byte{}
	commit(t, p, empty)
	if got := get(t, p, "k/1"); len(got) != 1 || got[0].Metadata != nil {
		t.Errorf("empty metadata reads as %s, want none", text(got))
	}
}

func checkContentTypes(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i, c := range []string{"", "text/plain", "Text/Plain", "text/plain ", `text/plain; charset="utf-8"`, "application/" + strings.Repeat("x", 200)} {
		e := put(fmt.Sprintf("k/%d", i), "v")
		e.ContentType = c
		entries = append(entries, e)
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	wantEntries(t, held(t, p, alpha), want)
}

func checkExpiry(t *testing.T, s suite) {
	p := s.node(t, alpha)
	past, future := put("k/past", "1"), put("k/future", "2")
	past.ExpiresAt, future.ExpiresAt = 1, 253402300799999999
	want := stamped(alpha, commit(t, p, past, future), past, future)
	wantEntries(t, held(t, p, alpha), want)
	wantEntries(t, get(t, p, "k/past", "k/future"), byKey(want))
	never := put("k/past", "3")
	want = stamped(alpha, commit(t, p, never), never)
	wantEntries(t, get(t, p, "k/never", "k/past"), want)
}

func checkTombstonesAreRead(t *testing.T, s suite) {
	p := s.node(t, alpha)
	e := put("k/a", "1")
	e.Metadata, e.ExpiresAt = []byte(`{}`), 5
	commit(t, p, e)
	want := stamped(alpha, commit(t, p, deletion("k/a")), deletion("k/a"))
	wantEntries(t, get(t, p, "k/a"), want)
	wantEntries(t, held(t, p, alpha), want)
	again := stamped(alpha, commit(t, p, put("k/a", "2")), put("k/a", "2"))
	wantEntries(t, get(t, p, "k/a"), again)
}

func checkChecksumsKept(t *testing.T, s suite) {
	p := s.node(t, beta)
	var entries []partition.Entry
	for i, sum := range []uint64{0, 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		e := at(put(fmt.Sprintf("k/%d", i), "v"), alpha, partition.Revision(1+i))
		e.Checksum = sum
		entries = append(entries, e)
	}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 9, Goal: 9, Entries: entries}))
	wantEntries(t, held(t, p, alpha), entries)
}

func checkGetMany(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	var keys []partition.Key
	for i := range 3000 {
		e := put(fmt.Sprintf("k/%04d", i), fmt.Sprint(i))
		entries, keys = append(entries, e), append(keys, e.Key, e.Key+"?")
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	wantEntries(t, get(t, p, keys...), want)
	wantEntries(t, get(t, p), nil)
	wantEntries(t, get(t, p, "k/0001", "k/0001"), want[1:2])
}

// checkGetSmall reads values of all sizes around the bound, with few keys and
// with many, which may be different statements.
func checkGetSmall(t *testing.T, s suite) {
	p := s.node(t, alpha)
	const most = 1000
	entries := []partition.Entry{put("k/empty", ""), deletion("k/gone"), put("k/large", strings.Repeat("l", 100*most))}
	for i := range 300 {
		e := put(fmt.Sprintf("k/%03d", i), strings.Repeat("v", most-150+i))
		e.Metadata, e.ExpiresAt = []byte(`{"a":"1"}`), partition.Instant(i%2)
		entries = append(entries, e)
	}
	whole := stamped(alpha, commit(t, p, entries...), entries...)
	read := func(most int64, keys ...partition.Key) []partition.Entry {
		t.Helper()
		got, err := p.GetSmall(t.Context(), keys, most)
		must(t, err)
		return got
	}
	keys := []partition.Key{"k/none"}
	for _, e := range whole {
		keys = append(keys, e.Key, e.Key+"?")
	}
	for _, n := range []int64{most, most - 150, 0, 1 << 40} {
		var want []partition.Entry
		for _, e := range whole {
			if e.Size > n {
				e = headOf(e)
			}
			want = append(want, e)
			got := read(n, e.Key)
			wantEntries(t, got, []partition.Entry{e})
			if len(got) == 1 && (got[0].Value == nil) != (e.Size > n) {
				t.Errorf("up to %d bytes, the value of %q, %d bytes, is %v", n, e.Key, e.Size, got[0].Value)
			}
		}
		wantEntries(t, byKey(read(n, keys...)), byKey(want))
	}
	wantEntries(t, read(most), nil)
}

func checkSlicesNotKept(t *testing.T, s suite) {
	p := s.node(t, alpha)
	e := put("k/a", "1")
	e.Metadata = []byte(`{"a":1}`)
	b := batch(e)
	b.Write[0].Value, b.Write[0].Metadata = slices.Clone(e.Value), slices.Clone(e.Metadata)
	claim, err := p.Commit(t.Context(), b)
	must(t, err)
	if b.Write[0].Revision != 0 || b.Write[0].Origin != "" {
		t.Errorf("Commit changed its batch: %s", text(b.Write))
	}
	spoil(b.Write)
	want := stamped(alpha, claim, e)
	for range 2 {
		got := get(t, p, "k/a")
		wantEntries(t, got, want)
		spoil(got)
		listed, _, err := p.List(t.Context(), partition.Span{Limit: 1, Values: true})
		must(t, err)
		wantEntries(t, listed, want)
		spoil(listed)
		streamed := held(t, p, alpha)
		wantEntries(t, streamed, want)
		spoil(streamed)
	}
}

// spoil overwrites the bytes of entries.
func spoil(entries []partition.Entry) {
	for _, e := range entries {
		clear(e.Value)
		clear(e.Metadata)
	}
}
