package digest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
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

// Verifier compares a body that is read piece by piece with the digests that its request states.
type Verifier struct {
	sums   map[string]hash.Hash // by algorithm
	stated []statement
}

type statement struct {
	header, algorithm string
	sum               []byte
}

// NewVerifier returns a verifier of the headers that Check knows; nil if the request states no known digest.
func NewVerifier(h http.Header) (*Verifier, error) {
	v := &Verifier{sums: map[string]hash.Hash{}}
	for _, name := range [...]string{"Content-Digest", "Repr-Digest"} {
		if h[name] == nil {
			continue
		}
		digests, err := httpsfv.UnmarshalDictionary(h[name])
		if err != nil {
			return nil, problem.Header(name, "%s is a list like sha-256=:…: (RFC 9530).", name)
		}
		for _, algorithm := range digests.Names() {
			if err := v.add(name, algorithm, digests); err != nil {
				return nil, err
			}
		}
	}
	if md5s := h["Content-Md5"]; md5s != nil {
		sum, err := base64.StdEncoding.DecodeString(md5s[0])
		if err != nil || len(md5s) != 1 || len(sum) != md5.Size {
			return nil, problem.Header("Content-Md5", "Content-MD5 is the MD5 of the body in base64.")
		}
		v.sums["md5"] = md5.New()
		v.stated = append(v.stated, statement{"Content-MD5", "md5", sum})
	}
	if len(v.stated) == 0 {
		return nil, nil
	}
	return v, nil
}

func (v *Verifier) add(name, algorithm string, digests *httpsfv.Dictionary) error {
	newHash := map[string]func() hash.Hash{"sha-256": sha256.New, "sha-512": sha512.New}[algorithm]
	if newHash == nil {
		return nil
	}
	member, _ := digests.Get(algorithm)
	item, _ := member.(httpsfv.Item)
	sum, ok := item.Value.([]byte)
	if !ok {
		return problem.Header(name, "%s of %s is no byte sequence like :…: (RFC 9530).", algorithm, name)
	}
	if v.sums[algorithm] == nil {
		v.sums[algorithm] = newHash()
	}
	v.stated = append(v.stated, statement{name, algorithm, sum})
	return nil
}

// Write adds a piece of the body. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	for _, h := range v.sums {
		h.Write(p)
	}
	return len(p), nil
}

// Verify refuses a body that differs from a stated digest.
func (v *Verifier) Verify() error {
	for _, s := range v.stated {
		if !bytes.Equal(v.sums[s.algorithm].Sum(nil), s.sum) {
			return problem.New(problem.Digest, "The body's %s is not the one that %s states.", s.algorithm, s.header)
		}
	}
	return nil
}
