package partition

import (
	"slices"
	"testing"
)

func TestSlotSetHoldsItsSlots(t *testing.T) {
	slots := []uint16{0, 7, 8, 1023}
	s := NewSlotSet(1024, slots...)
	if got := s.All(); !slices.Equal(got, slots) {
		t.Errorf("the set has %v, want %v", got, slots)
	}
	if s.Has(1) || s.Has(60_000) {
		t.Error("the set has a slot that was not given")
	}
}

func TestClusterKnowsItsMoves(t *testing.T) {
	c := Cluster{Epoch: 7, Masters: []string{"a", "b"}, Slots: []uint16{0, 1, 1},
		Epochs: map[string]int64{"a": 2, "b": 5},
		Moves: []Move{
			{Slots: NewSlotSet(3, 1), From: "c", To: "b", Began: 3, Done: 4},
			{Slots: NewSlotSet(3, 2), From: "b", To: "d", Began: 5},
		}}
	if m := c.MoveOf(2); m == nil || m.To != "d" {
		t.Errorf("slot 2 is part of %+v", m)
	}
	if m := c.MoveOf(1); m != nil {
		t.Errorf("the finished move %+v has the slot", m)
	}
	if c.EpochOf("a") != 2 || c.EpochOf("b") != 5 {
		t.Error("the epochs of the masters are not those of the map")
	}
	if restored := (&Cluster{Epoch: 9, Masters: []string{"a"}}); restored.EpochOf("a") != 9 {
		t.Error("after a restore a master's epoch is not that of the cluster")
	}
	for origin, want := range map[Origin]Revision{"a": 0, "b": 0, "c": Floor(3)} {
		if got := c.GaveAway(origin); got != want {
			t.Errorf("%s gave away slots below %d, want %d", origin, got, want)
		}
	}
	origins := c.Origins()
	slices.Sort(origins)
	if !slices.Equal(origins, []Origin{"a", "b", "c"}) {
		t.Errorf("the origins are %v", origins)
	}
}
