package console

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/access"
)

// visit is a request for a page, and its answer.
type visit struct {
	*Console
	w       *exchange.Response
	r       *exchange.Request
	name    string // of the page; "": the first
	root    string // of the server, relative to the page
	session string // token of the session of reads and writes
}

func (c *Console) visit(w *exchange.Response, r *exchange.Request, name string) *visit {
	v := &visit{Console: c, w: w, r: r, name: name, root: strings.Repeat("../", strings.Count(name, "/")+1)}
	if cookies := r.CookiesNamed(exchange.SessionHeader); len(cookies) == 1 {
		v.session = cookies[0].Value
	}
	return v
}

// run answers with a page, or with the page of the error. Without a sender that the server knows, every page but the
// sign-in leads to the sign-in.
func (v *visit) run(show func(*visit) error) error {
	if v.Keys != nil && v.r.Identity == nil && v.name != "signin" && v.name != "signout" {
		return v.redirect("signin", url.Values{"next": {v.here()}})
	}
	err := show(v)
	if err == nil || v.w.Status != 0 || v.r.Context().Err() != nil {
		return err
	}
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		e := exchange.AsProblem(err)
		if e.Type == problem.Internal {
			return err // logs the cause
		}
		refused = &refusal{exchange.NewProblemDocument(v.w, e).Problem}
	}
	if refused.Status == http.StatusUnauthorized && v.name != "signin" {
		return v.redirect("signin", url.Values{"next": {v.here()}})
	}
	return v.render(refused.Status, "problem", refused.Title, refused.Problem)
}

// here is the page of the visit with its parameters, for a link back; the first page for a form.
func (v *visit) here() string {
	if v.r.Method == http.MethodPost {
		return ""
	}
	if q := v.r.URL.RawQuery; q != "" {
		return v.name + "?" + q
	}
	return v.name
}

// maxEdit bounds a value that the editor takes, in bytes.
const maxEdit = 256 << 10

// maxFormBytes bounds a form: a text of the largest size that the editor takes, percent-encoded.
const maxFormBytes = 3*maxEdit + 64<<10

// readForm reads the fields of a form.
func (v *visit) readForm() (url.Values, error) {
	if v.r.ContentLength == 0 {
		return url.Values{}, nil
	}
	mediaType, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, problem.New(problem.MediaType, "A form of the console is application/x-www-form-urlencoded.")
	}
	body, err := v.w.ReadBody(v.r, maxFormBytes, problem.BodyTooLarge)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, problem.New(problem.InvalidParameter, "The form is not well-formed.")
	}
	return form, nil
}

// redirect leads to another page, by an address that works behind a proxy which adds a path prefix.
func (v *visit) redirect(name string, q url.Values) error {
	to := v.root
	if name != "" {
		to += strings.TrimPrefix(Path, "/") + name
	}
	for field, values := range q {
		if len(values) == 1 && values[0] == "" {
			delete(q, field)
		}
	}
	if len(q) > 0 {
		to += "?" + q.Encode()
	}
	v.keepSession()
	v.w.SetField("Location", to)
	v.w.Header()["Cache-Control"] = exchange.NoStore
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// keepSession gives the browser the session of the answers, so that the next page shows what this page has written.
func (v *visit) keepSession() {
	c := http.Cookie{Name: exchange.SessionHeader, Value: v.session, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if text := c.String(); v.session != "" && len(text) <= maxCookieBytes {
		v.w.Header()["Set-Cookie"] = append(v.w.Header()["Set-Cookie"], text)
	}
}

// maxCookieBytes is the size up to which browsers keep a cookie.
const maxCookieBytes = 4096

// frame is the data of a template: the parts of every page, and the data of this page.
type frame struct {
	Root    string // of the server, relative to the page
	Assets  map[string]string
	Name    string // of the page
	Title   string
	Sender  sender
	Note    string // about the form that led here
	Nav     []navItem
	Refresh bool // the page shows a state that goes on
	Data    any
}

// sender is the reader of a page.
type sender struct {
	Name     string // of the API key; "": none
	SignedIn bool   // by the cookie
	CanSign  bool   // the server has keys
	Version  string
	Monitor  bool
	Admin    bool
	Force    bool
	Mint     bool
	Prefixes []wire.Text // that the sender may read, if not everything
	ReadAll  bool
}

func (v *visit) sender() sender {
	g := v.r.Grants
	s := sender{CanSign: v.Keys != nil && (v.r.Identity == nil || !g.IsAdmin()), SignedIn: v.r.Browser && v.r.Identity != nil, Monitor: g.MayMonitor(), Admin: g.IsAdmin(), Force: g.MayForce(), Mint: g.MayMint(), ReadAll: g.CanReadAll("")}
	if v.r.Identity != nil {
		s.Name = v.r.Identity.Name
	}
	if g.MaySeeDetails() {
		s.Version = v.Version
	}
	for _, p := range g.Spec().Prefixes {
		if p.Access != access.Deny {
			s.Prefixes = append(s.Prefixes, wire.Text(p.Prefix))
		}
	}
	return s
}

// policy allows the files and the routes of this server, and no script or style in a page.
var policy = []string{"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}

// render answers with a page.
func (v *visit) render(status int, name, title string, data any) error {
	f := frame{Root: v.root, Assets: v.design.names, Name: v.name, Title: title, Sender: v.sender(), Note: notes[v.r.Query.Get("note")], Data: data}
	f.Nav = navigation(f.Sender, v.name)
	_, f.Refresh = data.(interface{ refreshes() })
	var b bytes.Buffer
	if err := v.design.templates[name].Execute(&b, f); err != nil {
		return err
	}
	v.keepSession()
	h := v.w.Header()
	h["Content-Type"] = []string{"text/html; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	h["Content-Security-Policy"] = policy
	h["Referrer-Policy"] = []string{"same-origin"}
	h["Vary"] = exchange.VaryAccept
	h["Cache-Control"] = exchange.NoCache
	if status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{"Bearer"}
	}
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		v.w.WriteBody(b.Bytes())
	}
	return nil
}

// live is part of the data of a page that shows a state which goes on.
type live struct{}

func (live) refreshes() {}

// notes are the messages after a form, by the parameter note.
var notes = map[string]string{
	"saved": "Saved.", "created": "Created.", "deleted": "Deleted.", "expires": "The expiry is set.", "released": "The lock is released.",
	"transferred": "The transfer is posted.", "pending": "The transfer is under way.", "uploaded": "Uploaded.", "bye": "You have signed out.",
	"moved": "The move is made.", "promoted": "The promotion is made.", "synced": "A pass is made.",
}

// navItem is a link of the navigation.
type navItem struct {
	Name, Title, Icon string
	Current           bool
}

// navigation returns the pages that a sender can use.
func navigation(s sender, name string) (items []navItem) {
	if s.CanSign && s.Name == "" && len(s.Prefixes) == 0 && !s.ReadAll && !s.Monitor {
		return nil // nobody has signed in
	}
	add := func(page, title, icon string, below ...string) {
		items = append(items, navItem{page, title, icon, name == page || slices.Contains(below, name)})
	}
	if s.Monitor {
		add("", "Overview", "overview", "overview")
	}
	add("keys", "Keys", "keys", "key", "edit", "new")
	add("changes", "Changes", "changes")
	add("locks", "Locks", "locks")
	add("accounts", "Accounts", "accounts", "account", "open", "transfer")
	add("files", "Files", "files", "file", "upload", "verify")
	if s.Admin {
		add("masters", "Mastership", "masters", "promote")
	}
	return items
}
