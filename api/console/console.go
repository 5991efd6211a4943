package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// Path begins the path of every page but the first.
const Path = "/console/"

// Console serves the pages.
type Console struct {
	*exchange.Shared
	api    http.Handler // the routes that the pages use
	lags   func() map[string]time.Duration
	past   *history
	design *design
	pages  map[string]page
}

// page is a page by its methods; nil: the page does not have the method.
type page struct {
	show func(v *visit) error                  // GET
	act  func(v *visit, form url.Values) error // POST of a form
	take func(v *visit) error                  // POST of a body that is no plain form
}

// Options configures a Console.
type Options struct {
	API http.Handler // the routes of the server
	// Lags returns the lag of every partition that is known, without asking a database.
	Lags func() map[string]time.Duration
}

// New returns the console of a server.
func New(s *exchange.Shared, o Options) *Console {
	return &Console{Shared: s, api: o.API, lags: o.Lags, past: new(history), design: newDesign(), pages: map[string]page{
		"signin":  {show: showSignIn, act: signIn},
		"keys":    {show: showKeys},
		"key":     {show: showKey},
		"edit":    {show: showEdit, act: saveValue},
		"new":     {show: showNew},
		"delete":  {act: removeKey},
		"renew":   {act: renewKey},
		"changes": {show: showChanges},
		"locks":   {show: showLocks},
		"release": {act: releaseLock},

		"accounts": {show: showAccounts},
		"account":  {show: showAccount},
		"open":     {show: showOpen, act: openAccount},
		"transfer": {act: makeTransfer},

		"files":  {show: showFiles},
		"file":   {show: showFile},
		"upload": {take: takeUpload},
		"verify": {act: verifyFile},
		"remove": {act: removeFile},

		"masters": {show: showMasters, act: moveSlots},
		"promote": {act: promotePartition},
		"signout": {act: signOut},
		"sync":    {act: runPass},

		"overview": {show: showOverview}, // after a form; the first page is at the root

	}}
}

// Run samples the lag of the partitions for the chart of the last hour until the context ends.
func (c *Console) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		c.past.add(time.Now(), c.lags())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// params are the parameters of all pages.
var params = []string{"account", "after", "contains", "delimiter", "dir", "email", "from", "key", "next", "note", "path", "prefix", "q", "since", "to"}

// Methods returns the methods of all paths below Path. The needs are those of the routes that a page uses.
func (c *Console) Methods() map[string]exchange.Method {
	return map[string]exchange.Method{
		"GET":  {Need: exchange.Open, Handle: c.get, Params: params},
		"POST": {Need: exchange.Open, Handle: c.post, Params: []string{"dir"}},
	}
}

// Home is the first page, at the root of the server.
func (c *Console) Home(w *exchange.Response, r *exchange.Request) error {
	v := c.visit(w, r, "")
	v.root = "./"
	return v.run(showOverview)
}

func (c *Console) get(w *exchange.Response, r *exchange.Request) error {
	name := strings.TrimPrefix(r.URL.Path, Path)
	if file, ok := strings.CutPrefix(name, "assets/"); ok {
		return c.design.serve(w, r, file)
	}
	v := c.visit(w, r, name)
	if p := c.pages[name]; p.show != nil {
		return v.run(p.show)
	}
	return v.run(func(*visit) error { return problem.New(problem.UnknownRoute, "The console has no such page.") })
}

func (c *Console) post(w *exchange.Response, r *exchange.Request) error {
	name := strings.TrimPrefix(r.URL.Path, Path)
	v, p := c.visit(w, r, name), c.pages[name]
	return v.run(func(v *visit) error {
		if err := c.CheckPage(r.Request, true); err != nil { // a form has no header by which its page could prove its origin
			return err
		}
		switch {
		case p.take != nil:
			return p.take(v)
		case p.act == nil:
			return problem.New(problem.UnknownRoute, "The console takes no form here.")
		}
		form, err := v.readForm()
		if err != nil {
			return err
		}
		return p.act(v, form)
	})
}
