package digest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"net/http"

	"github.com/dunglas/httpsfv"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// Check refuses a value that differs from a digest stated by the request: Content-Digest and Repr-Digest (RFC 9530),
// which mean the same without a content coding, and Content-MD5 (RFC 1864). Unknown algorithms are ignored.
func Check(h http.Header, value []byte) error {
	for _, name := range [...]string{"Content-Digest", "Repr-Digest"} {
		if h[name] == nil {
			continue
		}
		digests, err := httpsfv.UnmarshalDictionary(h[name])
		if err != nil {
			return problem.Header(name, "%s is a list like sha-256=:…: (RFC 9530).", name)
		}
		for _, algorithm := range digests.Names() {
			if err := check(name, algorithm, digests, value); err != nil {
				return err
			}
		}
	}
	if md5s := h["Content-Md5"]; md5s != nil {
		sum := md5.Sum(value)
		if len(md5s) != 1 || md5s[0] != base64.StdEncoding.EncodeToString(sum[:]) {
			return problem.New(problem.Digest, "The body's MD5 is not the one that Content-MD5 states.")
		}
	}
	return nil
}

func check(name, algorithm string, digests *httpsfv.Dictionary, value []byte) error {
	var sum []byte
	switch algorithm {
	case "sha-256":
		s := sha256.Sum256(value)
		sum = s[:]
	case "sha-512":
		s := sha512.Sum512(value)
		sum = s[:]
	default:
		return nil
	}
	member, _ := digests.Get(algorithm)
	item, _ := member.(httpsfv.Item)
	stated, ok := item.Value.([]byte)
	if !ok {
		return problem.Header(name, "%s of %s is no byte sequence like :…: (RFC 9530).", algorithm, name)
	}
	if !bytes.Equal(stated, sum) {
		return problem.New(problem.Digest, "The body's %s is not the one that %s states.", algorithm, name)
	}
	return nil
}
