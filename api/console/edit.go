package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// editPage is a form for a value.
type editPage struct {
	Key         string
	IsNew       bool
	Text        string
	ContentType string
	ETag        string
	Newlines    string
	ExpiresAt   string // as stored; "": never
	Keeps       bool   // the expiry
	TTL         string
	Meta        []pair
	Fault       string
	Other       *conflict // nil: nobody has written meanwhile
}

// conflict is the stored value that a form would overwrite.
type conflict struct {
	Stored  *value // nil: the key was deleted
	Rows    []diffRow
	TooLong bool // to compare the lines
}

// showNew asks for a new key.
func showNew(v *visit) error {
	return v.render(http.StatusOK, "edit", "New key", &editPage{Key: v.r.Query.Get("prefix"), IsNew: true, ContentType: "text/plain; charset=utf-8", Newlines: "lf"})
}

// showEdit asks for a new value, beginning with that of the master.
func showEdit(v *visit) error {
	key := v.r.Query.Get("key")
	read, err := v.readValue(wire.Path(wire.KeysPath, key), url.Values{"consistency": {"master"}})
	if err != nil {
		return err
	}
	p := &editPage{Key: key, ContentType: read.ContentType, ETag: read.ETag, Newlines: read.Newlines(), Meta: read.Meta}
	if !read.ExpiresAt.IsZero() {
		p.ExpiresAt, p.Keeps = stamp(read.ExpiresAt), true
	}
	if !read.Editable() {
		p.Fault = "This value is no text of at most " + byteSize(maxEdit) + ", so it cannot be edited here. Saving replaces the whole value."
	} else {
		p.Text = string(read.Data)
	}
	return v.render(http.StatusOK, "edit", "Edit "+key, p)
}

// saveValue stores the value of the form, if the key still has the value from which the form was made. Otherwise the page
// shows both.
func saveValue(v *visit, form url.Values) error {
	p := readEdit(form)
	c := call{method: http.MethodPut, path: wire.Path(wire.KeysPath, p.Key), query: p.query(), fields: map[string]string{"Content-Type": p.ContentType}}
	body := p.bytes()
	c.body, c.size = strings.NewReader(body), int64(len(body))
	if p.IsNew || p.ETag == "" {
		c.fields["If-None-Match"] = "*"
	} else {
		c.fields["If-Match"] = p.ETag
	}
	for _, m := range p.Meta {
		c.fields[http.CanonicalHeaderKey(wire.MetaHeader+m.Name)] = m.Value
	}
	if p.Key == "" {
		p.Fault = "Enter the name of the key."
		return v.render(http.StatusUnprocessableEntity, "edit", "New key", p)
	}
	_, err := v.do(c)
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case err == nil && p.IsNew:
		return v.redirect("key", url.Values{"key": {p.Key}, "note": {"created"}})
	case err == nil:
		return v.redirect("key", url.Values{"key": {p.Key}, "note": {"saved"}})
	case ok && refused.slug() == "precondition-failed":
		return v.showConflict(p, body)
	case ok && refused.Status < 500 && refused.Status != http.StatusUnauthorized && refused.Status != http.StatusForbidden:
		p.Fault = refused.Title + ". " + string(refused.Detail)
		return v.render(refused.Status, "edit", "Edit "+p.Key, p)
	}
	return err
}

// showConflict shows the stored value beside that of the form.
func (v *visit) showConflict(p *editPage, mine string) error {
	stored, err := v.readValue(wire.Path(wire.KeysPath, p.Key), url.Values{"consistency": {"master"}})
	switch {
	case refusedAs(err, "not-found"):
		p.Other, p.ETag = &conflict{}, ""
	case err != nil:
		return err
	default:
		p.Other, p.ETag, p.IsNew = &conflict{Stored: stored}, stored.ETag, false
		if stored.Editable() {
			p.Other.Rows, p.Other.TooLong = compareLines(string(stored.Data), mine)
		}
	}
	return v.render(http.StatusPreconditionFailed, "edit", "Conflict", p)
}

// readEdit reads a form.
func readEdit(form url.Values) *editPage {
	p := &editPage{Key: form.Get("key"), IsNew: form.Get("new") != "", Text: strings.ReplaceAll(form.Get("value"), "\r\n", "\n"), ContentType: strings.TrimSpace(form.Get("content_type")),
		ETag: form.Get("etag"), Newlines: form.Get("newlines"), ExpiresAt: form.Get("expires_at"), Keeps: form.Get("expiry") == "keep", TTL: strings.TrimSpace(form.Get("ttl"))}
	for name, values := range form {
		if short, ok := strings.CutPrefix(name, "meta."); ok && len(values) == 1 {
			p.Meta = append(p.Meta, pair{short, values[0]})
		}
	}
	sortPairs(p.Meta)
	return p
}

// query returns the parameters of the write.
func (p *editPage) query() url.Values {
	switch {
	case p.TTL != "":
		return url.Values{"ttl": {p.TTL}}
	case p.Keeps && p.ExpiresAt != "":
		return url.Values{"expires_at": {p.ExpiresAt}}
	}
	return nil
}

// bytes returns the value with the line breaks of the stored value.
func (p *editPage) bytes() string {
	if p.Newlines == "crlf" {
		return strings.ReplaceAll(p.Text, "\n", "\r\n")
	}
	return p.Text
}
