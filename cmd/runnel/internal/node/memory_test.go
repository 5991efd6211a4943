package node

import "testing"

// TestConnectionsDoNotMultiplyGarbage: a small heap and a large cache keep the percentage. Beside a crowd of connections
// the garbage grows by no more than half of the memory of the crowd.
func TestConnectionsDoNotMultiplyGarbage(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		heap, stacks uint64
		low, high    int
	}{
		{0, 0, minGCPercent, gcPercent}, // before the first collection
		{4 * mib, 1 * mib, gcPercent, gcPercent},
		{90 * mib, 3 * mib, gcPercent, gcPercent},
		{20 * mib, 20 * mib, minGCPercent, minGCPercent}, // 1,000 idle connections with HTTP/2
		{20 * mib, 9 * mib, minGCPercent, 100},           // 1,000 with TLS and HTTP/1.1
		{100 * mib, 9 * mib, 300, gcPercent - 1},         // the same beside a full cache
		{0, 1 << 40, minGCPercent, minGCPercent},
	} {
		if got := percentBeside(c.heap, c.stacks); got < c.low || got > c.high {
			t.Errorf("heap %d MiB, stacks %d MiB: %d percent, want %d to %d", c.heap/mib, c.stacks/mib, got, c.low, c.high)
		}
	}
}
