package keys_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// holders counts the partitions that hold a live entry of the key, read directly.
func holders(t *testing.T, n *apitest.Node, name string) (count int) {
	t.Helper()
	for _, p := range n.Partitions {
		entries, err := p.Get(context.Background(), []store.Key{store.User.Key(name)})
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 1 && !entries[0].Deleted {
			count++
		}
	}
	return count
}

func TestClassicLazyWriteAndCanonicalRead(t *testing.T) {
	n := apitest.New(t)
	for range 2 {
		for _, method := range []string{"POST", "PUT"} {
			w := n.Do(t, method, "/bucket/a%20b", "value", "Content-Type", "text/plain")
			if w.Code != 201 || w.Header().Get("Location") != "/bucket/a%20b" || !strings.Contains(w.Body.String(), ">/bucket/a%20b</a>") {
				t.Errorf("%s: %d %v", method, w.Code, w.Header())
			}
		}
	}
	if c := holders(t, n, "a b"); c != 1 {
		t.Errorf("%d partitions hold a lazy write", c)
	}
	if w := n.Do(t, "GET", "/canonicalbucket/a%20b", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "<pre>value</pre>") || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("canonical read: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestCanonicalWritesReachEveryNodeBeforeTheAnswer(t *testing.T) {
	n := apitest.New(t)
	n.Level(t)
	for _, method := range []string{"POST", "PUT"} {
		w := n.Do(t, method, "/canonicalbucket/k", method)
		if w.Code != 201 || w.Header().Get("Location") != "/canonicalbucket/k" || w.Header().Get("Runnel-Copies") != "3" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
		if c := holders(t, n, "k"); c != 3 {
			t.Errorf("%s: %d partitions hold it", method, c)
		}
	}
	if w := n.Do(t, "DELETE", "/canonicalbucket/k", ""); w.Code != 202 {
		t.Errorf("DELETE: %d", w.Code)
	}
	if c := holders(t, n, "k"); c != 0 {
		t.Errorf("%d partitions hold a deleted key", c)
	}
}

func TestCanonicalWriteThatMissesANodeIsAccepted(t *testing.T) {
	n := apitest.New(t)
	n.Level(t)
	n.Partitions[2].Fail(func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	if w := n.Do(t, "PUT", "/canonicalbucket/k", "v"); w.Code != 202 || w.Header().Get("Runnel-Copies") != "2" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestClassicDeleteAndLongKeys(t *testing.T) {
	n := apitest.New(t)
	long := strings.Repeat("k", 513)
	for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
		if path == exchange.CanonicalPath {
			n.Level(t) // before, only the master answers reads
		}
		for _, c := range []struct {
			method, key string
			want        int
		}{
			{"GET", "k", 404}, {"DELETE", "k", 404}, {"PUT", "k", 201}, {"GET", "k", 200}, {"HEAD", "k", 200},
			{"DELETE", "k", 202}, {"GET", "k", 404}, {"DELETE", "k", 404}, {"POST", "k", 201}, {"GET", "k", 200}, {"DELETE", "k", 202},
			{"PUT", long, 400}, {"POST", long, 400}, {"GET", long, 404}, {"PUT", "", 405}, {"DELETE", "%00", 400},
			{"PUT", "k?ttl=1s", 400}, {"GET", "k?consistency=master", 400},
		} {
			body := ""
			if c.method == "PUT" || c.method == "POST" {
				body = "v"
			}
			if w := n.Do(t, c.method, path+c.key, body); w.Code != c.want {
				t.Errorf("%s %s%.9s: %d, want %d", c.method, path, c.key, w.Code, c.want)
			}
		}
	}
}

func TestClassicForms(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, `<script>alert(1)</script>`, "a&b")
	for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
		for accept, want := range map[string]string{
			"":                 `<a href="bucket/a%26b">/bucket/a%26b</a>`,
			"text/html":        `<a href="bucket/%3Cscript%3Ealert%281%29%3C%2Fscript%3E">`,
			"application/xml":  "<url>/bucket/a%26b</url>",
			"application/json": `"/bucket/a%26b"`,
			"text/plain":       "/bucket/a%26b\n",
		} {
			w := n.Do(t, "GET", path, "", "Accept", accept)
			if w.Code != 200 || !strings.Contains(w.Body.String(), want) && !strings.Contains(w.Body.String(), strings.Replace(want, "%2F", "/", 1)) {
				t.Errorf("%s as %s: %d %s", path, accept, w.Code, w.Body)
			}
			entry := n.Do(t, "GET", path+"a%26b", "", "Accept", accept)
			if entry.Code != 200 || !strings.Contains(entry.Body.String(), "value of a") {
				t.Errorf("entry as %s: %d %s", accept, entry.Code, entry.Body)
			}
		}
		if w := n.Do(t, "GET", path+"none", ""); w.Code != 404 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("unknown: %d %v", w.Code, w.Header())
		}
		if w := n.Do(t, "GET", path, "", "Accept", "image/png"); w.Code != 406 {
			t.Errorf("406: %d", w.Code)
		}
	}
}

func TestClassicListsOneNodeOrAll(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "on-master", "on-both")
	n.Partitions[1].Plant(store.Entry{Key: "k/on-replica", Origin: "partition-0", Revision: 5, Checksum: partition.Checksum(nil)})
	for path, want := range map[string][]string{
		"/bucket/":                  {"/bucket/on-both", "/bucket/on-master"},
		"/canonicalbucket/":         {"/bucket/on-both", "/bucket/on-master", "/bucket/on-replica"},
		"/canonicalbucket/?limit=2": {"/bucket/on-both", "/bucket/on-master"},
	} {
		w := n.Do(t, "GET", path, "", "Accept", "application/json")
		var d struct {
			URLs []string `json:"keys"`
			Next string   `json:"next"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if diff := cmp.Diff(want, d.URLs); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if d.Next == "" {
			continue
		}
		next := n.Do(t, "GET", path+"&after="+d.Next, "", "Accept", "text/plain")
		if next.Body.String() != "/bucket/on-replica\n" {
			t.Errorf("next: %d %s", next.Code, next.Body)
		}
	}
}
