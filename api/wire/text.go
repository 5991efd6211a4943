package wire

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"slices"
	"unicode/utf8"
)

// Text is a string of a document. In JSON a Text is a plain string. Where XML cannot hold the characters, the element
// carries the string as base64 and has the attribute encoding="base64".
type Text string

// MarshalXML implements xml.Marshaler.
func (t Text) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if xmlCanHold(string(t)) {
		return e.EncodeElement(string(t), start)
	}
	start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "encoding"}, Value: "base64"})
	return e.EncodeElement(base64.StdEncoding.EncodeToString([]byte(t)), start)
}

// xmlCanHold reports whether s consists of characters of XML 1.0 (section 2.2).
func xmlCanHold(s string) bool {
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return utf8.ValidString(s)
}

// Metadata holds an entry's metadata by lower-case name: the Runnel-Meta headers of the write.
type Metadata map[string]string

// MarshalXML implements xml.Marshaler: an element item for each name, in order.
func (m Metadata) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	type item struct {
		Name  string `xml:"name,attr"`
		Value Text   `xml:"value"`
	}
	var items struct {
		Items []item `xml:"item"`
	}
	for _, name := range m.Names() {
		items.Items = append(items.Items, item{name, Text(m[name])})
	}
	return e.EncodeElement(items, start)
}

// Names returns the names in order.
func (m Metadata) Names() []string { return slices.Sorted(maps.Keys(m)) }
