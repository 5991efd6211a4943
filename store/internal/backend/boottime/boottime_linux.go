package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since the machine was started. The clock cannot be set.
func Now() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil { // kernels before 2.6.39
		return fallback()
	}
	return time.Duration(t.Nano())
}
