package api

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/runnelkv/runnel/api/console"
	"github.com/runnelkv/runnel/api/internal/batch"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/feed"
	"github.com/runnelkv/runnel/api/internal/files"
	"github.com/runnelkv/runnel/api/internal/keys"
	"github.com/runnelkv/runnel/api/internal/ledger"
	"github.com/runnelkv/runnel/api/internal/locks"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/pages"
	"github.com/runnelkv/runnel/api/internal/status"
	"github.com/runnelkv/runnel/api/internal/terraform"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/lock"
	states "github.com/runnelkv/runnel/store/terraform"
)

// newRouter returns all routes. Routes are tried in order, so the keys come first.
func (s *Server) newRouter(state *status.Service) *mux.Router {
	single, many := keys.New(s.shared, s.options.Store), batch.New(s.shared, s.options.Store)
	changes := feed.New(s.shared, s.options.Store, s.options.Limits.Heartbeat, s.options.Registry)
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	at := func(path string, m methods) { router.Path(path).Name(path).Handler(s.shared.Resource(path, m)) }
	below := func(prefix, variable string, m methods) *exchange.Resource {
		re := s.shared.Resource(prefix+"{"+variable+"}", m)
		router.PathPrefix(prefix).Name(re.Name).Handler(re)
		return re
	}
	ofKey := func(prefix string, m methods) *exchange.Resource {
		re := below(prefix, "key", m)
		re.Keyed = prefix
		return re
	}
	s.keys = ofKey(exchange.KeysPath, methods{
		"GET":    answer(exchange.ReadKey.After(single.CheckGet), single.Get, nil, append([]string{"entry", "download", "locked"}, exchange.ReadParams...)...),
		"PUT":    answer(exchange.WriteKey.After(single.CheckPut), single.Put, nil, "ttl", "expires_at", "copies", "durable"),
		"POST":   answer(exchange.WriteKey.After(keys.CheckTouch), single.Touch, nil, "ttl", "durable"),
		"DELETE": answer(exchange.WriteKey.After(keys.CheckDelete), single.Delete, nil, "durable"),
	})
	at("/v1/batch", methods{"POST": answer(exchange.PerItem, many.Batch, nil, append([]string{"durable"}, exchange.ReadParams...)...)})
	at("/v1/txn", methods{"POST": answer(exchange.AllItems, many.Transact, []negotiate.Variant{negotiate.JSON}, "durable")})
	at("/v1/keys", methods{
		"GET":    answer(exchange.ReadPrefix(single.ListedPrefix), single.List, negotiate.Lists, "prefix", "delimiter", "after", "limit", "values", "consistency", "max_staleness"),
		"POST":   answer(exchange.WriteAll.After(keys.CheckCreate), single.Create, negotiate.Documents, "ttl", "durable"),
		"DELETE": answer(exchange.WritePrefix(single.DeletedPrefix), single.DeletePrefix, negotiate.Documents, "prefix", "after", "limit", "all"),
	})
	at(exchange.ChangesPath, methods{"GET": answer(exchange.ReadPrefix(feed.Prefix), changes.Changes, negotiate.Changes, "since", "prefix", "values", "wait", "limit")})
	for _, path := range []string{exchange.BucketPath, exchange.CanonicalPath} {
		c := single.Classic(path)
		at(path, methods{"GET": answer(exchange.ReadPrefix(single.ListedPrefix), c.List, negotiate.Classic, "prefix", "delimiter", "after", "limit")})
		put := answer(exchange.WriteKey, c.Put, negotiate.Classic)
		ofKey(path, methods{"GET": answer(exchange.ReadKey, c.Get, negotiate.Classic), "PUT": put, "POST": put, "DELETE": answer(exchange.WriteKey, c.Delete, nil)})
	}
	below(wire.FilesPath, "path", fileMethods(files.New(s.shared, s.options.Store, s.options.Files)))
	held := lock.New(s.options.Store)
	l := locks.New(s.shared, held)
	at(wire.LocksPath, lockMethods(l))
	below(locks.Path, "name", namedLockMethods(l)).Keyed = locks.Path
	ledger.New(s.shared, s.ledger).AddRoutes(at)
	terraform.New(s.shared, states.New(s.options.Store, held, s.options.TerraformKeep), s.options.Store.MaxValueBytes).AddRoutes(router)
	at("/v1/session", methods{"POST": answer(exchange.AnyKey, s.shared.SignInBrowser, nil), "DELETE": answer(exchange.Open, s.shared.SignOutBrowser, nil)})
	s.addOperations(at, state)
	at("/problems", page(exchange.Open, s.listProblems))
	below(exchange.ProblemsPath, "slug", page(exchange.Open, s.getProblem))
	at("/", page(exchange.Open, s.getIndex))
	below(console.Path, "page", s.console.Methods())
	at("/favicon.ico", methods{"GET": serveFile("image/svg+xml", "public, max-age=86400", pages.Icon)})
	router.NotFoundHandler = s.shared.Resource(unmatched, nil)
	return router
}

