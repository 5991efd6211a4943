package negotiate

import (
	"slices"
	"testing"
)

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   string // "": none
	}{
		{nil, "application/json"},
		{[]string{""}, "application/json"},
		{[]string{"*/*"}, "application/json"},
		{[]string{"application/*"}, "application/json"},
		{[]string{"text/*"}, "text/html"},
		{[]string{"text/html"}, "text/html"},
		{[]string{"TEXT/HTML"}, "text/html"},
		{[]string{"application/xml, */*"}, "application/xml"},
		{[]string{"*/*, application/xml"}, "application/xml"},
		{[]string{"application/xml;q=0.1, */*;q=0.5"}, "application/json"},
		{[]string{"application/json;q=0, */*"}, "application/xml"},
		{[]string{"application/json;q=0"}, ""},
		{[]string{"*/*;q=0"}, ""},
		{[]string{"text/plain;q=0.5", "text/html;q=0.7"}, "text/html"},
		{[]string{"text/plain; charset=utf-8; q=0.9, application/json;q=0.8"}, "text/plain"},
		{[]string{"text/plain; x=\"a,b;q=0\", image/png"}, "text/plain"},
		{[]string{"image/png"}, ""},
		{[]string{"application/json;q=2"}, ""},
		{[]string{"application/json;q=NaN"}, ""},
		{[]string{"application/json;q=0.0001"}, ""},
		{[]string{"application/json;q=x, text/plain;q=0.1"}, "text/plain"},
		{[]string{"json"}, ""},
		{[]string{",,,"}, ""},
		{[]string{"*"}, ""},
		{[]string{"*/html"}, ""},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "text/html"},
	} {
		o, err := Choose(c.accept, Documents)
		if got := o.typ + "/" + o.subtype; (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("Accept %q: %s, want %q", c.accept, got, c.want)
		}
	}
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"*/*", "text/html;q=0.5, */*", `a/b;c="\"`, ";q=", "text/*;q=1.000"} {
		f.Add(s, "text/plain; charset=utf-8")
	}
	f.Fuzz(func(t *testing.T, accept, contentType string) {
		among := append([]Variant{Raw(contentType)}, Lists...)
		o, err := Choose([]string{accept}, among)
		if err == nil && !slices.Contains(among, o) {
			t.Errorf("%q: %+v was not offered", accept, o)
		}
		if _, err := Choose([]string{accept, "*/*;q=0.001"}, Lists); err != nil && accept != "" {
			if _, err := Choose([]string{accept}, Lists); err == nil {
				t.Errorf("%q: accepting more leaves nothing", accept)
			}
		}
	})
}

func TestNegotiationShortcutAllocatesNothing(t *testing.T) {
	for _, accept := range [][]string{nil, {"*/*"}} {
		if n := testing.AllocsPerRun(100, func() { Choose(accept, Documents) }); n != 0 {
			t.Errorf("Accept %q: %v allocations", accept, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Choose([]string{"text/html, */*;q=0.5"}, Documents) }); n != 0 {
		t.Errorf("parsing: %v allocations", n)
	}
}
