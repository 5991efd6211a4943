package terraform

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/terraform"
)

// Service serves states.
type Service struct {
	*exchange.Shared
	states   *terraform.States
	maxBytes func() int64 // of a state
}

// New returns a Service. maxBytes returns the size of the largest value.
func New(s *exchange.Shared, states *terraform.States, maxBytes func() int64) *Service {
	return &Service{s, states, maxBytes}
}

// AddRoutes adds the paths of states to a router, the longer paths first.
func (s *Service) AddRoutes(router *mux.Router) {
	lock := exchange.Method{Need: exchange.WriteKey, Handle: s.Lock, Variants: negotiate.Documents}
	unlock := exchange.Method{Need: exchange.WriteKey, Handle: s.Unlock, Params: []string{"ID"}}
	put := exchange.Method{Need: exchange.WriteKey, Handle: s.Put, Params: []string{"ID", "force"}, Variants: negotiate.Documents}
	const above = wire.TerraformPath + "/"
	add := func(ending string, m map[string]exchange.Method) {
		re := s.Resource(above+"{name}"+ending, m)
		re.Keyed, re.Ending = above, ending
		if ending == "" {
			router.PathPrefix(above).Name(re.Name).Handler(re)
		} else {
			router.Path(above + "{name:.+}" + ending).Name(re.Name).Handler(re)
		}
	}
	add(wire.TerraformLockPath, map[string]exchange.Method{"POST": lock, "PUT": lock, "DELETE": unlock})
	add(wire.TerraformHistoryPath, map[string]exchange.Method{
		"GET": {Need: exchange.ReadKey, Handle: s.History, Variants: negotiate.Documents},
	})
	add("", map[string]exchange.Method{
		"GET":    {Need: exchange.ReadKey, Handle: s.Get, Params: []string{"version", "force"}},
		"POST":   put,
		"PUT":    put,
		"DELETE": {Need: exchange.WriteKey, Handle: s.Delete, Params: []string{"ID", "force", "history"}},
		"LOCK":   lock,
		"UNLOCK": unlock,
	})
	list := s.Resource(wire.TerraformPath, map[string]exchange.Method{
		"GET": {Need: exchange.ReadPrefix(listedPrefix), Handle: s.List, Params: []string{"prefix", "after", "limit"}, Variants: negotiate.Documents},
	})
	router.Path(list.Name).Name(list.Name).Handler(list)
}

// Get is GET /v1/terraform/{name}: the text of the state that stands, or of an old version, as the tool has sent the state. The
// master answers. The parameter force of an address is for writes.
func (s *Service) Get(w *exchange.Response, r *exchange.Request) error {
	var id int64
	if r.Query.Has("version") {
		var err error
		if id, err = strconv.ParseInt(r.Query.Get("version"), 10, 64); err != nil || id < 1 {
			return problem.Parameter("version", "version is the number of a version in the history, not %q.", r.Query.Get("version"))
		}
	}
	_, text, err := s.states.Get(r.Context(), store.Name(r.Key), store.Revision(id), reserve(r.Context(), w))
	if err != nil {
		return asProblem(err)
	}
	h := w.Header()
	h["Cache-Control"] = exchange.NoStore
	h["Content-Type"] = []string{"application/json"}
	h["Content-Security-Policy"] = exchange.SandboxOf("application/json")
	exchange.WriteWhole(w, r, text)
	return nil
}

// reserve returns a function that reserves memory for a text.
func reserve(ctx context.Context, w *exchange.Response) func(bytes int64) error {
	return func(bytes int64) error { return w.Held.Grow(ctx, bytes) }
}

// Put is POST and PUT /v1/terraform/{name}: store the next version of the state. ID names the lock that the sender holds.
func (s *Service) Put(w *exchange.Response, r *exchange.Request) error {
	force, err := exchange.Flag(r.Query, "force")
	if err != nil {
		return err
	}
	state, err := s.readState(w, r)
	if err != nil {
		return err
	}
	v, _, err := s.states.Put(r.Context(), store.Name(r.Key), state, terraform.PutOptions{LockID: r.Query.Get("ID"), Force: force})
	if err != nil {
		return asProblem(err)
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "lines", &versionDocument{*documentOf(&v, true)})
}

// Delete is DELETE /v1/terraform/{name}: delete the state, and with history=true all versions of the state.
func (s *Service) Delete(w *exchange.Response, r *exchange.Request) error {
	forget, err := exchange.Flag(r.Query, "history")
	if err != nil {
		return err
	}
	name, id := store.Name(r.Key), r.Query.Get("ID")
	_, err = s.states.Delete(r.Context(), name, id)
	if err = asProblem(err); forget && (err == nil || isNoState(err)) {
		err = asProblem(s.states.Forget(r.Context(), name, id))
	}
	if err != nil {
		return err
	}
	return respondEmpty(w)
}

// respondEmpty answers 200 without a body: the tools accept no other status for a deletion and an unlock.
func respondEmpty(w *exchange.Response) error {
	w.Header()["Cache-Control"] = exchange.NoStore
	w.SetField("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}
