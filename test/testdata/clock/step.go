package main

import (
	"os"
	"strconv"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname
)

// vdsoClockgettimeSym is the address of the function by which the Go runtime reads clocks.
//
//go:linkname vdsoClockgettimeSym runtime.vdsoClockgettimeSym
var vdsoClockgettimeSym uintptr

var (
	steppedClockAddress uintptr // of step_amd64.s
	clockStep           int64   // in seconds
)

func init() {
	vdsoClockgettimeSym = steppedClockAddress
	go func() {
		for ; ; time.Sleep(20 * time.Millisecond) {
			text, _ := os.ReadFile(os.Getenv("RUNNEL_TEST_CLOCK_STEP"))
			seconds, _ := strconv.ParseInt(string(text), 10, 64)
			atomic.StoreInt64(&clockStep, seconds)
		}
	}()
}
