package cluster

import (
	"testing"
	"time"
)

// TestRestoreBeginsAnEpochThatNoneBegan: the backup does not know the epochs that began
// after it.
func TestRestoreBeginsAnEpochThatNoneBegan(t *testing.T) {
	monday := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	first := epochAfter(1, monday)
	again := epochAfter(first, monday)
	for i, e := range []int64{first, again, epochAfter(1, monday.Add(48*time.Hour)), epochAfter(9000, monday)} {
		if want := []int64{333, 334, 335, 9001}[i]; e != want {
			t.Errorf("epoch %d, want %d", e, want)
		}
	}
}
