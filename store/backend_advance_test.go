package store

import (
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestMovedPositionOutlivesAPollThatWasUnderWay: a poll that started before a position was
// moved does not take the position back; a later poll does.
func TestMovedPositionOutlivesAPollThatWasUnderWay(t *testing.T) {
	told := 0
	m := newBackend(memory.New("p1"), Options{}.withDefaults(), hooks{onPositions: func() { told++ }, onReplicaPosition: func(Origin, Revision) {}})
	read := func(asked time.Time, revision Revision) {
		m.observe(&observedPositions{readAt: asked, Positions: partition.Positions{
			Origins: map[Origin]partition.Position{"p0": {Origin: "p0", Revision: revision}, "p9": {Origin: "p9", Revision: revision}}}})
	}
	at := func(o Origin) Revision {
		p, _ := m.position(o)
		return p.Revision
	}
	m.advancePosition(partition.Position{Origin: "p0", Revision: 3})
	if _, known := m.position("p0"); known {
		t.Error("a position is known of a partition that was never read")
	}
	began := time.Now().Add(-time.Second)
	read(began, 5)
	m.advancePosition(partition.Position{Origin: "p0", Revision: 7})
	if at("p0") != 7 || at("p9") != 5 {
		t.Errorf("at %d and %d after the move", at("p0"), at("p9"))
	}
	read(began.Add(time.Millisecond), 6)
	if at("p0") != 7 || at("p9") != 6 {
		t.Errorf("at %d and %d after a poll that began before the move", at("p0"), at("p9"))
	}
	read(time.Now().Add(time.Second), 2) // the position was reset
	if told != 4 {
		t.Errorf("told %d times of 4 changes", told)
	}
	if at("p0") != 2 {
		t.Errorf("at %d after a later poll", at("p0"))
	}
}
