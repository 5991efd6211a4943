package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// keyPage is the data of the page of a key.
type keyPage struct {
	*value
	Key      wire.Text
	Crumbs   []crumb
	Short    string
	MayWrite bool
}

// showKey shows a value by its media type.
func showKey(v *visit) error {
	key := v.r.Query.Get("key")
	read, err := v.readValue(wire.Path(wire.KeysPath, key), nil)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "key", key, &keyPage{read, wire.Text(key), crumbs(key, "/"), key[len(folderOf(key, "/")):], v.r.Grants.CanWrite(key)})
}

// removeKey deletes a key, unless the key was written after the form was made.
func removeKey(v *visit, form url.Values) error {
	key := form.Get("key")
	_, err := v.do(call{method: http.MethodDelete, path: wire.Path(wire.KeysPath, key), fields: map[string]string{"If-Match": form.Get("etag")}})
	if err != nil {
		return err
	}
	return v.redirect("keys", url.Values{"prefix": {folderOf(key, "/")}, "note": {"deleted"}})
}

// renewKey sets the expiry of a key.
func renewKey(v *visit, form url.Values) error {
	key := form.Get("key")
	_, err := v.do(call{method: http.MethodPost, path: wire.Path(wire.KeysPath, key), query: url.Values{"ttl": {strings.TrimSpace(form.Get("ttl"))}}})
	if err != nil {
		return err
	}
	return v.redirect("key", url.Values{"key": {key}, "note": {"expires"}})
}

// sortPairs orders metadata by name.
func sortPairs(pairs []pair) {
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
}
