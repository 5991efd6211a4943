package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// newMovable starts a node on which masters can move.
func newMovable(t *testing.T) *apitest.Node {
	t.Helper()
	n := apitest.New(t)
	for _, p := range n.Partitions {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n.Level(t)
	return n
}

func postMove(t *testing.T, n *apitest.Node, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return n.Do(t, "POST", "/v1/move", body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

func statusOf(t *testing.T, n *apitest.Node) (d wire.Status) {
	t.Helper()
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/status", "").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func wantMetrics(t *testing.T, n *apitest.Node, lines ...string) {
	t.Helper()
	all := n.Do(t, "GET", "/metrics", "").Body.String()
	for _, line := range lines {
		wanted, isUnwanted := strings.CutPrefix(line, "!")
		if strings.Contains(all, "\n"+wanted) == isUnwanted {
			t.Errorf("metrics: %s", line)
		}
	}
}

func TestMovesOverHTTP(t *testing.T) {
	n := newMovable(t)
	var report wire.MoveReport
	move := func(body string) {
		t.Helper()
		report = wire.MoveReport{}
		w := postMove(t, n, body)
		if err := json.Unmarshal(w.Body.Bytes(), &report); w.Code != 200 || err != nil || len(report.Moves) != 1 {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	before := statusOf(t, n)
	move(`{"to":"partition-1","plan":true}`)
	if m := report.Moves[0]; m.From != "partition-0" || m.To != "partition-1" || m.Slots == 0 || m.WaitedMS != nil || statusOf(t, n).Epoch != before.Epoch {
		t.Errorf("plan: %+v, epoch %d", m, statusOf(t, n).Epoch)
	}
	move(`{"from":"partition-0","to":"partition-1","slots":"0-9,600"}`)
	if m := report.Moves[0]; m.Slots != 11 || m.WaitedMS == nil || *m.WaitedMS <= 0 {
		t.Errorf("move of slots: %+v", m)
	}
	d := statusOf(t, n)
	if c := d.ClusterMap; c == nil || !c.Confirmed || c.Epoch != d.Epoch || len(c.Voters) != 3 || c.Move != nil || len(c.Masters) != 2 ||
		c.Masters[0].Slots != store.Slots-11 || c.Masters[1].Slots != 11 || c.Masters[1].Epoch != d.Epoch {
		t.Errorf("status: %+v", c)
	}
	wantMetrics(t, n, `runnel_master_slots{master="partition-0"} 1013`, `runnel_master_slots{master="partition-1"} 11`, `runnel_move_under_way 0`, `runnel_failover_after_seconds 0`, `runnel_failover_cooling 0`)
	for accept, want := range map[string]string{"text/plain": "master partition-1: 11 slots, since epoch", "text/html": "<li>master partition-1: 11 slots", "application/xml": "<slots>11</slots>"} {
		if w := n.Do(t, "GET", "/v1/status", "", "Accept", accept); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", accept, w.Body)
		}
	}
	move(`{"from":"partition-0","slots":null}`)
	d = statusOf(t, n)
	if len(d.ClusterMap.Masters) != 1 || d.ClusterMap.Masters[0].Slots != store.Slots || d.Partitions[0].Role != "replica" || d.Partitions[1].Role != "master" || !d.Partitions[1].Writable {
		t.Errorf("after the last move: %+v", d)
	}
	wantMetrics(t, n, `!runnel_master_slots{master="partition-0"}`, `runnel_master_slots{master="partition-1"} 1024`)
	if w := n.Do(t, "GET", "/readyz?write", ""); w.Code != 200 {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	n.Put(t, "a", "b", "c")
	for accept, want := range map[string]string{"text/plain": "partition-1 to partition-2, ", "text/html": "<li>partition-1 to partition-2, ", "application/xml": "<to>partition-2</to>"} {
		if w := postMove(t, n, `{"to":"partition-2","plan":true}`, "Accept", accept); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
	}
}

// TestStateWhileSlotsMove asks at the moment in which slots have no master.
func TestStateWhileSlotsMove(t *testing.T) {
	half := make([]store.Slot, 512)
	for i := range half {
		half[i] = store.Slot(i)
	}
	for _, c := range []struct {
		q     store.MoveRequest
		slots int
		ready int
	}{
		{store.MoveRequest{From: "partition-0", To: "partition-1", Slots: half}, 512, 200},
		{store.MoveRequest{From: "partition-0", To: "partition-1"}, 1024, 503},
	} {
		n, begun := newMovable(t), false
		err := n.Store.Move(t.Context(), c.q, func(stage store.MoveStage) {
			if stage != store.MoveBegun {
				return
			}
			begun = true
			d := statusOf(t, n)
			if m := d.ClusterMap.Move; m == nil || string(m.From) != c.q.From || string(m.To) != c.q.To || m.Slots != c.slots {
				t.Errorf("%d slots: the status shows %+v", c.slots, m)
			}
			if w := n.Do(t, "GET", "/readyz?write", ""); w.Code != c.ready {
				t.Errorf("%d slots: %d %s", c.slots, w.Code, w.Body)
			}
			if d.Partitions[0].Writable != (c.ready == 200) {
				t.Errorf("%d slots: %+v", c.slots, d.Partitions[0])
			}
			wantMetrics(t, n, "runnel_move_under_way 1")
			if w := postMove(t, n, `{"from":"partition-0","to":"partition-1"}`); w.Code != 409 || !strings.Contains(w.Body.String(), "is under way") {
				t.Errorf("a second move: %d %s", w.Code, w.Body)
			}
		})
		if err != nil || !begun {
			t.Fatal(err)
		}
		if w := n.Do(t, "GET", "/readyz?write", ""); w.Code != 200 {
			t.Errorf("afterwards: %d %s", w.Code, w.Body)
		}
	}
}

func TestInvalidMoves(t *testing.T) {
	n := apitest.New(t)
	for body, want := range map[string]string{
		`[]`:                                   `400 invalid-json `,
		`{"to":"partition-1"`:                  `400 invalid-json `,
		`{"to":"partition-1"} x`:               `400 invalid-json `,
		`{"to":"a","to":"b"}`:                  `400 invalid-json `,
		`{}`:                                   `400 invalid-item from`,
		`{"plan":true}`:                        `400 invalid-item from`,
		`{"to":1}`:                             `400 invalid-item to`,
		`{"from":""}`:                          `400 invalid-item from`,
		`{"To":"partition-1"}`:                 `400 invalid-item "To"`,
		`{"to":"a","plan":"true"}`:             `400 invalid-item plan`,
		`{"to":"a","slots":"1"}`:               `400 invalid-item slots`,
		`{"to":"a","from":"b","slots":"1024"}`: `400 invalid-item slots`,
		`{"to":"a","from":"b","slots":""}`:     `400 invalid-item slots`,
		`{"to":"a","from":"b","slots":[1]}`:    `400 invalid-item slots`,
		`{"to":"` + strings.Repeat("a", 16<<10) + `"}`:                             `413 too-large `,
		`{"to":"partition-9"}`:                                                     `409 move-refused `,
		`{"from":"partition-0","to":"partition-9","plan":true}`:                    `409 move-refused `,
		`{"from":"partition-0"}`:                                                   `409 move-refused `,
		`{"from":"partition-1","to":"partition-2","plan":true}`:                    `409 move-refused `,
		`{"from":"partition-0","to":"partition-0"}`:                                `409 move-refused `,
		`{"from":"partition-0","to":"partition-1","slots":"0-1023","plan":"x"}`:    `400 invalid-item plan`,
		`{"from":"partition-0","to":"partition-1","slots":"0-10000","plan":false}`: `400 invalid-item slots`,
	} {
		w := postMove(t, n, body)
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
		if got := fmt.Sprint(w.Code, " ", strings.TrimPrefix(p.Type, wire.ProblemsPath), " ", p.Parameter); got != want {
			t.Errorf("%.60s: %s, %s; want %s", body, got, p.Detail, want)
		}
	}
	for _, header := range [][]string{{"Content-Type", "text/plain"}, {"Content-Encoding", "gzip"}} {
		if w := n.Do(t, "POST", "/v1/move", `{"to":"partition-1"}`, header...); w.Code != 415 {
			t.Errorf("%v: %d %s", header, w.Code, w.Body)
		}
	}
	if got := n.Store.ClusterMap(); len(got.Masters) != 1 || got.Epoch != 1 {
		t.Errorf("%+v", got)
	}
}

// mover plans two moves and lets a test carry them out.
type mover struct {
	api.Store
	move func(ctx context.Context, q store.MoveRequest, progress func(store.MoveStage)) error
}

func (*mover) Status() store.Status { return store.Status{} }

func (*mover) ClusterMap() *store.ClusterMap { return &store.ClusterMap{} }

func (*mover) PlanMoves(store.MoveRequest) ([]store.MoveRequest, error) {
	return []store.MoveRequest{{From: "a", To: "b", Slots: []store.Slot{1}}, {From: "c", To: "b", Slots: []store.Slot{2, 3}}}, nil
}

func (m *mover) Move(ctx context.Context, q store.MoveRequest, progress func(store.MoveStage)) error {
	progress(store.MoveLevelling)
	return m.move(ctx, q, progress)
}

func newMover(move func(ctx context.Context, q store.MoveRequest, progress func(store.MoveStage)) error) *apitest.Node {
	return apitest.NewBroken(nil, func(o *api.Options) { o.Store = &mover{move: move} })
}

func TestFailedMoves(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		slug   string
	}{
		{fmt.Errorf("%w: x is not level", store.ErrMoveRefused), 409, "move-refused"},
		{fmt.Errorf("%w: %w", store.ErrMoveAborted, store.ErrNoMajority), 503, "move-aborted"},
		{fmt.Errorf("%w: 2 of 3", store.ErrNoMajority), 503, "move-unfinished"},
		{errors.New("broken\npipe"), 503, "move-unfinished"},
		{context.DeadlineExceeded, 503, "move-unfinished"},
	} {
		n := newMover(func(_ context.Context, q store.MoveRequest, _ func(store.MoveStage)) error {
			if q.From == "a" {
				return nil
			}
			return c.err
		})
		w := postMove(t, n, `{"to":"b"}`)
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != c.status || p.Type != wire.ProblemsPath+c.slug {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
		if detail := strings.ReplaceAll(c.err.Error(), "\n", "; ") + ". 1 of 2 moves were made before."; string(p.Detail) != detail {
			t.Errorf("%q, want %q", p.Detail, detail)
		}
	}
}

// TestMovesBegunOutliveTheirClient lets the client leave, and the server stop, before and after a move has begun.
func TestMovesBegunOutliveTheirClient(t *testing.T) {
	for _, begun := range []bool{false, true} {
		for _, drain := range []bool{false, true} {
			t.Run(fmt.Sprintf("begun %v, drain %v", begun, drain), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { leaveMove(t, begun, drain) })
			})
		}
	}
}

func leaveMove(t *testing.T, begun, drain bool) {
	client, leave := context.WithCancel(t.Context())
	defer leave()
	var moves int
	var n *apitest.Node
	n = newMover(func(ctx context.Context, _ store.MoveRequest, progress func(store.MoveStage)) error {
		moves++
		if begun {
			progress(store.MoveBegun)
		}
		if drain {
			n.Drain()
		} else {
			leave()
		}
		synctest.Wait()
		if ctx.Err() == nil != begun {
			t.Errorf("the move has begun: %v, and its context says %v", begun, ctx.Err())
		}
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 2*time.Minute {
			t.Errorf("bound: %v, %v", deadline, ok)
		}
		if begun {
			progress(store.MoveDone)
		}
		return ctx.Err()
	})
	r := httptest.NewRequestWithContext(client, "POST", "/v1/move", strings.NewReader(`{"to":"b"}`))
	w := httptest.NewRecorder()
	func() {
		defer func() { recover() }() // the connection of a client that has left breaks
		n.ServeHTTP(w, r)
	}()
	if moves != 1 {
		t.Errorf("%d moves, want the first alone", moves)
	}
	if drain && (w.Code != 503 || !strings.Contains(w.Body.String(), fmt.Sprintf("shutting down; %d of 2", map[bool]int{true: 1}[begun]))) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestMovesBeginInTime: a move that cannot begin ends its request.
func TestMovesBeginInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMover(func(ctx context.Context, _ store.MoveRequest, _ func(store.MoveStage)) error {
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		w := httptest.NewRecorder()
		n.ServeHTTP(w, httptest.NewRequest("POST", "/v1/move", strings.NewReader(`{"to":"b"}`)))
		if took := time.Since(began); w.Code != 503 || took != time.Minute {
			t.Errorf("%d after %v", w.Code, took)
		}
	})
}

func TestRequestsToMoveExcludeEachOther(t *testing.T) {
	arrived, release := make(chan bool, 4), make(chan bool)
	n := newMover(func(_ context.Context, _ store.MoveRequest, progress func(store.MoveStage)) error {
		arrived <- true
		<-release
		progress(store.MoveBegun)
		progress(store.MoveDone)
		return nil
	})
	var group sync.WaitGroup
	group.Go(func() {
		if w := postMove(t, n, `{"to":"b"}`); w.Code != 200 || strings.Count(w.Body.String(), "waited_ms") != 2 {
			t.Errorf("the first: %d %s", w.Code, w.Body)
		}
	})
	<-arrived
	second := make(chan *httptest.ResponseRecorder)
	go func() { second <- postMove(t, n, `{"to":"b"}`) }()
	select {
	case w := <-second:
		if w.Code != 409 || !strings.Contains(w.Body.String(), "move-refused") {
			t.Errorf("the second: %d %s", w.Code, w.Body)
		}
	case <-arrived:
		t.Error("two requests move slots at once")
		defer func() { <-second }()
	}
	if w := postMove(t, n, `{"to":"b","plan":true}`); w.Code != 200 {
		t.Errorf("a plan meanwhile: %d %s", w.Code, w.Body)
	}
	close(release)
	group.Wait()
}
