package ledger

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
)

// Service answers the routes of the ledger.
type Service struct {
	*exchange.Shared
	ledger *ledger.Ledger
}

// New returns the service of a ledger.
func New(s *exchange.Shared, l *ledger.Ledger) *Service { return &Service{Shared: s, ledger: l} }

// AddRoutes calls add for every path of the ledger, with its methods.
func (s *Service) AddRoutes(add func(path string, m map[string]exchange.Method)) {
	document := func(n exchange.Need, h exchange.Handler, params ...string) exchange.Method {
		return exchange.Method{Need: n, Handle: answered(h), Params: params, Variants: negotiate.Documents}
	}
	type methods = map[string]exchange.Method
	routes := map[string]methods{
		"/v1/accounts": {
			"GET":  document(exchange.ReadPrefix(listedPrefix), s.listAccounts, "prefix", "q", "email", "contains", "after", "limit", "consistency", "max_staleness"),
			"POST": document(exchange.WriteAll, s.postAccount),
		},
		"/v1/accounts/{id}": {
			"GET":    document(readAccount, s.getAccount, "consistency", "max_staleness"),
			"PUT":    document(writeAccount, s.putAccount),
			"PATCH":  document(writeAccount, s.patchAccount),
			"DELETE": document(writeAccount, s.deleteAccount),
		},
		"/v1/accounts/{id}/history":     {"GET": document(readAccount, s.getHistory, "after", "limit", "consistency", "max_staleness")},
		"/v1/accounts/{id}/deposits":    {"POST": document(mintTo, s.postDeposit)},
		"/v1/accounts/{id}/withdrawals": {"POST": document(writeAccount, s.postWithdrawal)},
		"/v1/transfers": {
			"GET":  document(exchange.ReadPrefix(listedPayer), s.listTransfers, "status", "account", "after", "limit", "consistency", "max_staleness"),
			"POST": document(eachAccount, s.postTransfer),
		},
		"/v1/transfers/batch":                   {"POST": document(exchange.PerItem, s.postBatch)},
		"/v1/transfers/{account}/{id}":          {"GET": document(readAccount, s.getTransfer, "consistency", "max_staleness"), "PUT": document(eachAccount, s.putTransfer)},
		"/v1/transfers/{account}/{id}/post":     {"POST": document(writeAccount, s.postHold)},
		"/v1/transfers/{account}/{id}/void":     {"POST": document(writeAccount, s.voidHold)},
		"/v1/transfers/{account}/{id}/reversal": {"POST": document(mintTo, s.postReversal)},
		"/v1/ledger/verify":                     {"GET": document(exchange.Monitor, s.getVerify, "partition"), "POST": document(exchange.Admin, s.postVerify, "partition", "accept")},
	}
	for path, m := range routes {
		add(path, m)
	}
}

// The needs of the ledger. Accounts are judged like keys of their names. eachAccount is judged by the handler, which knows the accounts.
var (
	readAccount  = exchange.NewNeed("read(account)", ofAccount(func(r *exchange.Request, id string) bool { return r.Grants.CanRead(id) }))
	writeAccount = exchange.NewNeed("write(account)", ofAccount(func(r *exchange.Request, id string) bool { return r.Grants.CanWrite(id) }))
	mintTo       = exchange.NewNeed("mint, write(account)", ofAccount(func(r *exchange.Request, id string) bool { return r.Grants.MayMint() && r.Grants.CanWrite(id) }))
	eachAccount  = exchange.NewNeed("write(accounts)", func(*exchange.Request) (bool, error) { return true, nil })
)

// ofAccount judges the account of the path, after its id was checked.
func ofAccount(allows func(*exchange.Request, string) bool) func(*exchange.Request) (bool, error) {
	return func(r *exchange.Request) (bool, error) {
		member, id := "id", variable(r, "id")
		if v := variable(r, "account"); v != "" {
			member, id = "account", v
		}
		if id != ledger.World || r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := ledger.CheckID(member, id); err != nil {
				return false, problemOf(err)
			}
		}
		r.Key = accountName(id)
		return allows(r, id), nil
	}
}

// accountName is the key under which the audit log names an account.
func accountName(id string) store.Key { return store.Space("account").Key(id) }

// variable returns a variable of the path, percent-decoded; "" if the path has none of that name.
func variable(r *exchange.Request, name string) string {
	v, err := url.PathUnescape(mux.Vars(r.Request)[name])
	if err != nil {
		return "" // net/http has decoded the path before
	}
	return v
}

// mayMove returns an error unless the sender may write every account of an order, and mint if the order does.
func mayMove(r *exchange.Request, o *ledger.Order) error {
	for i := range o.Postings {
		for _, id := range []string{o.Postings[i].From, o.Postings[i].To} {
			if id != ledger.World && !r.Grants.CanWrite(id) {
				return exchange.Forbidden()
			}
		}
	}
	if o.Mints() && !r.Grants.MayMint() || !r.Grants.CanWrite(o.Account) {
		return exchange.Forbidden()
	}
	return nil
}

// by is the name of the API key of a request, for the history.
func by(r *exchange.Request) string {
	if r.Identity == nil {
		return ""
	}
	return r.Identity.Name
}

// quoted reports whether the client wants every amount as a string.
func quoted(h http.Header) bool { return prefers(h, "amounts=string") }

