package api

import (
	"encoding/base64"
	"encoding/xml"
	"slices"
	"unicode/utf8"
)

type xmlName = xml.Name

// text is a string that XML may not be able to hold: there it becomes base64,
// and the attribute encoding says so.
type text string

// MarshalXML implements xml.Marshaler.
func (t text) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if xmlCanHold(string(t)) {
		return e.EncodeElement(string(t), start)
	}
	start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "encoding"}, Value: "base64"})
	return e.EncodeElement(base64.StdEncoding.EncodeToString([]byte(t)), start)
}

// xmlCanHold reports whether s consists of characters of XML 1.0 (section 2.2).
func xmlCanHold(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r == '\t', r == '\n', r == '\r':
		case r < 0x20, r == 0xfffe, r == 0xffff:
			return false
		}
	}
	return true
}

// metadata is what the Runnel-Meta headers of an entry's write said, by
// lower-case name.
type metadata map[string]string

// MarshalXML implements xml.Marshaler: an item for each name.
func (m metadata) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	type item struct {
		Name  string `xml:"name,attr"`
		Value text   `xml:"value"`
	}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, name := range m.names() {
		if err := e.EncodeElement(item{name, text(m[name])}, xml.StartElement{Name: xml.Name{Local: "item"}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// names returns the names in order.
func (m metadata) names() []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
