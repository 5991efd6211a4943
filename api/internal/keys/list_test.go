package keys_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// page reads a page of keys.
func page(t *testing.T, n *apitest.Node, target string) (*wire.KeyPage, http.Header) {
	t.Helper()
	w := n.Do(t, "GET", target, "")
	var d wire.KeyPage
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 {
		t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	return &d, w.Header()
}

// pageNames returns the keys of a page, and then its groups.
func pageNames(d *wire.KeyPage) (names []string) {
	for _, e := range d.Keys {
		names = append(names, string(e.Key))
	}
	for _, p := range d.Prefixes {
		names = append(names, string(p))
	}
	return names
}

func TestListIsPagedInOrder(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "b/2", "a", "b/1", "c/x/1", "é", "b/3", "b0")
	for query, want := range map[string][]string{
		"":                            {"a", "b/1", "b/2", "b/3", "b0", "c/x/1", "é"},
		"?prefix=b":                   {"b/1", "b/2", "b/3", "b0"},
		"?prefix=b/":                  {"b/1", "b/2", "b/3"},
		"?delimiter=/":                {"a", "b0", "é", "b/", "c/"},
		"?prefix=c/&delimiter=/":      {"c/x/"},
		"?prefix=none":                nil,
		"?limit=2&consistency=master": {"a", "b/1"},
		"?limit=1&prefix=b%2F2":       {"b/2"},
		"?prefix=%C3%A9":              {"é"},
		"?prefix=c/&delimiter=x/1":    {"c/x/1"},
		"?delimiter=&prefix=&limit=1": {"a"},
		"?prefix=b&delimiter=%2F&li" + "mit=1000": {"b0", "b/"},
	} {
		d, _ := page(t, n, "/v1/keys"+query)
		if diff := cmp.Diff(want, pageNames(d)); diff != "" {
			t.Errorf("%s:\n%s", query, diff)
		}
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	n := apitest.New(t)
	var all []string
	for i := range 25 {
		all = append(all, fmt.Sprintf("p/%02d", i), fmt.Sprintf("p/%02d/sub", i))
	}
	n.Put(t, all...)
	n.Put(t, "a", "z")
	for _, query := range []string{"prefix=p/", "prefix=p/&values=true", "prefix=p/&delimiter=/"} {
		want := map[bool]int{false: 50, true: 50}[strings.Contains(query, "delimiter")]
		var got []string
		for target, pages := "/v1/keys?limit=7&"+query, 0; target != ""; pages++ {
			d, h := page(t, n, target)
			names := pageNames(d)
			slices.Sort(names)
			got = append(got, names...)
			target = ""
			if d.Next != "" {
				next, rel, _ := strings.Cut(h.Get("Link"), "; ")
				if rel != `rel="next"` {
					t.Fatalf("Link: %s", h.Get("Link"))
				}
				target = strings.Trim(next, "<>")
			}
			if len(d.Keys) > 0 && (d.Keys[0].Value != nil) != strings.Contains(query, "values") {
				t.Errorf("%s: value %v", query, d.Keys[0].Value)
			}
			if pages > 20 {
				t.Fatal("it never ends")
			}
		}
		if len(got) != want || !slices.IsSorted(got) || len(slices.Compact(got)) != want {
			t.Errorf("%s: %d names: %v", query, len(got), got)
		}
	}
}

func TestCursorCarriesAndBindsItsFilters(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a/1", "a/2", "a/3", "b/1")
	page, _ := page(t, n, "/v1/keys?prefix=a/&delimiter=%7C&limit=1")
	for query, want := range map[string]int{
		"":                         200,
		"&prefix=a/":               200,
		"&prefix=a/&delimiter=%7C": 200,
		"&prefix=b/":               400,
		"&prefix=":                 400,
		"&delimiter=/":             400,
		"&prefix=a/&delimiter=":    400,
		"&values=true&limit=2":     200,
	} {
		w := n.Do(t, "GET", "/v1/keys?after="+page.Next+query, "")
		if w.Code != want || want == 200 && !strings.Contains(w.Body.String(), `"a/2"`) || strings.Contains(w.Body.String(), `"b/1"`) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	for i := range page.Next {
		mangled := []byte(page.Next)
		mangled[i] = map[bool]byte{true: 'B', false: 'A'}[mangled[i] == 'A']
		if w := n.Do(t, "GET", "/v1/keys?after="+string(mangled), ""); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid-cursor") {
			t.Errorf("%s: %d %s", mangled, w.Code, w.Body)
		}
	}
}

func TestListInEveryForm(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a", "b/1", "c")
	for accept, want := range map[string]string{
		"text/plain":       "a\nb/\nc\n",
		"application/xml":  "<prefix>b/</prefix>",
		"text/html":        `<a href="v1/keys/a">a</a>`,
		"application/json": `"prefixes":["b/"]`,
	} {
		w := n.Do(t, "GET", "/v1/keys?delimiter=/", "", "Accept", accept)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) || w.Header().Get("Vary") != "Accept" {
			t.Errorf("%s: %d %v %s", accept, w.Code, w.Header(), w.Body)
		}
		head := n.Do(t, "HEAD", "/v1/keys?delimiter=/", "", "Accept", accept)
		if head.Body.Len() > 0 || head.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
			t.Errorf("HEAD as %s: %v", accept, head.Header())
		}
	}
}

