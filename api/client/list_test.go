package client

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStreamGivesNoKeyTwice(t *testing.T) {
	var got []string
	s := &listStream{last: "a", yield: func(k Item, _ error) bool {
		got = append(got, k.Key)
		return true
	}}
	for _, key := range []string{"A", "a", "b", "b", "c"} {
		if _, err := s.yieldLine(fmt.Appendf(nil, `{"key":%q}`, key)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"b", "c"}, got); diff != "" {
		t.Error(diff)
	}
}
