package console

import (
	"net/http"
	"net/url"

	"github.com/runnelkv/runnel/api/wire"
)

// locksPage is a page of the held locks.
type locksPage struct {
	live
	wire.LockPage
	Prefix string
	More   string // address of the next page
}

// showLocks lists the held locks below a prefix.
func showLocks(v *visit) error {
	p := &locksPage{Prefix: v.r.Query.Get("prefix")}
	if !v.r.Grants.CanReadAll(p.Prefix) {
		return v.render(http.StatusForbidden, "closed", "Locks", &closedPage{"locks", "lock", p.Prefix})
	}
	q := url.Values{"limit": {"100"}, "prefix": {p.Prefix}}
	if after := v.r.Query.Get("after"); after != "" {
		q.Set("after", after)
	}
	if err := v.fetch(wire.LocksPath, q, &p.LockPage); err != nil {
		return err
	}
	if p.Next != "" {
		p.More = "locks?" + url.Values{"prefix": {p.Prefix}, "after": {p.Next}}.Encode()
	}
	return v.render(http.StatusOK, "locks", "Locks", p)
}

// releaseLock ends a lock of any holder.
func releaseLock(v *visit, form url.Values) error {
	_, err := v.do(call{method: http.MethodDelete, path: wire.Path(wire.LocksPath+"/", form.Get("name")), query: url.Values{"force": {"true"}}})
	if err != nil {
		return err
	}
	return v.redirect("locks", url.Values{"prefix": {form.Get("prefix")}, "note": {"released"}})
}
