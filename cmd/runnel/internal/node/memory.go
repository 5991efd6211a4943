package node

import (
	"log/slog"
	"os"
	"runtime/debug"

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
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	memory := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)
	if _, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(memory)); err != nil {
		debug.SetGCPercent(100)
		log.Warn("the memory of this machine is unknown: the garbage collector keeps its default", "error", err)
	}
}
