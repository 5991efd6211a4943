package backend

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/internal/pointread"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestSlowPositionsOfAPartitionThatAnswersAreNoOutage: on an overloaded machine a poll runs out of time although the database
// answers others. An outage then would add the retries of all clients to the load.
func TestSlowPositionsOfAPartitionThatAnswersAreNoOutage(t *testing.T) {
	for _, c := range []struct {
		name     string
		readAt   time.Duration // after the beginning of the poll; 0: never
		readable bool
	}{
		{"a read late in the poll", 1500 * time.Millisecond, true},
		{"a read at its beginning, as of a server that paused then", 100 * time.Millisecond, false},
		{"no read", 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := memory.New("p0")
			b := newTestSet(t, nil, p).Named("p0")
			b.SetJoined(nil)
			p.Fail(func(op string) error {
				if op == memory.OpPositions {
					time.Sleep(3 * time.Second)
				}
				return nil
			})
			if c.readAt > 0 {
				go func() {
					time.Sleep(c.readAt)
					if _, err := b.ReadKeys(t.Context(), []partition.Key{"k/a"}, pointread.Whole); err != nil {
						t.Error(err)
					}
				}()
			}
			b.PollPositions(t.Context())
			if b.IsReadable() != c.readable {
				t.Errorf("%s: readable %v", c.name, b.IsReadable())
			}
		})
	}
}
