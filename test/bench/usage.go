package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A usage is how much processor time was used up to a moment: by everybody, and by the bench with all it started.
type usage struct {
	at        time.Time
	all, ours time.Duration
}

func usageNow(servers []*process) usage {
	u := usage{at: time.Now(), all: busy()}
	for _, p := range servers {
		u.ours += p.cpu()
	}
	u.ours += usedBy(syscall.RUSAGE_SELF) + usedBy(syscall.RUSAGE_CHILDREN)
	return u
}

// usedBy is the processor time of this process, or of those that it started and that have ended.
func usedBy(who int) time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(who, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// others is the share of the processors that others used between u and later.
func (u usage) others(later usage) float64 {
	span := later.at.Sub(u.at) * time.Duration(runtime.NumCPU())
	if span <= 0 {
		return 0
	}
	return max(0, float64((later.all-u.all)-(later.ours-u.ours))/float64(span))
}

// busy is the time that all processors together were not idle; 0 where the system does not tell.
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
