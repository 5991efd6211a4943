package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/store/access"
)

// MaxAge bounds the life of a cookie.
const MaxAge = 12 * time.Hour

// Ticket is the content of a cookie.
type Ticket struct {
	KeyID   string      `json:"key"`
	Secret  access.Hash `json:"secret"` // of the key when the browser signed in
	Issued  time.Time   `json:"issued"`
	Expires time.Time   `json:"expires"`
}

// ErrInvalid says that a cookie is forged, damaged, expired, or sealed with a different secret.
var ErrInvalid = errors.New("the sign-in is not valid")

// Sealer seals and opens tickets. A Sealer is safe for concurrent use.
type Sealer struct{ aead cipher.AEAD }

// MinSecretBytes is the least length of a secret.
const MinSecretBytes = 32

// New returns a sealer with a key derived from the secret. Processes with the same secret open each other's cookies. A
// nil secret means a random key: cookies end with the process.
func New(secret []byte) (*Sealer, error) {
	if secret == nil {
		secret = make([]byte, MinSecretBytes)
		rand.Read(secret) // never fails
	}
	if len(secret) < MinSecretBytes {
		return nil, errors.New("the secret is shorter than 32 bytes")
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "runnel sign-in cookie 1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
}

// Seal returns the value of the cookie for a ticket.
func (s *Sealer) Seal(t Ticket) string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // texts and times of this era
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, nil))
}

// maxValueBytes exceeds every sealed ticket.
const maxValueBytes = 1024

// Open returns the ticket of a cookie's value. The error is ErrInvalid.
func (s *Sealer) Open(value string, now time.Time) (Ticket, error) {
	if len(value) > maxValueBytes {
		return Ticket{}, ErrInvalid
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return Ticket{}, ErrInvalid
	}
	text, err := s.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return Ticket{}, ErrInvalid
	}
	var t Ticket
	if json.Unmarshal(text, &t) != nil || !now.Before(t.Expires) || t.Expires.Sub(t.Issued) > MaxAge {
		return Ticket{}, ErrInvalid
	}
	return t, nil
}

// cookieName has the prefix by which browsers keep the cookie from plain HTTP, from other hosts and from scripts of a
// subdomain (RFC 6265bis, section 4.1.3.2). Ports of a host share their cookies.
const cookieName = "__Host-runnel"

// Cookie returns the cookie that gives the value of Seal to a browser until the ticket expires.
func Cookie(value string, t Ticket) *http.Cookie {
	c := Drop()
	c.Value, c.MaxAge, c.Expires = value, max(1, int(t.Expires.Sub(t.Issued).Seconds())), t.Expires
	return c
}

// Drop returns the cookie that makes a browser forget the cookie.
func Drop() *http.Cookie {
	return &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// Find returns the value of the cookie of a request, and whether there is a cookie. Several cookies are no valid value.
func Find(r *http.Request) (value string, found bool) {
	if r.Header["Cookie"] == nil {
		return "", false
	}
	switch cookies := r.CookiesNamed(cookieName); len(cookies) {
	case 0:
		return "", false
	case 1:
		return cookies[0].Value, true
	}
	return "", true
}