// prefers reports whether the request has a preference (RFC 7240).
func prefers(h http.Header, preference string) bool {
	for _, p := range strings.FieldsFunc(strings.Join(h["Prefer"], ","), func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, isPair := strings.Cut(strings.TrimSpace(p), "=")
		if isPair {
			name += "=" + strings.Trim(value, `"`)
		}
		if strings.EqualFold(name, preference) {
			return true
		}
	}
	return false
}

// respond answers with a document of the ledger.
func (s *Service) respond(w *exchange.Response, r *exchange.Request, status int, d any) error {
	w.Header()["Cache-Control"] = exchange.NoCache
	return s.Respond(w, r, status, "lines", d)
}

// setSeen sets the session of the answer, which has shown or written the mark.
func (s *Service) setSeen(w *exchange.Response, r *exchange.Request, seen store.Mark) error {
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return err
	}
	s.SetSession(w, session, seen)
	w.NoteRevision(seen.Revision)
	return nil
}

// setRead sets the fields of an answer that was read.
func (s *Service) setRead(w *exchange.Response, r *exchange.Request, read store.Read) error {
	w.SetField("Runnel-Partition", read.Partition)
	w.SetField("Runnel-Revision", strconv.FormatInt(int64(read.Entry.Revision), 10))
	setStaleness(w, read.Staleness)
	return s.setSeen(w, r, read.Seen)
}

// setPage sets the fields of an answer that was listed.
func (s *Service) setPage(w *exchange.Response, r *exchange.Request, page *store.Page, query url.Values, next string) (token string, err error) {
	if page.Partition != "" {
		w.SetField("Runnel-Partition", page.Partition)
		setStaleness(w, page.Staleness)
	}
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return "", err
	}
	w.SetField(exchange.SessionHeader, s.SessionToken(session.Merge(page.Seen)))
	if next == "" {
		return "", nil
	}
	token = cursor.Cursor{Prefix: query.Get("prefix"), Delimiter: filterOf(query), After: next}.String()
	link := url.Values{"after": {token}}
	for name, values := range query {
		if name != "after" {
			link[name] = values
		}
	}
	w.Header()["Link"] = []string{"<?" + link.Encode() + `>; rel="next"`}
	return token, nil
}

func setStaleness(w *exchange.Response, d time.Duration) {
	if d >= 0 {
		w.SetField("Runnel-Staleness", strconv.FormatFloat(d.Seconds(), 'f', 3, 64))
	}
}

// filterOf is the part of a query that a cursor carries besides the prefix.
func filterOf(q url.Values) string {
	filter := url.Values{}
	for _, name := range []string{"q", "email", "contains", "status", "account"} {
		if q.Has(name) {
			filter[name] = q[name]
		}
	}
	return filter.Encode()
}

// afterOf decodes the cursor of a query. It continues the list of the same filters only.
func afterOf(q url.Values) (after string, err error) {
	if !q.Has("after") {
		return "", nil
	}
	c, ok := cursor.Parse(q.Get("after"))
	if !ok || c.Prefix != q.Get("prefix") || c.Delimiter != filterOf(q) {
		return "", problem.New(problem.InvalidCursor, "The cursor is not of this list: send it beside the parameters of its page.")
	}
	return c.After, nil
}

// listedPrefix is the prefix of a list of accounts.
func listedPrefix(r *exchange.Request) (string, error) {
	if _, err := afterOf(r.Query); err != nil {
		return "", err
	}
	if _, err := exchange.PageLimit(r.Query); err != nil {
		return "", err
	}
	return exchange.Part(r.Query, "prefix")
}

// listedPayer is the account of a list of transfers, "" for the unfinished transfers of all accounts.
func listedPayer(r *exchange.Request) (string, error) {
	if _, err := afterOf(r.Query); err != nil {
		return "", err
	}
	if _, err := exchange.PageLimit(r.Query); err != nil {
		return "", err
	}
	switch status := r.Query.Get("status"); ledger.Status(status) {
	case "", ledger.Pending, ledger.Held, ledger.Posted, ledger.Failed, ledger.Voided:
	default:
		return "", problem.Parameter("status", "status is PENDING, HELD, POSTED, FAILED or VOIDED, not %q.", problem.Printable(status))
	}
	account := r.Query.Get("account")
	if account == "" {
		if ledger.Status(r.Query.Get("status")) != ledger.Pending {
			return "", problem.Parameter("account", "A list of transfers needs account=, or status=PENDING for those of all accounts.")
		}
		return "", nil
	}
	if err := ledger.CheckID("account", account); err != nil {
		return "", problemOf(err)
	}
	return account, nil
}

// conditions returns the check of If-Match against the mark of an account; nil without the header.
func conditions(h http.Header) (func(store.Mark) error, error) {
	if h["If-Match"] == nil {
		return nil, nil
	}
	tags, err := etag.Parse(h, "If-Match")
	if err != nil {
		return nil, err
	}
	return func(m store.Mark) error {
		if tags.MatchRevision(m.Revision, false) {
			return nil
		}
		return problem.New(problem.Precondition, "The account has another ETag by now.")
	}, nil
}

// setTag sets the entity tag of an account.
func setTag(w *exchange.Response, r *exchange.Request, m store.Mark) {
	w.SetField("Etag", etag.Of(m.Revision, r.Variant.Format))
}

// transferPath is the path of a transfer.
func transferPath(ref ledger.Ref) string {
	return wire.TransfersPath + "/" + url.PathEscape(ref.Account) + "/" + url.PathEscape(ref.ID)
}

// detached returns a context that outlives the client: a transfer that has begun comes to its end, and its answer is known.
func detached(r *exchange.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
}
