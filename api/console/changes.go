package console

import (
	"net/http"
	"net/url"

	"github.com/runnelkv/runnel/api/wire"
)

// changesPage is a page of the feed of changes.
type changesPage struct {
	wire.ChangePage
	Prefix string
	Since  string // token of the address; "": from now on
}

// fromStart is the parameter since of a feed from the first known change on.
const fromStart = "start"

// showChanges shows the changes after a token. The script of the page goes on from there; without the script a link does.
func showChanges(v *visit) error {
	p := &changesPage{Prefix: v.r.Query.Get("prefix"), Since: v.r.Query.Get("since")}
	if !v.r.Grants.CanReadAll(p.Prefix) {
		return v.render(http.StatusForbidden, "closed", "Changes", &closedPage{"changes", "change", p.Prefix})
	}
	q := url.Values{"limit": {"100"}, "since": {"now"}}
	if p.Prefix != "" {
		q.Set("prefix", p.Prefix)
	}
	switch p.Since {
	case "":
	case fromStart:
		q.Del("since")
	default:
		q.Set("since", p.Since)
	}
	if err := v.fetch("/v1/changes", q, &p.ChangePage); err != nil {
		return err
	}
	return v.render(http.StatusOK, "changes", "Changes", p)
}
