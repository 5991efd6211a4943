package broadcast

import "testing"

// TestSendWakesEveryWaiterOnce: a channel from before a broadcast is closed by it, and a channel from afterwards waits for
// the next broadcast.
func TestSendWakesEveryWaiterOnce(t *testing.T) {
	var c Channel
	c.Send() // nothing waits
	isClosed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	for round := range 3 {
		first, second := c.Next(), c.Next()
		if isClosed(first) || isClosed(second) {
			t.Fatalf("round %d: woken without a broadcast", round)
		}
		if c.Send(); !isClosed(first) || !isClosed(second) {
			t.Fatalf("round %d: a broadcast left a waiter asleep", round)
		}
	}
}
