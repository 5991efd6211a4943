package transfer

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func TestCheckpointHoldsWhatIsDoneInAnyOrder(t *testing.T) {
	c := &checkpoint{now: time.Now}
	if err := c.restore(); err != nil {
		t.Fatal(err)
	}
	marks := make([]position, 8)
	for i := range marks {
		marks[i] = position{seq: int64(i + 1), Line: int64(i + 1)}
		c.noteStarted(marks[i])
	}
	steps := []struct {
		done, fail int
		want       int64
	}{{done: 2, want: 0}, {done: 1, want: 2}, {fail: 7, want: 2}, {done: 8, want: 2}, {done: 4, want: 2}, {done: 3, want: 4}, {fail: 6, want: 4}, {done: 5, want: 5}}
	for _, s := range steps {
		if s.done > 0 {
			if err := c.noteStored(marks[s.done-1]); err != nil {
				t.Fatal(err)
			}
		} else {
			c.noteFailed(marks[s.fail-1])
		}
		if got := c.resumeAt().Line; got != s.want {
			t.Errorf("after %+v: at %d", s, got)
		}
	}
	if len(c.open)+len(c.ended) > 0 {
		t.Errorf("kept: %v, %v", c.open, slices.Collect(maps.Keys(c.ended)))
	}
}

func TestLineReaderKnowsWhereItIs(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	l := newLineReader(strings.NewReader("a\n\n"+long+"\nend"), 100, 7)
	for _, want := range []struct {
		text   string
		offset int64
	}{{"a", 102}, {"", 103}, {long, 200_104}, {"end", 200_107}} {
		got, err := l.readLine()
		if err != nil || string(got) != want.text || l.offset != want.offset {
			t.Fatalf("%d bytes up to %d, %v; want %d up to %d", len(got), l.offset, err, len(want.text), want.offset)
		}
	}
	if _, err := l.readLine(); err != io.EOF || l.line != 11 {
		t.Errorf("%v at line %d", err, l.line)
	}
}

// heavyItems are n items that hold more memory than a transfer may.
type heavyItems int

func (heavyItems) total() (int64, string) { return -1, console.UnitEntries }

func (n heavyItems) items(context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for i := range int64(n) {
			load := func() (loaded, error) { return loaded{key: strconv.FormatInt(i, 10), inline: []byte{}}, nil }
			if !yield(item{load: load, weight: 2 * transferBytes, after: position{seq: i + 1}}, nil) {
				return
			}
		}
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTransferTakesItemsThatFillItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int64
		c, err := client.New("http://127.0.0.1:8080", client.Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(time.Second) // in the bubble: lets others begin, if they may
			under.Add(-1)
			return &http.Response{StatusCode: 201, Header: http.Header{"Runnel-Revision": {"1"}}, Body: http.NoBody}, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		cp := &checkpoint{now: time.Now}
		if err := cp.restore(); err != nil {
			t.Fatal(err)
		}
		tr := &transfer{c: c, o: ImportOptions{Parallel: 4}, streams: &console.Streams{Now: time.Now}, checkpoint: cp, progress: &console.Progress{}}
		if err := tr.storeItems(t.Context(), heavyItems(5)); err != nil {
			t.Fatal(err)
		}
		if tr.stored != 5 || most.Load() != 1 {
			t.Errorf("stored %d of 5, %d at a time; want 1 at a time", tr.stored, most.Load())
		}
	})
}

func TestComparePathsIsTheOrderOfTheWalk(t *testing.T) {
	tree := fstest.MapFS{}
	for _, name := range []string{"a/b", "a.x/c", "a-", "a0", "a/b.c/d", "a/b-", "z", "B"} {
		tree[name] = &fstest.MapFile{}
	}
	var names []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if sorted := slices.SortedFunc(slices.Values(names), comparePaths); !slices.Equal(names, sorted) || len(names) < 7 {
		t.Errorf("walked %q, sorted %q", names, sorted)
	}
}

func TestMediaTypesAreOurOwn(t *testing.T) {
	for name, want := range map[string]string{
		"a.html": "text/html; charset=utf-8", "A.JPG": "image/jpeg", "x.tar.gz": "application/gzip", "README": "", "a.unheard": "", "dir.js/a": "",
	} {
		if got := MediaType(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
