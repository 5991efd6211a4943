package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/runnelkv/runnel/store"
)

// Key is the record of an API key. Times are judged by the clock of the process that
// authenticates.
type Key struct {
	ID        string    `json:"id"`   // 10 characters of base32 in lower case
	Name      string    `json:"name"` // 1..128 printable characters, for people and logs
	Hash      Hash      `json:"hash"` // of the secret
	Grants    Spec      `json:"grants"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"` // as Name; empty if unknown
	ExpiresAt time.Time `json:"expires_at,omitzero"`  // zero: never

	// PreviousHash is the hash of the secret before a rotation, which is valid until
	// PreviousUntil.
	PreviousHash  Hash      `json:"previous_hash,omitzero"`
	PreviousUntil time.Time `json:"previous_until,omitzero"`
}

// MaxNameRunes is the most characters of a key's name.
const MaxNameRunes = 128

// isName reports whether a text has 1..MaxNameRunes printable characters.
func isName(text string) bool {
	n := utf8.RuneCountInString(text)
	return 0 < n && n <= MaxNameRunes && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Validate returns a *FieldError unless the record is valid. Its field is that of the JSON form;
// the fields of the grants stand without "grants.".
func (k *Key) Validate() error {
	switch {
	case !isID(k.ID):
		return faulty("id", "the id of a key must have 10 characters out of a-z and 2-7")
	case !isName(k.Name):
		return faulty("name", "the name of a key must have 1..%d printable characters", MaxNameRunes)
	case k.Hash.IsZero():
		return faulty("hash", "the hash of the key's secret is missing")
	case k.CreatedBy != "" && !isName(k.CreatedBy):
		return faulty("created_by", "the name of the creator must have at most %d printable characters", MaxNameRunes)
	}
	return k.Grants.validate()
}

// system is the space of the entries that Runnel keeps for itself. No client can name a key in it.
const system store.Space = "sys"

// keyPrefix begins the names of stored keys in the space system.
const keyPrefix = "key/"

func storedKey(id string) store.Key { return system.Key(keyPrefix + id) }

// entry returns the stored form of the record.
func (k *Key) entry() (store.Entry, error) {
	value, err := json.Marshal(k)
	return store.Entry{Key: storedKey(k.ID), ContentType: "application/json", Value: value}, err
}

// decodeKey reads the stored form. Unknown fields are refused: they may restrict the key in a way
// that this version does not know.
func decodeKey(e *store.Entry) (k Key, err error) {
	d := json.NewDecoder(bytes.NewReader(e.Value))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return Key{}, err
	}
	if storedKey(k.ID) != e.Key {
		return Key{}, errors.New("the entry holds the key of a different id")
	}
	return k, k.Validate()
}
