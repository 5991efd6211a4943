package access

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestTokenReturnsFromItsText(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		a := NewToken()
		text := a.Reveal()
		b, err := ParseToken(text)
		if err != nil || a != b || a.Hash() != b.Hash() {
			t.Fatalf("%q: %v", text, err)
		}
		if len(text) != 64 || seen[a.ID] || seen[a.secret] {
			t.Fatalf("%q repeats, or has the wrong length", text)
		}
		seen[a.ID], seen[a.secret] = true, true
	}
}

// TestOneChangedCharacterIsATypingError tries every position.
func TestOneChangedCharacterIsATypingError(t *testing.T) {
	text := []byte(NewToken().Reveal())
	for i := range text {
		for _, c := range "aZ7_-. \x00" {
			changed := []byte(string(text))
			if changed[i] = byte(c); changed[i] == text[i] {
				continue
			}
			if _, err := ParseToken(string(changed)); !errors.Is(err, ErrTokenChecksum) && !errors.Is(err, ErrTokenForm) {
				t.Errorf("position %d, %q: %v", i, c, err)
			}
		}
	}
	text[20] = map[bool]byte{true: 'B', false: 'A'}[text[20] == 'A']
	if _, err := ParseToken(string(text)); !errors.Is(err, ErrTokenChecksum) {
		t.Errorf("a letter in place of another: %v", err)
	}
}

func TestTokensHideTheirSecret(t *testing.T) {
	token := NewToken()
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s", token, token, &token, token)} {
		if strings.Contains(text, token.secret) || !strings.Contains(text, token.ID) {
			t.Errorf("%s", text)
		}
	}
}

func TestHashesAreHexadecimalText(t *testing.T) {
	h := NewToken().Hash()
	text, _ := h.MarshalText()
	var back Hash
	if err := back.UnmarshalText(text); err != nil || back != h || len(text) != 64 {
		t.Errorf("%s: %v", text, err)
	}
	for _, bad := range []string{"", "00", string(text) + "0", string(text[:63]) + "g"} {
		if back.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, text := range []string{"", "rnl_", NewToken().Reveal(), "Bearer " + NewToken().Reveal(), strings.Repeat("_", 64), "rnl_" + strings.Repeat("_", 60)} {
		f.Add(text)
	}
	broken := []byte(NewToken().Reveal())
	broken[random.IntN(len(broken))] ^= 0x80
	f.Add(string(broken))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil && token != (Token{}) {
			t.Errorf("%q: a token beside the error %v", text, err)
		}
		if err == nil && (token.Reveal() != text || !isID(token.ID)) {
			t.Errorf("%q became %q", text, token.Reveal())
		}
	})
}
