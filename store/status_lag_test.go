package store_test

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLagIsZeroWhenLevelAndTheAgeOfTheProofIsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Poll = time.Second
		r := newRig(t, 2, o)
		r.put(t, "a", "1")
		r.level(t)
		time.Sleep(10 * time.Second)
		at := r.Status().Partitions[1].Origins[0]
		if at.LagRevisions != 0 || at.Lag != 0 || at.Age < 10*time.Second || at.Age > 13*time.Second {
			t.Errorf("level 10 s ago: %+v", at)
		}
		r.put(t, "a", "2")
		time.Sleep(2 * time.Second)
		if at := r.Status().Partitions[1].Origins[0]; at.LagRevisions != 1 || at.Lag != at.Age || at.Lag < 12*time.Second {
			t.Errorf("a write later: %+v", at)
		}
	})
}
