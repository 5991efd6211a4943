package cluster

import (
	"fmt"
	"testing"
)

func TestRoute(t *testing.T) {
	for name, want := range map[string]string{
		"a": "a", "{t}a": "t", "x{t}y{u}": "t", "{}a": "{}a", "{t": "{t", "a}{b}": "b",
	} {
		if got := route(name); got != want {
			t.Errorf("route(%q) = %q; want %q", name, got, want)
		}
	}
}

// TestAssignMovesOnlyTheNewMastersShare adds a master to n masters: no slot may move
// between the old masters, and the shares must be nearly even.
func TestAssignMovesOnlyTheNewMastersShare(t *testing.T) {
	var masters []string
	for n := 1; n <= 8; n++ {
		before := assignSlots(masters)
		masters = append(masters, fmt.Sprint("partition-", n-1))
		after := assignSlots(masters)
		moved := 0
		for slot := range after {
			if n > 1 && before[slot] != after[slot] {
				moved++
				if int(after[slot]) != n-1 {
					t.Fatalf("slot %d moved from %d to %d when %d came", slot, before[slot], after[slot], n-1)
				}
			}
		}
		if share := Slots / n; n > 1 && (moved < share*2/3 || moved > share*4/3) {
			t.Errorf("master %d took %d slots; its share is %d", n, moved, share)
		}
	}
}
