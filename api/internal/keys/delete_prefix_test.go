package keys_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// names lists the keys on the master.
func names(t testing.TB, n *apitest.Node) []string {
	t.Helper()
	page, err := n.Store.List(t.Context(), store.ListOptions{Space: store.User, Limit: 1000, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range page.Entries {
		names = append(names, store.Name(e.Key))
	}
	return names
}

func TestKeysOfAPrefixAreDeletedInSteps(t *testing.T) {
	n := apitest.New(t)
	for i := range 25 {
		n.Put(t, fmt.Sprintf("p/%02d", i))
	}
	for _, name := range []string{"o", "p", "p0", "q/1"} {
		n.Put(t, name)
	}
	var deleted []int
	for query := "prefix=p%2F&limit=10"; query != ""; {
		w := n.Do(t, "DELETE", "/v1/keys?"+query, "")
		var d wire.Deletion
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		deleted = append(deleted, d.Deleted)
		query = ""
		if d.Next != "" {
			query = "prefix=p%2F&limit=10&after=" + url.QueryEscape(d.Next)
			n.Put(t, fmt.Sprintf("p/%d0x", len(deleted))) // after the cursor, so the key is found
		}
	}
	if fmt.Sprint(deleted) != "[10 10 7]" || fmt.Sprint(names(t, n)) != "[o p p0 q/1]" {
		t.Errorf("deleted %v, left %v", deleted, names(t, n))
	}
	for _, accept := range []string{"application/json", "application/xml", "text/html", "text/plain"} {
		if w := n.Do(t, "DELETE", "/v1/keys?prefix=none", "", "Accept", accept); w.Code != 200 || !strings.Contains(w.Body.String(), "0") {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "DELETE", "/v1/keys?all=true", ""); w.Code != 200 || len(names(t, n)) != 0 {
		t.Errorf("all: %d, left %v", w.Code, names(t, n))
	}
}

func TestDeletionThatIsNotMeantIsRefused(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a/b")
	n.Put(t, "a/c")
	grouped := cursor.Cursor{Prefix: "a", Delimiter: "/", After: "a/"}.String()
	everything := cursor.Cursor{After: "a"}.String()
	for _, query := range []string{
		"", "prefix=", "all=false", "all=1", "prefix=a&all=true", "prefix=a&limit=0", "prefix=a&limit=1001", "prefix=a&limit=x", "prefix=%FF",
		"prefix=a&prefix=b", "prefix=a&delimiter=/", "prefix=a&consistency=any", "after=x", "prefix=a&after=" + grouped, "after=" + grouped,
		"prefix=b&after=" + cursor.Cursor{Prefix: "a", After: "a"}.String(), "after=" + everything, "prefix=a&values=true",
	} {
		if w := n.Do(t, "DELETE", "/v1/keys?"+query, ""); w.Code != 400 {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	for _, header := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since"} {
		if w := n.Do(t, "DELETE", "/v1/keys?prefix=a", "", header, `"1"`); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid-header") {
			t.Errorf("%s: %d %s", header, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "DELETE", "/v1/keys?prefix=a", "", "Accept", "image/png"); w.Code != 406 {
		t.Errorf("%d", w.Code)
	}
	if w := n.Do(t, "DELETE", "/v1/keys?prefix=a", "", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("%d", w.Code)
	}
	if left := names(t, n); len(left) != 2 {
		t.Errorf("left %v", left)
	}
}

func TestDeletionOfAPrefixWithoutItsMaster(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a")
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return partition.ErrUnavailable
		}
		return nil
	})
	if w := n.Do(t, "DELETE", "/v1/keys?prefix=a", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "outcome-unknown") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	n.Partitions[0].Fail(func(string) error { return partition.ErrUnavailable })
	if w := n.Do(t, "DELETE", "/v1/keys?prefix=a", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "master-unavailable") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
