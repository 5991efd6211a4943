package version

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
)

const tag ClusterTag = 0xfedcba98 // of an arbitrary cluster

func randomVector(n int) (v Vector) {
	for range n {
		v = v.With(Mark{Origin: partition.Origin(fmt.Sprint("p", rand.IntN(6))), Revision: partition.Revision(rand.IntN(5))})
	}
	return v
}

func TestMergeIsTheLeastThatCoversBoth(t *testing.T) {
	for range 5000 {
		a, b := randomVector(rand.IntN(8)), randomVector(rand.IntN(8))
		text := a.Token(SessionToken, tag)
		m := a.Merge(b)
		if a.Token(SessionToken, tag) != text {
			t.Fatalf("Merge changed its receiver")
		}
		if !m.Covers(a) || !m.Covers(b) || !m.Equal(b.Merge(a)) || !m.Merge(a).Equal(m) {
			t.Fatalf("%v merged with %v is %v", a, b, m)
		}
		for o, r := range m.All() {
			if r != max(a.At(o), b.At(o)) {
				t.Fatalf("%v merged with %v has %d of %s", a, b, r, o)
			}
		}
		if (a.Covers(b) && b.Covers(a)) != a.Equal(b) {
			t.Fatalf("%v and %v cover each other, or are equal, and not both", a, b)
		}
	}
}

func TestTokensComeBack(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, v := range []Vector{
		{},
		Of(Mark{Origin: "a", Revision: 1}),
		Of(Mark{Origin: "b", Revision: math.MaxInt64}, Mark{Origin: "a", Revision: 1 << 40}),
		Of(Mark{Origin: partition.Origin(long), Revision: 7}, Mark{Origin: partition.Origin(long[:63]), Revision: 9}),
		randomVector(20),
	} {
		for _, kind := range []TokenKind{SessionToken, ChangesToken} {
			got, of, err := ParseToken(kind, v.Token(kind, tag))
			if err != nil || !got.Equal(v) || of != tag {
				t.Errorf("%v came back as %v of %x, %v", v, got, of, err)
			}
		}
		if _, _, err := ParseToken(ChangesToken, v.Token(SessionToken, tag)); !errors.Is(err, ErrToken) {
			t.Errorf("a session was taken for a place in the change feed: %v", err)
		}
	}
}

// TestTokenOf16MastersIsSmall bounds the size of a token in requests and answers.
func TestTokenOf16MastersIsSmall(t *testing.T) {
	var v Vector
	for i := range 16 {
		name := partition.Origin(fmt.Sprintf("partition-%d", i))
		v = v.With(Mark{Origin: name, Revision: partition.Floor(3) + partition.Revision(1_000_000_000*(i+1))})
	}
	if n := len(v.Token(SessionToken, tag)); n > 256 {
		t.Errorf("the token of 16 masters has %d bytes", n)
	}
}

// TestMangledTokensAreRefused truncates a token and changes each byte.
func TestMangledTokensAreRefused(t *testing.T) {
	text := Of(Mark{Origin: "p0", Revision: partition.Floor(1) + 12345}, Mark{Origin: "p1", Revision: 77}).Token(SessionToken, tag)
	refused := func(text string) {
		t.Helper()
		if v, _, err := ParseToken(SessionToken, text); !errors.Is(err, ErrToken) {
			t.Errorf("%q was taken for %v, %v", text, v, err)
		}
	}
	for i := range text {
		refused(text[:i])
		refused(text[:i] + "\n" + text[i:])
		refused(text[:i] + text[i+1:])
		for _, c := range []byte("aA0-_=\x00\xff") {
			if c != text[i] {
				refused(text[:i] + string(c) + text[i+1:])
			}
		}
	}
	refused(text + "A")
	refused(text + "=")
	refused(strings.Repeat(text, 1000))
}

// TestForgedTokensAreRefused: a correct checksum does not make a text a vector.
func TestForgedTokensAreRefused(t *testing.T) {
	forged := func(body ...byte) string {
		raw := append([]byte("s2\x00\x00\x00\x01"), body...)
		raw = binary.BigEndian.AppendUint32(raw, uint32(xxh3.Hash(raw)))
		return "s2" + base64.RawURLEncoding.EncodeToString(raw[2:])
	}
	if v, _, err := ParseToken(SessionToken, forged(0, 1, 'a', 5)); err != nil || v.At("a") != 5 {
		t.Fatalf("the forger does not know its trade: %v, %v", v, err)
	}
	many := []byte{}
	for i := range 200 {
		many = append(many, 0, 2, byte('A'+i/20), byte('a'+i%20), 5)
	}
	for what, body := range map[string][]byte{
		"a cut mark":                 {0, 1, 'a'},
		"a name beyond the end":      {0, 200, 'a', 5},
		"a length beyond everything": {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'a', 5},
		"more shared than there is":  {1, 1, 'a', 5},
		"an empty name":              {0, 0, 5},
		"revision 0":                 {0, 1, 'a', 0},
		"a negative revision":        {0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"names out of order":         {0, 1, 'b', 5, 0, 1, 'a', 5},
		"a name twice":               {0, 1, 'a', 5, 1, 0, 6},
		"less shared than there is":  {0, 1, 'a', 5, 0, 2, 'a', 'b', 6},
		"a varint that is too long":  {0, 1, 'a', 0x85, 0},
		"an over-long name":          append(append([]byte{0, 65}, strings.Repeat("x", 65)...), 5),
		"very many marks":            many,
	} {
		if v, _, err := ParseToken(SessionToken, forged(body...)); !errors.Is(err, ErrToken) {
			t.Errorf("%s: taken for %v, %v", what, v, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("")
	f.Add("s2")
	for n := range 5 {
		f.Add(randomVector(4*n).Token(SessionToken, tag))
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, of, err := ParseToken(SessionToken, text)
		if err == nil && v.Token(SessionToken, of) != text {
			t.Errorf("%q stands for %v, whose token is %q", text, v, v.Token(SessionToken, of))
		}
	})
}

func TestTokenIsMadeWithOneAllocation(t *testing.T) {
	v := randomVector(10)
	if n := testing.AllocsPerRun(100, func() { v.Token(SessionToken, tag) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
