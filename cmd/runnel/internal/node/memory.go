package node

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Collecting garbage a quarter as often raised the embedded reads from 31,000 to 37,000 a second (64 connections,
// 100-byte values, medians of 3 interleaved runs). The memory limit makes the high percentage safe: near the limit the
// collector runs more often.
const (
	gcPercent   = 400
	memoryShare = 0.5 // of the container's limit or the machine's memory
)

// tuneMemory configures the garbage collector for a server. The environment variables GOGC and GOMEMLIMIT win.
func tuneMemory(log *slog.Logger) {
	memory := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)
	if _, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memory)); err != nil {
		log.Warn("the memory of this machine is unknown: the garbage collector keeps its default", "error", err)
	} else if os.Getenv("GOGC") == "" {
		collectAt(gcPercent)
	}
}

// collectAt sets the percentage of the garbage collector, and adjusts the percentage after each collection.
func collectAt(percent int) {
	debug.SetGCPercent(percent)
	adjustAfterCollection(percent)
}

func adjustAfterCollection(percent int) {
	runtime.AddCleanup(new(*int), func(percent int) {
		if next := percentBeside(liveMemory()); next != percent {
			collectAt(next)
		} else {
			adjustAfterCollection(percent)
		}
	}, percent)
}

// liveMemory returns the bytes of the heap that the last collection has kept, and the bytes of all stacks.
func liveMemory() (heap, stacks uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64()
}

const (
	minGCPercent = 50
	usualStacks  = 3 << 20 // bytes; more belong to a crowd of connections
	crowdMemory  = 4       // bytes of heap and stack that a connection with TLS holds, with the garbage of its handshake, for each byte of stack
)

// percentBeside returns the percentage with which a crowd of connections adds little garbage to gcPercent of all other
// memory. Thousands of idle connections would otherwise take gcPercent of their own memory in addition.
func percentBeside(heap, stacks uint64) int {
	crowd := crowdMemory * (max(stacks, usualStacks) - usualStacks)
	other := heap + stacks - min(crowd, heap+stacks)
	return max(minGCPercent, int(gcPercent*other/max(heap+stacks, 1)))
}
