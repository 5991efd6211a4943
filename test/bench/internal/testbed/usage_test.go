package testbed

import (
	"runtime"
	"testing"
	"time"
)

func TestOthersAreAllButOurs(t *testing.T) {
	if got := busyOf("cpu  100 2 30 999 999 4 5 6 7 8"); got != 147*clockTick {
		t.Errorf("busy for %v", got)
	}
	now := time.Now()
	before := usage{at: now, all: time.Second, ours: time.Second}
	after := usage{at: now.Add(time.Second), all: time.Second + time.Duration(runtime.NumCPU())*time.Second/2, ours: time.Second}
	if got := before.OtherShare(after); got != 0.5 {
		t.Errorf("others used %v", got)
	}
	after.ours = after.all
	if got := before.OtherShare(after); got != 0 {
		t.Errorf("all was ours, others used %v", got)
	}
}
