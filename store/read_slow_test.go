package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestSlowReadIsAnsweredWhenNobodyIsFaster: a value can be read that takes longer than
// readPatience, but less than the timeout.
func TestSlowReadIsAnsweredWhenNobodyIsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Timeout = 10 * time.Second
		r := newRig(t, 2, o)
		r.put(t, "a", "1")
		r.level(t)
		for _, p := range r.parts {
			p.Fail(func(op string) error {
				if op == memory.OpGet {
					<-time.After(1200 * time.Millisecond) // like a large value over a slow line
				}
				return nil
			})
		}
		for _, c := range []store.Consistency{store.Any, store.FromMaster} {
			got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{Consistency: c})
			if err != nil || string(got.Entry.Value) != "1" {
				t.Errorf("%s: %+v, %v", c, got, err)
			}
		}
	})
}
