package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// keysPage is a page of the keys below a prefix.
type keysPage struct {
	Prefix    string
	Delimiter string // between the parts of a name; "": the keys are not grouped
	Crumbs    []crumb
	Folders   []listed
	Keys      []keyRow
	Next      string // address of the next page
	MayWrite  bool   // a key below the prefix
}

// crumb is a prefix above the present one.
type crumb struct{ Name, Prefix string }

// listed is a name, and the part of the name that the page shows.
type listed struct{ Full, Short string }

// keyRow is a key of a list.
type keyRow struct {
	*wire.Entry
	Short string
}

// noDelimiter is the parameter delimiter of a list without groups.
const noDelimiter = "none"

// showKeys lists the keys below a prefix, grouped by a delimiter.
func showKeys(v *visit) error {
	q := v.r.Query
	p := &keysPage{Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter")}
	switch {
	case !q.Has("delimiter"):
		p.Delimiter = "/"
	case p.Delimiter == noDelimiter:
		p.Delimiter = ""
	}
	if !v.r.Grants.CanReadAll(p.Prefix) {
		return v.render(http.StatusForbidden, "closed", "Keys", &closedPage{"keys", "key", p.Prefix})
	}
	ask := url.Values{"prefix": {p.Prefix}, "limit": {"100"}}
	if p.Delimiter != "" {
		ask.Set("delimiter", p.Delimiter)
	}
	if q.Has("after") {
		ask.Set("after", q.Get("after"))
	}
	var page wire.KeyPage
	if err := v.fetch("/v1/keys", ask, &page); err != nil {
		return err
	}
	p.Crumbs, p.MayWrite = crumbs(p.Prefix, p.Delimiter), v.r.Grants.CanWrite(p.Prefix+"x")
	base := folderOf(p.Prefix, p.Delimiter)
	for _, name := range page.Prefixes {
		p.Folders = append(p.Folders, listed{string(name), strings.TrimPrefix(string(name), base)})
	}
	for _, e := range page.Keys {
		p.Keys = append(p.Keys, keyRow{e, strings.TrimPrefix(string(e.Key), base)})
	}
	if page.Next != "" {
		more := url.Values{"prefix": {p.Prefix}, "after": {page.Next}}
		if q.Has("delimiter") {
			more.Set("delimiter", q.Get("delimiter"))
		}
		p.Next = "keys?" + more.Encode()
	}
	return v.render(http.StatusOK, "keys", "Keys", p)
}

// closedPage says that the grants do not allow a list, and offers the prefixes that they allow.
type closedPage struct{ Page, Thing, Prefix string }

// folderOf returns the part of a prefix up to its last delimiter.
func folderOf(prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	if i := strings.LastIndex(prefix, delimiter); i >= 0 {
		return prefix[:i+len(delimiter)]
	}
	return ""
}

// crumbs returns the prefixes above a prefix, and the prefix itself.
func crumbs(prefix, delimiter string) (above []crumb) {
	if delimiter == "" {
		return nil
	}
	for at := 0; ; {
		i := strings.Index(prefix[at:], delimiter)
		if i < 0 {
			return above
		}
		end := at + i + len(delimiter)
		name := prefix[at : at+i]
		if name == "" {
			name = "(empty)"
		}
		above, at = append(above, crumb{name, prefix[:end]}), end
	}
}
