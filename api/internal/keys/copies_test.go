package keys_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// holding are the partitions that hold a value of a key.
func holding(t testing.TB, n *apitest.Node, name, value string) (held []string) {
	t.Helper()
	for _, p := range n.Partitions {
		entries, err := p.Get(t.Context(), []partition.Key{store.User.Key(name)})
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 1 && string(entries[0].Value) == value {
			held = append(held, p.Name())
		}
	}
	return held
}

func TestCopiesAreHeldBeforeTheAnswer(t *testing.T) {
	n := apitest.New(t)
	n.Level(t)
	for i, c := range []struct {
		query string
		held  int
	}{{"copies=1", 1}, {"copies=2", 2}, {"copies=3", 3}, {"copies=all", 3}, {"copies=all&ttl=1h", 3}} {
		name := fmt.Sprint("k", i)
		for _, status := range []int{201, 204} {
			value := fmt.Sprint("v", status)
			w := n.Do(t, "PUT", "/v1/keys/"+name+"?"+c.query, value)
			if held := holding(t, n, name, value); w.Code != status || len(held) != c.held || w.Header().Get("Runnel-Copies") != fmt.Sprint(c.held) {
				t.Errorf("%s: %d %v, held by %v", c.query, w.Code, w.Header(), held)
			}
		}
	}
	if w := n.Do(t, "PUT", "/v1/keys/k2?copies=3", "other", "If-None-Match", "*"); w.Code != 412 || len(holding(t, n, "k2", "other")) != 0 {
		t.Errorf("a write that was refused: %d", w.Code)
	}
	if w := n.Do(t, "PUT", "/v1/keys/plain", "v"); w.Header()["Runnel-Copies"] != nil || len(holding(t, n, "plain", "v")) != 1 {
		t.Errorf("a write that asked for none: %v", w.Header())
	}
}

func TestFewerCopiesThanAskedAreAccepted(t *testing.T) {
	n := apitest.New(t)
	n.Level(t)
	refuses := func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	}
	n.Partitions[1].Fail(refuses)
	for i := range 10 { // with either partition asked first, the second takes the copy
		name := fmt.Sprint("two", i)
		if w := n.Do(t, "PUT", "/v1/keys/"+name+"?copies=2", "v"); w.Code != 201 || len(holding(t, n, name, "v")) != 2 {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
	}
	w := n.Do(t, "PUT", "/v1/keys/all?copies=all", "v")
	if w.Code != 202 || w.Header().Get("Runnel-Copies") != "2" || w.Header().Get("Location") == "" || w.Header().Get("ETag") == "" || len(holding(t, n, "all", "v")) != 2 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	n.Partitions[2].Fail(refuses)
	if w := n.Do(t, "PUT", "/v1/keys/all?copies=2", "w"); w.Code != 202 || w.Header().Get("Runnel-Copies") != "1" || w.Header().Get("Location") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := n.Do(t, "GET", "/v1/keys/all?consistency=master", ""); w.Body.String() != "w" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestFillingPartitionIsNoCopy: a partition that is being filled may lose its entries again.
func TestFillingPartitionIsNoCopy(t *testing.T) {
	n := apitest.New(t) // no partition but the master was ever whole
	for _, target := range []string{"/v1/keys/k?copies=2", "/canonicalbucket/k"} {
		if w := n.Do(t, "PUT", target, "v"); w.Code != 202 || w.Header().Get("Runnel-Copies") != "1" || len(holding(t, n, "k", "v")) != 1 {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
	}
}

func TestBadCopiesAreRefused(t *testing.T) {
	n := apitest.New(t)
	for _, query := range []string{"copies=", "copies=0", "copies=-1", "copies=4", "copies=1e9", "copies=99999999999999999999", "copies=ALL", "copies=2&copies=2", "copies=x", "Copies=2"} {
		if w := n.Do(t, "PUT", "/v1/keys/k?"+query, "v"); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid-parameter") {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	for _, c := range []string{"GET", "DELETE"} {
		if w := n.Do(t, c, "/v1/keys/k?copies=2", ""); w.Code != 400 {
			t.Errorf("%s: %d", c, w.Code)
		}
	}
	if len(names(t, n)) != 0 {
		t.Errorf("stored: %v", names(t, n))
	}
}

// TestCopiesOfOneKeyEndAsTheMaster: copies overtake each other, and an older copy never replaces a newer copy.
func TestCopiesOfOneKeyEndAsTheMaster(t *testing.T) {
	n := apitest.New(t)
	n.Level(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 30 {
				w := httptest.NewRecorder()
				n.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/keys/k?copies=all", strings.NewReader(fmt.Sprint(i, " ", j))))
				if w.Code/100 != 2 || w.Code == 202 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
		})
	}
	group.Wait()
	last := n.Do(t, "GET", "/v1/keys/k?consistency=master", "").Body.String()
	if held := holding(t, n, "k", last); len(held) != 3 {
		t.Errorf("the last value is held by %v", held)
	}
}
