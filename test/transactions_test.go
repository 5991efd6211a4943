package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// accounts are keys of one master. Transfers keep the sum of their values; a partly applied transfer would change
// the sum.
const accounts, funds = 6, 100

// TestTransactionsHoldThroughAKill: clients of two servers transfer units between accounts of a master while a
// server is killed. A transaction that reads all accounts always finds all units.
func TestTransactionsHoldThroughAKill(t *testing.T) {
	for name, urls := range map[string]func(testing.TB) []string{
		"SQLite":  runnel.ThreeFiles,
		"MariaDB": func(t testing.TB) []string { return []string{servers.MariaDB(t).Database(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transferThroughAKill(t, runnel.WriteConfig(t, "", urls(t)...))
		})
	}
}

func transferThroughAKill(t *testing.T, file string) {
	nodes := []*runnel.Process{runnel.Serve(t, "--config", file), runnel.Serve(t, "--config", file)}
	var ops []string
	for i := range accounts {
		ops = append(ops, fmt.Sprintf(`{"op":"put","key":"%s","value":"%d"}`, account(i), funds))
	}
	if _, err := transact(nodes[0].URL, `{"then":[`+strings.Join(ops, ",")+`]}`); err != nil {
		t.Fatal(err)
	}
	var moved atomic.Int64
	ended := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 8 {
		random := runnel.NewRandom(t)
		node := nodes[i%2]
		clients.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				from := random.IntN(accounts)
				to := (from + 1 + random.IntN(accounts-1)) % accounts
				ok, err := transfer(node.URL, from, to)
				if errors.Is(err, errIncomplete) {
					t.Error(err)
					return
				} // any error but errIncomplete says nothing: the server is down or busy
				if ok {
					moved.Add(1)
				}
			}
		})
	}
	moves := func(n int64) {
		runnel.Eventually(t, 2*time.Minute, fmt.Sprint(n, " moves"), func() error {
			if m := moved.Load(); m < n && !t.Failed() {
				return fmt.Errorf("%d moves", m)
			}
			return nil
		})
	}
	moves(100)
	nodes[0].Kill()
	moves(moved.Load() + 100)
	close(ended)
	clients.Wait()
	balances, _, err := readAccounts(nodes[1].URL)
	if err == nil {
		err = complete(balances)
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d moves, in the end %v", moved.Load(), balances)
	balances[0]++
	if complete(balances) == nil {
		t.Error("a unit too many was not seen")
	}
}

func account(i int) string { return fmt.Sprintf("{accounts}/%d", i) }

// complete says whether units are missing or too many.
func complete(balances []int) error {
	sum := 0
	for _, b := range balances {
		sum += b
	}
	if sum != accounts*funds {
		return fmt.Errorf("%w: %v sum up to %d", errIncomplete, balances, sum)
	}
	return nil
}

var errIncomplete = errors.New("units were lost or made")

type transacted struct {
	Succeeded bool
	Results   []struct {
		Status   int
		Value    string
		ETag     string
		Revision int64
	}
}

// transact sends a transaction. After an error the outcome is unknown.
func transact(url, body string) (done transacted, err error) {
	resp, err := http.Post(url+"/v1/txn", "application/json", strings.NewReader(body))
	if err != nil {
		return done, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	if err == nil {
		err = json.Unmarshal(text, &done)
	}
	return done, err
}

func readAccounts(url string) (balances []int, etags []string, err error) {
	var gets []string
	for i := range accounts {
		gets = append(gets, fmt.Sprintf(`{"op":"get","key":"%s"}`, account(i)))
	}
	all, err := transact(url, `{"then":[`+strings.Join(gets, ",")+`]}`)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range all.Results {
		b, err := strconv.Atoi(r.Value)
		if err != nil {
			return nil, nil, err
		}
		balances, etags = append(balances, b), append(etags, r.ETag)
	}
	return balances, etags, nil
}

// transfer moves a unit, unless another transaction comes between reading and
// writing.
func transfer(url string, from, to int) (done bool, err error) {
	balances, etags, err := readAccounts(url)
	if err != nil {
		return false, err
	}
	if err := complete(balances); err != nil {
		return false, err
	}
	written, err := transact(url, fmt.Sprintf(`{"if":[{"key":"%s","etag":%q},{"key":"%s","etag":%q}],
		"then":[{"op":"put","key":"%s","value":"%d"},{"op":"put","key":"%s","value":"%d"}]}`,
		account(from), etags[from], account(to), etags[to], account(from), balances[from]-1, account(to), balances[to]+1))
	return written.Succeeded, err
}
