package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"strings"
)

// The form of a token: "rnl_", the id, "_", 32 random bytes, and the CRC-32 (IEEE, big endian) of
// all characters before. Bytes are written as base64url without padding. Every part has a fixed
// length, so a '_' inside the secret is not ambiguous.
const (
	tokenMark = "rnl_"
	idBytes   = 10
	keyBytes  = 43 // 32 bytes in base64url
	sumBytes  = 6  // 4 bytes in base64url

	secretAt   = len(tokenMark) + idBytes + 1
	sumAt      = secretAt + keyBytes
	tokenBytes = sumAt + sumBytes
)

// idAlphabet is base32 in lower case.
const idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

var (
	// ErrTokenForm: the text does not have the form of a token.
	ErrTokenForm = errors.New("this is not an API key: a key has 64 characters and begins with rnl_")
	// ErrTokenChecksum: the text has the form of a token, and its checksum does not match. A
	// character was changed.
	ErrTokenChecksum = errors.New("this API key has a typing error: its checksum does not match")
)

// Token is the text that a client sends to authenticate. Its zero value is no token.
type Token struct {
	ID     string // 10 characters of base32 in lower case
	secret string // 49 characters: random part and checksum
}

// NewToken returns a token with a random id and a random secret.
func NewToken() Token {
	var random [idBytes]byte
	rand.Read(random[:]) // never fails
	for i, b := range random {
		random[i] = idAlphabet[b%32]
	}
	return newSecret(string(random[:]))
}

// newSecret returns a token of the id with a random secret.
func newSecret(id string) Token {
	var random [32]byte
	rand.Read(random[:]) // never fails
	text := tokenMark + id + "_" + base64.RawURLEncoding.EncodeToString(random[:])
	return Token{ID: id, secret: text[secretAt:] + checksum(text)}
}

// checksum returns the last characters of the token that begins with text.
func checksum(text string) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(text)))
	return base64.RawURLEncoding.EncodeToString(sum)
}

// ParseToken reads a token without any look-up. The errors are ErrTokenForm and ErrTokenChecksum.
func ParseToken(text string) (Token, error) {
	t, ok := splitToken(text)
	if !ok || !isID(t.ID) || strings.Trim(t.secret, base64Alphabet) != "" {
		return Token{}, ErrTokenForm
	}
	if checksum(text[:sumAt]) != text[sumAt:] {
		return Token{}, ErrTokenChecksum
	}
	return t, nil
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// splitToken splits a text of the right length. The parts may hold any characters.
func splitToken(text string) (Token, bool) {
	if len(text) != tokenBytes || !strings.HasPrefix(text, tokenMark) || text[secretAt-1] != '_' {
		return Token{}, false
	}
	return Token{ID: text[len(tokenMark) : secretAt-1], secret: text[secretAt:]}, true
}

func isID(text string) bool {
	return len(text) == idBytes && strings.Trim(text, idAlphabet) == ""
}

// Reveal returns the whole token with its secret.
func (t Token) Reveal() string { return tokenMark + t.ID + "_" + t.secret }

// String returns the token with its secret replaced, so that no log shows the secret.
func (t Token) String() string { return tokenMark + t.ID + "_REDACTED" }

// GoString is String, for %#v.
func (t Token) GoString() string { return t.String() }

// Hash returns the stored form of the secret.
func (t Token) Hash() Hash { return sha256.Sum256([]byte(t.secret)) }

// Hash is the SHA-256 of a token's secret, which is the text after the second '_'.
type Hash [sha256.Size]byte

// IsZero reports whether the hash is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

// equals compares in constant time.
func (h *Hash) equals(other *Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// String returns 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reverses String.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return errors.New("a hash has 64 hexadecimal digits")
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return errors.New("a hash has 64 hexadecimal digits")
	}
	return nil
}
