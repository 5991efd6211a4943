package sync

import (
	"testing"
	"time"
)

func TestNextPassFollowsAnUnevenSchedule(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(month time.Month, day, hour, minute int) time.Time {
		return time.Date(2026, month, day, hour, minute, 0, 0, berlin)
	}
	for _, c := range []struct {
		spec       string
		last, want time.Time
	}{
		{"*/5 9-17 * * *", at(3, 2, 9, 0), at(3, 2, 9, 5)},
		{"*/5 9-17 * * *", at(3, 2, 17, 55), at(3, 3, 9, 0)},
		{"30 2 * * *", at(3, 28, 2, 30), at(3, 30, 2, 30)}, // the 29th has no 02:30
		{"CRON_TZ=UTC 30 2 * * *", at(3, 28, 3, 30), at(3, 29, 4, 30)},
		{"@every 1h", at(3, 2, 9, 0), at(3, 2, 10, 0)},
		{"0 0 30 2 *", at(3, 2, 9, 0), time.Time{}},
	} {
		schedule, err := ParseSchedule(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := following(schedule, c.last); !got.Equal(c.want) {
			t.Errorf("%s after %v: %v, want %v", c.spec, c.last, got, c.want)
		}
	}
}

// TestNextPassIsElapsedTime: the time until the next pass is monotonic, so that setting the host's
// clock does not change when the pass is due.
func TestNextPassIsElapsedTime(t *testing.T) {
	for _, spec := range []string{"@every 1s", "*/5 * * * *", "@daily"} {
		schedule, err := ParseSchedule(spec)
		if err != nil {
			t.Fatal(err)
		}
		if next := following(schedule, time.Now()); next == next.Round(0) {
			t.Errorf("%s: the next time has no monotonic reading", spec)
		}
	}
}
