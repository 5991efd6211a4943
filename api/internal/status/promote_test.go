package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

func postPromotion(t *testing.T, n *apitest.Node, body string) *httptest.ResponseRecorder {
	t.Helper()
	return n.Do(t, "POST", "/v1/promote", body, "Content-Type", "application/json")
}

func TestPromotionOverHTTP(t *testing.T) {
	n := newMovable(t)
	if w := n.Do(t, "PUT", "/v1/keys/a", "1"); w.Code != 201 {
		t.Fatal(w.Code, w.Body)
	}
	n.Level(t)
	if w := postPromotion(t, n, `{"to":"partition-1","in_place_of":"partition-0"}`); w.Code != 409 || !strings.Contains(w.Body.String(), "no master leases") {
		t.Errorf("without leases: %d %s", w.Code, w.Body)
	}
	if w := postPromotion(t, n, `{"to":"partition-1","in_place_of":"partition-0","old_master_is_stopped":true}`); w.Code != 409 || !strings.Contains(w.Body.String(), "partition-0 answers") {
		t.Errorf("while the master answers: %d %s", w.Code, w.Body)
	}
	n.Partitions[0].Fail(func(string) error { return partition.ErrUnavailable })
	var done wire.Promotion
	w := postPromotion(t, n, `{"to":"partition-1","in_place_of":"partition-0","old_master_is_stopped":true}`)
	if err := json.Unmarshal(w.Body.Bytes(), &done); w.Code != 200 || err != nil || done.To != "partition-1" || done.InPlaceOf != "partition-0" ||
		done.Slots != store.Slots || done.Cut == 0 || done.Epoch != statusOf(t, n).Epoch {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := n.Do(t, "PUT", "/v1/keys/a", "2"); w.Code != 204 {
		t.Errorf("a write to the new master: %d %s", w.Code, w.Body)
	}
}

func TestInvalidPromotions(t *testing.T) {
	n := newPromoter(func(context.Context, store.PromoteRequest, func(store.PromoteStage)) (store.Promoted, error) {
		t.Error("an invalid request reached the store")
		return store.Promoted{}, nil
	})
	for body, says := range map[string]string{
		`{}`:           "needs the member to",
		`{"to":"b"}`:   "needs the member in_place_of",
		`{"to":""}`:    "is a string that is not empty",
		`{"to":["b"]}`: "is a string that is not empty",
		`{"to":"b","in_place_of":"a","old_master_is_stopped":"yes"}`: "old_master_is_stopped is true or false",
		`{"from":"a"}`: "no member \\\"from\\\" of a promotion",
		`["b"]`:        "not a JSON object",
		`{"to":"b"`:    "",
	} {
		if w := postPromotion(t, n, body); w.Code != 400 || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

// promoter is a store that promotes by a function.
type promoter struct {
	mover
	promote func(context.Context, store.PromoteRequest, func(store.PromoteStage)) (store.Promoted, error)
}

func (p *promoter) Promote(ctx context.Context, q store.PromoteRequest, progress func(store.PromoteStage)) (store.Promoted, error) {
	return p.promote(ctx, q, progress)
}

func newPromoter(promote func(context.Context, store.PromoteRequest, func(store.PromoteStage)) (store.Promoted, error)) *apitest.Node {
	return apitest.NewBroken(nil, func(o *api.Options) { o.Store = &promoter{promote: promote} })
}

func TestFailedPromotions(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		slug   string
	}{
		{fmt.Errorf("%w: b is not whole", store.ErrPromoteRefused), 409, "promotion-refused"},
		{fmt.Errorf("%w: 2 of 3", store.ErrNoMajority), 503, "promotion-unfinished"},
		{errors.New("broken\npipe"), 503, "promotion-unfinished"},
	} {
		n := newPromoter(func(context.Context, store.PromoteRequest, func(store.PromoteStage)) (store.Promoted, error) {
			return store.Promoted{}, c.err
		})
		w := postPromotion(t, n, `{"to":"b","in_place_of":"a"}`)
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != c.status || p.Type != wire.ProblemsPath+c.slug ||
			string(p.Detail) != strings.ReplaceAll(c.err.Error(), "\n", "; ")+"." {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
	}
}

// TestPromotionsBegunOutliveTheirClient lets the client leave, and the server stop, before and after a promotion has begun.
func TestPromotionsBegunOutliveTheirClient(t *testing.T) {
	for _, begun := range []bool{false, true} {
		for _, drain := range []bool{false, true} {
			t.Run(fmt.Sprintf("begun %v, drain %v", begun, drain), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { leavePromotion(t, begun, drain) })
			})
		}
	}
}

func leavePromotion(t *testing.T, begun, drain bool) {
	client, leave := context.WithCancel(t.Context())
	defer leave()
	var n *apitest.Node
	n = newPromoter(func(ctx context.Context, _ store.PromoteRequest, progress func(store.PromoteStage)) (store.Promoted, error) {
		if begun {
			progress(store.PromoteBegun)
		}
		if drain {
			n.Drain()
		} else {
			leave()
		}
		synctest.Wait()
		if ctx.Err() == nil != begun {
			t.Errorf("the promotion has begun: %v, and its context says %v", begun, ctx.Err())
		}
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 8*time.Minute {
			t.Errorf("bound: %v, %v", deadline, ok)
		}
		return store.Promoted{Epoch: 2, Slots: 1}, ctx.Err()
	})
	w := httptest.NewRecorder()
	func() {
		defer func() { recover() }() // the connection of a client that has left breaks
		n.ServeHTTP(w, httptest.NewRequestWithContext(client, "POST", "/v1/promote", strings.NewReader(`{"to":"b","in_place_of":"a"}`)))
	}()
	if want := map[bool]int{false: 503, true: 200}[begun]; drain && w.Code != want {
		t.Errorf("%d %s, want %d", w.Code, w.Body, want)
	}
}
