package keys_test

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
)

func TestDigestsOfAWriteAreChecked(t *testing.T) {
	n := apitest.New(t)
	const value = "the value"
	s256, s512, m5 := sha256.Sum256([]byte(value)), sha512.Sum512([]byte(value)), md5.Sum([]byte(value))
	of256, of512 := "sha-256=:"+base64.StdEncoding.EncodeToString(s256[:])+":", "sha-512=:"+base64.StdEncoding.EncodeToString(s512[:])+":"
	of5 := base64.StdEncoding.EncodeToString(m5[:])
	wrong := "sha-256=:" + strings.Repeat("A", 43) + "=:"
	for i, c := range []struct {
		header, stated string
		want           int
		problem        string
	}{
		{"Content-Digest", of256, 201, ""},
		{"Repr-Digest", of256 + ", " + of512, 201, ""},
		{"Content-Digest", "unixsum=:AAAA:, " + of512, 201, ""},
		{"Content-MD5", of5, 201, ""},
		{"Content-Digest", wrong, 400, "digest-mismatch"},
		{"Repr-Digest", of512 + ", " + wrong, 400, "digest-mismatch"},
		{"Content-MD5", "AAAA", 400, "digest-mismatch"},
		{"Content-Digest", "sha-256=AAAA", 400, "invalid-header"},
		{"Content-Digest", "sha-256=:!:", 400, "invalid-header"},
		{"Repr-Digest", ":;", 400, "invalid-header"},
	} {
		key := "/v1/keys/" + string(rune('a'+i))
		w := n.Do(t, "PUT", key, value, c.header, c.stated)
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.problem) {
			t.Errorf("%s: %s: %d %s, want %d %s", c.header, c.stated, w.Code, w.Body, c.want, c.problem)
		}
		if got := n.Do(t, "GET", key, "").Code; (got == 200) != (c.want == 201) {
			t.Errorf("%s: %s: then GET is %d", c.header, c.stated, got)
		}
	}
}

func TestCodingsInSeveralLinesAreRefused(t *testing.T) {
	n := apitest.New(t)
	for _, lines := range [][]string{
		{"Content-Encoding", "identity", "Content-Encoding", "gzip"},
		{"Content-Encoding", "identity, gzip"},
		{"Content-Type", "text/plain", "Content-Type", "text/html"},
	} {
		want := map[string]int{"Content-Encoding": 415, "Content-Type": 400}[lines[0]]
		if w := n.Do(t, "PUT", "/v1/keys/k", "v", lines...); w.Code != want {
			t.Errorf("%v: %d %s, want %d", lines, w.Code, w.Body, want)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/k", ""); w.Code != 404 {
		t.Errorf("something was stored: %d", w.Code)
	}
}
