package cursor

import (
	"net/url"
	"testing"
)

func FuzzCursor(f *testing.F) {
	f.Add("", "", "", "")
	f.Add("a/", "/", "a/b", Cursor{"a/", "/", "a/b"}.String())
	f.Fuzz(func(t *testing.T, prefix, delimiter, after, raw string) {
		if c, ok := Parse(raw); ok && c.String() != raw {
			t.Errorf("%q is read as %+v, which is %q", raw, c, c.String())
		}
		if len(prefix)+len(delimiter)+len(after) > 3*512 {
			return
		}
		c := Cursor{prefix, delimiter, after}
		if got, ok := Parse(c.String()); !ok || got != c {
			t.Errorf("%+v comes back as %+v, %v", c, got, ok)
		}
		if u := url.QueryEscape(c.String()); u != c.String() {
			t.Errorf("%s needs escaping", c)
		}
	})
}