func TestStreamHoldsTheWholeList(t *testing.T) {
	n := apitest.New(t)
	var want []string
	for i := range 1203 {
		want = append(want, fmt.Sprintf("k/%04d", i))
	}
	n.Put(t, want...)
	n.Put(t, "l/1", "m")
	for query, want := range map[string][]string{
		"":                      append(slices.Clone(want), "l/1", "m"),
		"?prefix=k/":            want,
		"?prefix=k/&limit=1000": want[:1000],
		"?limit=3":              want[:3],
		"?delimiter=/":          {"k/", "l/", "m"},
	} {
		w := n.Do(t, "GET", "/v1/keys"+query, "", "Accept", "application/x-ndjson")
		var got []string
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			var line struct{ Key, Prefix, Value string }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Key+line.Prefix)
		}
		if diff := cmp.Diff(want, got); diff != "" || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	w := n.Do(t, "GET", "/v1/keys?values=true&prefix=m", "", "Accept", "application/x-ndjson")
	if w.Header().Get("Vary") != "Accept" || w.Header().Get("Cache-Control") != "no-cache" || w.Header().Get("Runnel-Partition") != "partition-0" {
		t.Errorf("stream: %v", w.Header())
	}
	if !strings.Contains(w.Body.String(), `"value":"value of m"`) || strings.Count(w.Body.String(), "\n") != 1 {
		t.Errorf("with values: %s", w.Body)
	}
}

func TestBrokenStreamSaysSo(t *testing.T) {
	n := apitest.New(t)
	for i := range 1001 {
		n.Put(t, fmt.Sprintf("k%04d", i))
	}
	var lists atomic.Int32
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpList {
			if lists.Add(1) > 1 {
				return partition.ErrUnavailable
			}
		}
		return nil
	})
	server := httptest.NewServer(n)
	defer server.Close()
	r, _ := http.NewRequest("GET", server.URL+"/v1/keys", nil)
	r.Header.Set("Accept", "application/x-ndjson")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	var last wire.Problem
	for n := 0; lines.Scan(); n++ {
		if n == 1000 {
			if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last.Status != 503 || last.Type != "/problems/no-partition" || lines.Err() == nil {
		t.Errorf("the stream ends with %+v, %v", last, lines.Err())
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		t.Error(lines.Err())
	}
}

func FuzzKeyPath(f *testing.F) {
	for _, s := range []string{"a", "a/b", "..", "%2F", "a//b", "\x00", "é", "a b?#", "\xff"} {
		f.Add(s)
	}
	n := apitest.NewFor(f)
	f.Fuzz(func(t *testing.T, name string) {
		path := wire.Path(exchange.KeysPath, name)
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		if got := strings.TrimPrefix(u.Path, exchange.KeysPath); got != name {
			t.Errorf("%q comes back as %q", name, got)
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		want := 404
		if n.Store.CheckName(name) != nil {
			want = 400
		}
		if w.Code != want {
			t.Errorf("GET %q: %d, want %d", path, w.Code, want)
		}
	})
}