// fileMethods returns the methods of files and directories.
func fileMethods(f *files.Service) methods {
	return methods{
		"GET":    answer(f.ReadNeed(), f.Get, nil, files.ReadParams...),
		"PUT":    answer(f.WriteNeed(), f.Put, nil, "copies"),
		"POST":   answer(f.PostNeed(), f.Post, nil, "copies", "to", "consistency"),
		"DELETE": answer(f.WriteNeed(), f.Delete, nil),
	}
}

// addOperations adds the routes of operators, and the description of all routes.
func (s *Server) addOperations(at func(path string, m methods), state *status.Service) {
	at("/v1/status", page(exchange.Monitor, state.Status))
	at("/v1/sync", methods{"POST": answer(exchange.Admin, state.Sync, negotiate.Documents)})
	at("/v1/move", methods{"POST": answer(exchange.Admin, state.Move, negotiate.Documents)})
	at("/v1/promote", methods{"POST": answer(exchange.Admin, state.Promote, negotiate.Documents)})
	at("/healthz", page(exchange.Open, state.Health))
	at("/readyz", page(exchange.Open, state.Ready, "write", "ledger"))
	at("/metrics", methods{"GET": answer(exchange.Monitor, s.getMetrics, nil)})
	at("/openapi.yaml", methods{"GET": serveFile("application/yaml", "no-cache", openAPI)})
}

func lockMethods(l *locks.Service) methods {
	return methods{
		"GET":  answer(exchange.ReadPrefix(locks.ListedPrefix), l.List, negotiate.Documents, "prefix", "after", "limit"),
		"POST": answer(exchange.AllItems, l.PostAll, negotiate.Documents),
	}
}

func namedLockMethods(l *locks.Service) methods {
	return methods{
		"GET":    answer(exchange.ReadKey, l.Get, negotiate.Documents),
		"PUT":    answer(exchange.WriteKey, l.Put, negotiate.Documents),
		"DELETE": answer(locks.MayDelete, l.Delete, nil, "force"),
	}
}

// methods are the methods of a route, by their names.
type methods = map[string]exchange.Method

// answer returns a method with its need, whose answer has one of the variants; nil: the handler negotiates. Its query may
// have params.
func answer(n exchange.Need, h exchange.Handler, variants []negotiate.Variant, params ...string) exchange.Method {
	return exchange.Method{Need: n, Handle: h, Params: params, Variants: variants}
}

// page returns the methods of a resource that answers GET with a document.
func page(n exchange.Need, h exchange.Handler, params ...string) methods {
	return methods{"GET": answer(n, h, negotiate.Documents, params...)}
}

// Route names for requests without a route, and for the preflights of browsers.
const (
	unmatched = "unmatched"
	preflight = "preflight"
)

// route returns the resource of a plain key path directly and leaves all other paths to the router. The shortcut saves
// a regular expression, two context values and two copies of the request. A path with an escaped form of its own
// (RawPath) goes to the router.
func (s *Server) route(r *http.Request) http.Handler {
	if r.URL.RawPath == "" && strings.HasPrefix(r.URL.Path, exchange.KeysPath) {
		return s.keys
	}
	return s.router
}
