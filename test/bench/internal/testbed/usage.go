package testbed

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is the processor time used up to a moment, by the whole machine and by the bench with its children.
type usage struct {
	at        time.Time
	all, ours time.Duration
}

// UsageNow returns the processor time up to now, with the servers as children of the bench.
func UsageNow(servers []*Process) usage {
	u := usage{at: time.Now(), all: busy()}
	for _, p := range servers {
		u.ours += p.cpu()
	}
	u.ours += UsedBy(syscall.RUSAGE_SELF) + UsedBy(syscall.RUSAGE_CHILDREN)
	return u
}

// UsedBy returns the processor time of this process, or of its ended children.
func UsedBy(who int) time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(who, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// OtherShare returns the share of the processors that other programs used between u and later.
func (u usage) OtherShare(later usage) float64 {
	span := later.at.Sub(u.at) * time.Duration(runtime.NumCPU())
	if span <= 0 {
		return 0
	}
	return max(0, float64((later.all-u.all)-(later.ours-u.ours))/float64(span))
}

// busy returns the time for which processors were not idle, added up, or 0 if unknown.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return busyOf(line)
}

// busyOf adds up the columns of /proc/stat's first line that are neither idle, waiting for a disk, nor counted twice.
func busyOf(line string) (total time.Duration) {
	const idle, wait, guest = 4, 5, 9
	for i, field := range strings.Fields(line) {
		if i == 0 || i == idle || i == wait || i >= guest {
			continue
		}
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * clockTick
	}
	return total
}
