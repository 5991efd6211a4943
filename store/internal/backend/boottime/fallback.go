package boottime

import "time"

// began is the start of this process.
var began = time.Now()

// fallback is the time since the start of this process, by the monotonic clock or by the clock of the day, whichever is later:
// only the latter counts suspended time, and can be set.
func fallback() time.Duration {
	return max(time.Since(began), time.Now().Round(0).Sub(began.Round(0)))
}
