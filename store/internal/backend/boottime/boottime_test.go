package boottime

import (
	"testing"
	"time"
)

func TestClocksGoOn(t *testing.T) {
	for name, now := range map[string]func() time.Duration{"Now": Now, "fallback": fallback} {
		before, began := now(), time.Now()
		time.Sleep(20 * time.Millisecond)
		passed, most := now()-before, time.Since(began)+5*time.Millisecond
		if passed < 20*time.Millisecond || passed > most {
			t.Errorf("%s: %s have passed, in between 20ms and %s", name, passed, most)
		}
	}
}
