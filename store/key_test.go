package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"":                       "is empty",
		strings.Repeat("x", 513): "is longer than 512 bytes",
		"\xff":                   "is not valid UTF-8",
		"a\x00b":                 "holds the control character U+0000 at byte 1",
		"\x7f":                   "holds the control character U+007F at byte 0",
		"é\u0085":                "holds the control character U+0085 at byte 2",
	} {
		var ke *KeyError
		if err := CheckName(name, MaxKeyBytes); !errors.As(err, &ke) || ke.Reason != want {
			t.Errorf("%q: %v; want %q", name, err, want)
		}
	}
	for _, name := range []string{"a", "/", "//", "..", "a b", "%2F", "é", "日本", strings.Repeat("x", 512), "{", "k/"} {
		if err := CheckName(name, MaxKeyBytes); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseSlots(t *testing.T) {
	got, err := ParseSlots("600,0-3,2")
	if err != nil || !slices.Equal(got, []Slot{0, 1, 2, 3, 600}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseSlots(""); err != nil || got != nil {
		t.Errorf("no slots: %v, %v", got, err)
	}
	for _, text := range []string{"x", "-1", "1-", "3-2", "1024", "0-1024", "1,,2", "1 2"} {
		if got, err := ParseSlots(text); err == nil || !strings.Contains(err.Error(), "numbers from 0 to 1023") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
