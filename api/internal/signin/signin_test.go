package signin

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func newSealer(t testing.TB, secret []byte) *Sealer {
	t.Helper()
	s, err := New(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTicketSurvivesTheCookie(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, MinSecretBytes)
	now := time.Date(2026, 11, 29, 7, 0, 0, 0, time.UTC)
	ticket := Ticket{KeyID: "abcdefghij", Issued: now, Expires: now.Add(time.Hour)}
	value := newSealer(t, secret).Seal(ticket)
	got, err := newSealer(t, secret).Open(value, now.Add(time.Minute)) // another process with the same secret
	if err != nil || got != ticket {
		t.Errorf("%v, %v", got, err)
	}
}

func TestInvalidCookiesAreRefused(t *testing.T) {
	s := newSealer(t, nil)
	now := time.Now()
	ticket := Ticket{KeyID: "abcdefghij", Issued: now, Expires: now.Add(time.Hour)}
	value := s.Seal(ticket)
	for i := range value {
		damaged := []byte(value)
		damaged[i] ^= 1
		if _, err := s.Open(string(damaged), now); !errors.Is(err, ErrInvalid) {
			t.Fatalf("byte %d damaged: %v", i, err)
		}
	}
	tooLong := ticket
	tooLong.Expires = now.Add(MaxAge + time.Second)
	for name, c := range map[string]struct {
		value string
		at    time.Time
	}{
		"empty":            {"", now},
		"cut":              {value[:len(value)-1], now},
		"expired":          {value, ticket.Expires},
		"too long a life":  {s.Seal(tooLong), now},
		"another secret":   {newSealer(t, nil).Seal(ticket), now},
		"too large":        {string(bytes.Repeat([]byte{'A'}, 1<<20)), now},
		"another encoding": {value + "=", now},
	} {
		if _, err := s.Open(c.value, c.at); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShortSecretsAreRefused(t *testing.T) {
	if _, err := New(make([]byte, MinSecretBytes-1)); err == nil {
		t.Error("31 bytes are accepted")
	}
}

func FuzzOpen(f *testing.F) {
	s := newSealer(f, nil)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, value string) {
		if _, err := s.Open(value, time.Now()); err == nil {
			t.Errorf("%q opens", value)
		}
	})
}
