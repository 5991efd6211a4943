package batch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// transacted is a decoded answer of a transaction.
type transacted struct {
	Succeeded bool
	Results   []apitest.Result
}

func txn(t testing.TB, n *apitest.Node, body string) transacted {
	t.Helper()
	w := n.Do(t, "POST", "/v1/txn", body, "Content-Type", "application/json")
	var answer transacted
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
	return answer
}

func TestTxnDecidesAndDoesAllOfItsOperations(t *testing.T) {
	n := apitest.New(t)
	etag := txn(t, n, `{"then":[{"op":"put","key":"a","value":"1"},{"op":"put","key":"b","value":"2"}]}`).Results[0].ETag
	quoted := strconv.Quote(etag)
	for _, c := range []struct {
		body      string
		succeeded bool
		want      []string
	}{
		{`{"if":[{"key":"a","exists":true},{"key":"none","absent":true},{"key":"a","etag":` + quoted + `}]}`, true, nil},
		{`{"if":[{"key":"a","absent":true}],"then":[{"op":"delete","key":"a"}],"else":[{"op":"get","key":"a"},{"op":"get","key":"none"}]}`, false, []string{"200 1", "404 not-found"}},
		{`{"if":[{"key":"a","exists":true},{"key":"none","exists":true}],"then":[{"op":"delete","key":"a"}]}`, false, nil},
		{`{"if":[{"key":"a","etag":"\"1\""}],"then":[{"op":"delete","key":"a"}]}`, false, nil},
		{`{"if":[{"key":"b","etag":` + quoted + `}],"then":[{"op":"delete","key":"a"}]}`, false, nil},
		{`{"if":[{"key":"a","etag":` + quoted + `}],"then":[{"op":"get","key":"a"},{"op":"put","key":"a","value":"3","ttl":"1h"},{"op":"get","key":"a"},
			{"op":"delete","key":"b"},{"op":"delete","key":"b"},{"op":"get","key":"b"},{"op":"put","key":"b","value":"4"},{"op":"put","key":"c","value_base64":"AP8="}]}`,
			true, []string{"200 1", "204", "200 3", "204", "404 not-found", "404 not-found", "201", "201"}},
		{`{"then":[{"op":"get","key":"a"},{"op":"get","key":"b"},{"op":"get","key":"c"}]}`, true, []string{"200 3", "200 4", "200"}},
	} {
		got := txn(t, n, c.body)
		if got.Succeeded != c.succeeded || cmp.Diff(c.want, results(got.Results)) != "" {
			t.Errorf("%s:\n%+v", c.body, got)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/b?consistency=master", ""); w.Body.String() != "4" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTxnThatIsRefusedDoesNothing(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a")
	good := `{"op":"delete","key":"a"}`
	many := strings.Repeat(good+",", 256)
	for body, want := range map[string]string{
		``:                          "invalid-json",
		`[]`:                        "invalid-json",
		`{"then":[` + good + `]`:    "invalid-json",
		`{"then":[` + good + `]} x`: "invalid-json",
		`{"then":[` + good + `],"then":[` + good + `]}`:  "invalid-json",
		`{"then":[` + good + "\xff" + `]}`:               "invalid-json",
		`{}`:                                             "invalid-item",
		`{"if":[],"then":[],"else":[]}`:                  "invalid-item",
		`{"then":{}}`:                                    "invalid-item",
		`{"then":null}`:                                  "invalid-item",
		`{"then":[` + good + `,7]}`:                      "invalid-item",
		`{"then":[` + good + `],"or":[]}`:                "invalid-item",
		`{"then":[` + good + `,{"op":"put","key":"b"}]}`: "invalid-item",
		`{"then":[` + good + `],"else":[{"op":"put","key":"b"}]}`:                                                      "invalid-item",
		`{"then":[` + good + `,{"op":"delete","key":"b","if_match":"*"}]}`:                                             "invalid-item",
		`{"then":[` + good + `,{"op":"get","key":""}]}`:                                                                "invalid-key",
		`{"then":[` + good + `],"if":[{"exists":true}]}`:                                                               "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a"}]}`:                                                                   "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a","exists":false}]}`:                                                    "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a","exists":true,"absent":true}]}`:                                       "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a","etag":"*"}]}`:                                                        "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a","etag":"\"1\",\"2\""}]}`:                                              "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a","etag":1}]}`:                                                          "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"a","revision":1}]}`:                                                      "invalid-item",
		`{"then":[` + good + `],"if":[{"key":"\u0001","exists":true}]}`:                                                "invalid-key",
		`{"then":[` + good + `],"if":["a"]}`:                                                                           "invalid-item",
		`{"then":[` + many + good + `]}`:                                                                               "too-large",
		`{"if":[],"then":[` + strings.TrimSuffix(many, ",") + `],"else":[` + good + `]}`:                               "too-large",
		`{"then":[` + good + `,{"op":"put","key":"b","value":"` + strings.Repeat("v", apitest.MaxTestValue+1) + `"}]}`: "too-large",
	} {
		w := n.Do(t, "POST", "/v1/txn", body, "Content-Type", "application/json")
		if !strings.Contains(w.Body.String(), `"/problems/`+want+`"`) {
			t.Errorf("%.100s: %d %s", body, w.Code, w.Body)
		}
	}
	for _, headers := range [][]string{{"Content-Type", "application/x-ndjson"}, {"Content-Type", "text/plain"}, {"Accept", "text/html"}, {"Content-Encoding", "gzip"}} {
		if w := n.Do(t, "POST", "/v1/txn", `{"then":[`+good+`]}`, headers...); w.Code != 415 && w.Code != 406 {
			t.Errorf("%v: %d %s", headers, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "POST", "/v1/txn?x=1", `{"then":[`+good+`]}`); w.Code != 400 {
		t.Errorf("a parameter: %d", w.Code)
	}
	if w := n.Do(t, "GET", "/v1/keys/a?consistency=master", ""); w.Code != 200 {
		t.Errorf("it was done: %d", w.Code)
	}
}

// two is a store of which keys have two masters.
type two struct{ api.Store }

func (s two) Master(k store.Key) string {
	if strings.HasPrefix(store.Name(k), "b") {
		return "partition-1"
	}
	return "partition-0"
}

func TestTxnOverTwoMastersIsRefused(t *testing.T) {
	n := apitest.New(t)
	n.Server = api.New(api.Options{Store: two{n.Store}, Logger: slog.New(slog.DiscardHandler)})
	w := n.Do(t, "POST", "/v1/txn", `{"if":[{"key":"b","absent":true}],"then":[{"op":"put","key":"a","value":""}]}`)
	for _, want := range []string{`/problems/different-masters`, `\"a\"`, `\"b\"`, "partition-0", "partition-1", "{tag}"} {
		if w.Code != 422 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

func TestTxnWithoutItsMaster(t *testing.T) {
	n := apitest.New(t)
	body := `{"then":[{"op":"put","key":"a","value":""}]}`
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return partition.ErrUnavailable
		}
		return nil
	})
	if w := n.Do(t, "POST", "/v1/txn", body); w.Code != 503 || !strings.Contains(w.Body.String(), "outcome-unknown") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	n.Partitions[0].Fail(func(string) error { return partition.ErrUnavailable })
	if w := n.Do(t, "POST", "/v1/txn", body); w.Code != 503 || !strings.Contains(w.Body.String(), "master-unavailable") || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestTxnIsAtomicUnderConcurrency: clients move units between accounts by conditional transactions. No concurrent
// transaction, batch or write sees half of a transfer, and no unit is lost or created.
func TestTxnIsAtomicUnderConcurrency(t *testing.T) {
	n := apitest.New(t)
	const accounts, each, clients, moves = 5, 100, 8, 60
	for i := range accounts {
		txn(t, n, fmt.Sprintf(`{"then":[{"op":"put","key":"acct/%d","value":"%d"}]}`, i, each))
	}
	var all strings.Builder
	for i := range accounts {
		fmt.Fprintf(&all, `,{"op":"get","key":"acct/%d"}`, i)
	}
	readAll := `{"then":[` + all.String()[1:] + `]}`
	post := func(body string) (answer transacted, err error) {
		w := httptest.NewRecorder()
		n.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/txn", strings.NewReader(body)))
		if w.Code != 200 {
			return answer, fmt.Errorf("%d %s", w.Code, w.Body)
		}
		return answer, json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&answer)
	}
	var moved, lost atomic.Int64
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(c), 7))
			for range moves {
				seen, err := post(readAll)
				if err != nil {
					t.Error(err)
					return
				}
				sum := 0
				balance := make([]int, accounts)
				for i, r := range seen.Results {
					balance[i], _ = strconv.Atoi(*r.Value)
					sum += balance[i]
				}
				if sum != accounts*each {
					t.Errorf("a transaction saw %v", balance)
					return
				}
				from, to := random.IntN(accounts), random.IntN(accounts)
				if from == to {
					continue
				}
				done, err := post(fmt.Sprintf(`{"if":[{"key":"acct/%d","etag":%q},{"key":"acct/%d","etag":%q}],"then":[{"op":"put","key":"acct/%d","value":"%d"},{"op":"put","key":"acct/%d","value":"%d"}]}`,
					from, seen.Results[from].ETag, to, seen.Results[to].ETag, from, balance[from]-1, to, balance[to]+1))
				if err != nil {
					t.Error(err)
					return
				}
				if done.Succeeded {
					moved.Add(1)
				} else {
					lost.Add(1)
				}
			}
		})
	}
	group.Wait()
	if moved.Load() == 0 || lost.Load() == 0 {
		t.Errorf("%d moves were made and %d refused: nothing was contended", moved.Load(), lost.Load())
	}
}
