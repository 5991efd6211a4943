package wire

import (
	"net/url"
	"strings"
	"testing"
)

// TestLinesOfBatchesAndImportsAreDecodedAlike decodes each line as both, the operation with a member op.
func TestLinesOfBatchesAndImportsAreDecodedAlike(t *testing.T) {
	for rest, refused := range map[string]bool{
		`"key":"k","value":"x"}`:                                  false,
		`"key":"k","value":""}`:                                   false,
		`"key":"k","value":null,"value_base64":"eA=="}`:           false,
		`"key":"k","value":"x","ttl":"5s","if_match":"*"}`:        false,
		`"k\u0065y":"k","value":"\u00e9\n","metadata":{"A":"b"}}`: false,
		"\"key\":\"k\",\"value\":\"\xff\"}":                       true,
		"\"key\":\"\xc3(\",\"value\":\"x\"}":                      true,
		`"key":"k","value":"\ud800x"}`:                            true,
		`"key":"k","value":"1","value":"2"}`:                      true,
		`"Key":"k","value":"1"}`:                                  true,
		`"key":"k","value":"1","type":"t"}`:                       true,
		`"key":"k","value":1}`:                                    true,
		`"key":"k"}`:                                              true,
		`"key":"k","value":"x","value_base64":"eA=="}`:            true,
		`"key":"k","value_base64":"e"}`:                           true,
		`"key":"k","value":"x","metadata":{"a b":"c"}}`:           true,
		`"key":"k","value":"x"}}`:                                 true,
		`"key":"k","value":"x"`:                                   true,
	} {
		var o Operation
		NewDecoder().Line([]byte(`{"op":"put",`+rest), &o)
		e, err := NewDecoder().Entry([]byte("{" + rest))
		if (o.Err != nil) != refused || (err != nil) != refused {
			t.Errorf("%s: as an operation %v, as an entry %v", rest, o.Err, err)
		}
		if err == nil && (string(e.Key) != "k" || string(e.Value) != string(o.Value) || e.Name != o.Name || e.Metadata["a"] != o.Metadata["a"]) {
			t.Errorf("%s: %+v and %+v", rest, o, e)
		}
	}
	for _, exported := range []string{"size", "etag", "revision", "origin", "modified_at"} {
		var o Operation
		if NewDecoder().Line([]byte(`{"op":"put","key":"k","value":"x","`+exported+`":"1"}`), &o); o.Err == nil {
			t.Errorf("an operation has the member %s", exported)
		}
	}
}

func FuzzPathIsDecodedOnceToItsName(f *testing.F) {
	for _, name := range []string{"a", "a/b", "a//b", "../a", "/", "a/", "%2F", " ?#", "ä\xff\x00", "."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		encoded, ok := strings.CutPrefix(Path(KeysPath, name), KeysPath)
		if got, err := url.PathUnescape(encoded); !ok || err != nil || got != name {
			t.Errorf("%q comes back from %s as %q, %v", name, encoded, got, err)
		}
		u, err := url.Parse("http://h" + Path(KeysPath, name))
		if err != nil || u.Path != KeysPath+name || u.RawQuery != "" {
			t.Errorf("%q: %v, %v", name, u, err)
		}
	})
}
